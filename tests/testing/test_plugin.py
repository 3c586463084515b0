# SPDX-License-Identifier: GPL-2.0-only
"""kvm_vmx.testing: its fixtures in a project of somebody's own, as pytest runs it."""

import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from command import ENVIRONMENT, cache_of_its_own

# A compiled module is loaded once a process, and pytester forgets what its runs import.
import kvm_vmx.l1.vmx  # noqa: F401
import kvm_vmx.testing  # noqa: F401
from kvm_vmx import host

pytestmark = pytest.mark.long
pytest_plugins = ["pytester"]
ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE, DOC = ROOT / "examples/nested_tests", ROOT / "docs/testing.md"


def run(folder, *options):
    """pytest in a folder, as its owner runs it: how it ended, and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options], cwd=folder,
        env=ENVIRONMENT | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True, text=True,
        timeout=120)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """As the user has it now: pytester gives its runs another home."""
    return str(cache_of_its_own(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def no_build(cache, monkeypatch):
    """No other build of the port is compiled for a home that has none."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache)


@pytest.fixture
def project(pytester, monkeypatch):
    """Runs a text of tests in this process, in a project that asks for the fixtures."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["kvm_vmx.testing"]')

    def run(tests, *options):
        pytester.makepyfile("import pytest\nfrom kvm_vmx import *\n" + tests)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    return run


@pytest.mark.needs("hyperv")
def test_the_example_project_passes_and_looks(tmp_path):
    """And each of its tests fails where the code that it is about is wrong."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "nested", ignore=shutil.ignore_patterns("__py*"))
    done = run(folder, "-rs")
    tree = host.has("tree-4.19")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b7 passed in" if tree else r"\b6 passed, 1 skipped", done.stdout)
    code = (folder / "my_hypervisor.py").read_text()
    (folder / "my_hypervisor.py").write_text(
        code.replace("&= ~CONTROL_PROC", "|= CONTROL_PROC").replace("+= vmcs", "-= vmcs")
        .replace("1 << 12", "1 << 13"))
    failed = set(re.findall(r"^FAILED test_my_hypervisor.py::(\w+)", run(folder).stdout, re.M))
    assert failed >= {"test_l2_goes_on_behind_its_cpuid", "test_rdtsc_exits"} | (
        {"test_the_number_is_the_kernels"} if tree else set())


def test_nobody_gets_it_unasked():
    """Installing the package puts nothing into other people's pytest."""
    assert [point for point in importlib.metadata.entry_points(group="pytest11")
            if "kvm_vmx" in point.value] == []


@pytest.mark.needs("hyperv")
def test_a_failed_test_is_told_of_its_machine(project):
    done = project("""
def test_log(l1):
    assert not l1.module.enable_evmcs
@pytest.mark.l1(lints=True)
def test_lint(evmcs_page):
    assert evmcs_page.enter()
    evmcs_page.clean_fields = 0xffff
    evmcs_page["EXCEPTION_BITMAP"] ^= 1
    assert not evmcs_page.enter(resume=True)
def test_gone(l1):
    l1.close()
    assert False
""")
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines([
        "*- kernel log of L1 -*", "KVM: vmx: using Hyper-V Enlightened VMCS",
        "*- kernel log of L1 -*", "*- what L0 noticed -*", "*EXCEPTION_BITMAP (CONTROL_EXCPN)*",
        "*- kvm_vmx -*", "*closed*"])


@pytest.mark.needs("hyperv")
def test_options_are_the_markers(project):
    done = project("""
pytestmark = pytest.mark.l1(cpus=1)
@pytest.mark.l1(cpus=3, enlightened_vmcs=False, vpid=0)
def test_near(l1):
    assert l1.cpus == 3 and not l1.module.enable_evmcs and l1.module.parameters["vpid"] == 0
def test_far(l1):
    assert l1.cpus == 1 and l1.module.enable_evmcs
@pytest.mark.l1(profile="kvm-6.12")
def test_strict(l0_strict):
    assert l0_strict.cpus == 1 and l0_strict.module is None and "kvm-6.12" in repr(l0_strict)
def test_strict_as_it_is(l0_strict):
    assert "tlfs-strict" in repr(l0_strict)
""", "--strict-markers")
    done.assert_outcomes(passed=4)


WRONG = {
    "a name that is none": ("@pytest.mark.l1(cpu=4)\ndef test(l1): pass", "no parameter 'cpu'"),
    "without a name": ("@pytest.mark.l1(4)\ndef test(l1): pass", "options by name alone"),
    "two machines": ("def test(l1, l0_strict): pass", "one machine a process"),
    "nothing to load": ("@pytest.mark.l1(vpid=0)\ndef test(l0_strict): pass", "loads no module"),
    "no enlightened VMCS": ("@pytest.mark.l1(enlightened_vmcs=False)\n"
                            "def test(evmcs_page): pass", "enlightened_vmcs=0"),
    "no tree": ("def test(kernel_tree): pass", "no such tree: /nowhere"),
}


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("test, said", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(project, monkeypatch, test, said):
    monkeypatch.setenv(host.TREE_4_19, "/nowhere")
    monkeypatch.delenv(host.WITHOUT, raising=False)
    done = project(test)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([f"*{said}*"])


def test_a_tree_that_is_not_there_is_a_skip(project, monkeypatch):
    monkeypatch.setenv(host.WITHOUT, "tree-4.19")
    done = project("def test(kernel_tree): pass", "-rs")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*KVM_VMX_WITHOUT says so*"])


def test_no_machine_is_left_behind(project):
    """Whatever a test did to it: closed it, failed, unloaded the module."""
    done = project("""
def test_closed(l1): l1.close()
def test_failed(l1): assert 0
def test_unloaded(l1): l1.module.rmmod()
def test_again(l1): assert l1.module is not None
""")
    done.assert_outcomes(passed=3, failed=1)


@pytest.mark.needs("hyperv")
def test_a_page_is_a_mapping(project):
    done = project("""
def test(l1, evmcs_page):
    page = evmcs_page
    assert list(page) == [row["vmcs_field"] for row in fields()] and len(page) == 126
    page[Field.GUEST_RIP] = 5
    page[0x681c] = 6
    assert page["GUEST_RIP"] == 5 and page["GUEST_RSP"] == 6
    assert page.decoded.fields == decode(bytes(page)).fields and page.refusals == ()
    for name, value in (("EXCEPTION_BITMAP", 1 << 32), ("GUEST_RIP", -1), ("GUEST_RIP", "1")):
        with pytest.raises(ValueError, match="bits"):
            page[name] = value
    for name in ("GUEST_RPI", "VMREAD_BITMAP", 0x7fffffff):
        with pytest.raises(KeyError):
            page[name]
    with pytest.raises(TypeError):
        del page["GUEST_RIP"]
    assert page.clean_fields == 0 and page["hv_vp_id"] >= 0 and hex(page.gpa) in repr(page)
def test_before_and_after(l1, evmcs_page):
    "KVM's own vCPU goes on, on the page that it had."
    vcpu = l1.module.create_vm(code=guests.CPUID_LOOP).create_vcpu()
    assert vcpu.run(exits=3).exits == 3 and evmcs_page.enter()
    assert vcpu.run(exits=3).exits == 3 and l1.cpu(0).active_evmcs == vcpu.vmcs_gpa
    l1.module.rmmod()
    with pytest.raises(MachineError, match="create a VM first"):
        evmcs_page.enter()
""")
    done.assert_outcomes(passed=2)


@pytest.mark.needs("hyperv")
def test_what_docs_say_of_it(pytester, monkeypatch):
    """The files that docs/testing.md shows, as a project."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    files = dict(re.findall(r"^```python (\S+)\n(.*?)^```$", DOC.read_text(), re.M | re.S))
    assert "conftest.py" in files and len(files) == 4
    assert len(files["test_mine.py"].strip().split("\n")) <= 5
    for name, text in files.items():
        (pytester.path / name).write_text(text)
    # other tests of ours may have the names of these
    for name in files:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)
