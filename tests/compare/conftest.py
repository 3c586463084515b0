# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the comparison share: snippets read, and kernel trees where there are any."""

import functools
import itertools

import needed
import pytest
from repositories import repository  # noqa: F401

from kvm_vmx.compare import page as pages
from kvm_vmx.compare import pairing, port
from kvm_vmx.compare.drift import Drift, ported_statements
from kvm_vmx.compare.opening import TreeError, open_tree
from kvm_vmx.compare.page import page
from kvm_vmx.compare.pairing import Units
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx import host


@pytest.fixture(scope="session", autouse=True)
def read_once():
    """Each text of the port is read once, and the code that it became: nobody here changes what
    was read of them."""
    known, plain_file, plain_facts = {}, port.PortFile, pairing.PortFacts

    def read(path, source, pins=None):
        key = path, source, repr(pins)
        if key not in known:
            known[key] = plain_file(path, source, pins)
        return known[key]

    @functools.cache
    def facts_of(root, *_):
        return plain_facts(Port(root))

    def facts(of):
        return facts_of(of.root, *of.files.values())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(port, "PortFile", read)
        patch.setattr(pairing, "PortFacts", facts)
        patch.setattr(pages, "machine_code", functools.cache(pages.machine_code))
        yield


@pytest.fixture(scope="session")
def window(tmp_path_factory):
    """window(page, script, width): what a script finds of the page's text, in one browser for all
    tests. What the page waits for comes at once, and nothing but the page is fetched."""
    needed.capability("browser")
    from browser import Browser

    folder = tmp_path_factory.mktemp("window")
    browser = Browser(folder / "profile")
    pages = itertools.count()

    def time(policy):
        browser.call("Emulation.setVirtualTimePolicy", policy=policy)

    def told(text, script, width=1280):
        path = folder / f"{next(pages)}.html"
        path.write_text(text)
        # where it may, the browser lets time pass as fast as it can: all the time
        time("advance")
        browser.size(width)
        browser.open(path)
        found = browser.evaluate(script)
        time("pause")
        assert browser.requests == [path.as_uri()] and browser.errors == []
        return found

    yield told
    browser.close()


@pytest.fixture(scope="session")
def tree_v419():
    """Linux v4.19: $KVM_VMX_TREE_4_19, or what the usual places hold."""
    needed.capability("tree-4.19")
    return open_tree(host.find("tree-4.19"))


@pytest.fixture(scope="session")
def report_v419(tree_v419):
    """The whole port against v4.19."""
    return Report(Port(), tree_v419)


@pytest.fixture(scope="session")
def units_v419(report_v419):
    """All other units against v4.19."""
    return Units(report_v419)


@pytest.fixture(scope="session")
def page_v419(report_v419, units_v419):
    """The page of it all."""
    return page(report_v419, units_v419)


def debian(version):
    """Debian's tarball of a kernel, or the reason to go without it."""
    needed.capability(f"tree-{version}")
    try:
        return open_tree(host.find(f"tree-{version}"))
    except TreeError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def to_v612(report_v419, tree_v612):
    """From v4.19 to Debian's 6.12, by what is ported."""
    return Drift(report_v419.port, report_v419.tree, tree_v612, ported_statements(report_v419))


@pytest.fixture(scope="session")
def tree_v61():
    """Debian's linux-source-6.1."""
    return debian("6.1")


@pytest.fixture(scope="session")
def tree_v612():
    """Debian's linux-source-6.12."""
    return debian("6.12")
