# SPDX-License-Identifier: GPL-2.0-only
"""Options of the test suite."""

import functools

import pytest

# What a build of kvm-intel lacks: tests that carry @pytest.mark.needs of it are left out there.
LACKS = {"hyperv": (), "no-hyperv": ("hyperv",), "no-jump-label": ("jump-label",)}


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the soaks at full length")
    parser.addoption("--golden", action="store_true", help="write the lessons' golden texts anew")
    parser.addoption("--build", choices=LACKS, default="hyperv",
                     help="the build of kvm-intel that a test loads where it names none")


def pytest_configure(config):
    build = config.getoption("--build")
    if build != "hyperv":
        from kvm_vmx import Machine

        Machine.insmod = functools.partialmethod(Machine.insmod, config=build)


def needs(item):
    """What a test needs of the build: what it says, and eVMCS where it runs under that."""
    found = {need for mark in item.iter_markers("needs") for need in mark.args}
    if "evmcs" in item.fixturenames or \
            getattr(item, "callspec", None) and item.callspec.params.get("enlightened") is True:
        found.add("hyperv")
    return found


def pytest_collection_modifyitems(config, items):
    lacks = set(LACKS[config.getoption("--build")])
    out = [item for item in items if lacks & needs(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture
def soak(request):
    """Is this the long run?"""
    return request.config.getoption("--soak")
