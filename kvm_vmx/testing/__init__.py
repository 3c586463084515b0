# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures for tests of nested-virtualization code; a conftest.py asks for them:

    pytest_plugins = ["kvm_vmx.testing"]

Nobody gets them by installing the package: a plugin that is always there would be imported by
every run of pytest in the environment, and its fixtures' names are short.
"""

import inspect
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from kvm_vmx import guests, host
from kvm_vmx.compare.opening import TreeError, open_tree, version_of
from kvm_vmx.compare.trees import Tree
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.options import L1, HyperV, members
from kvm_vmx.testing.evmcs_page import SIZE, EvmcsPage
from kvm_vmx.testing.kernels import L1Kind, kernel

__all__ = ["EvmcsPage", "L1Kind", "kernel"]

MARK = ("l1(**options): what the fixtures of kvm_vmx.testing boot and load: options of "
        "kvm_vmx.Machine, of insmod() and of kvm-intel")
LOG_LINES = 20


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


def _options(request: pytest.FixtureRequest,
             **defaults: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the machine's, the module's) options of the markers, the nearest one last."""
    given = dict(defaults)
    for mark in reversed(list(request.node.iter_markers("l1"))):
        if mark.args:
            pytest.fail("l1(...) has options by name alone: l1(cpus=4)", pytrace=False)
        given |= mark.kwargs
    machine = {*inspect.signature(Machine).parameters, *members(HyperV), *members(L1)}
    return ({name: value for name, value in given.items() if name in machine},
            {name: value for name, value in given.items() if name not in machine})


def _booted(options: dict[str, Any]) -> Machine:
    if Machine.current() is not None:
        pytest.fail("one machine a process, and one is open: a test has l1 or l0_strict, and what "
                    "boots another closes it, with Machine(...) as machine", pytrace=False)
    return Machine(**options)


@pytest.fixture
def l1(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted Machine with kvm-intel loaded, under enlightened VMCSs unless the marker l1 says
    otherwise; l1.module is the module. Closed at the end."""
    machine, module = _options(request)
    with _booted(machine) as booted:
        request.node.stash[_MACHINE] = booted
        booted.insmod(**module)
        yield booted


@pytest.fixture
def l0_strict(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted Machine on the Hyper-V that refuses what the specification forbids (profile
    tlfs-strict), and that stops with ConformanceError at the first thing that L1 may not do. No
    module is loaded: l0_strict.insmod()."""
    machine, module = _options(request, profile="tlfs-strict", strict=True)
    if module:
        pytest.fail(f"l0_strict loads no module, so {', '.join(module)} of l1(...) is nobody's",
                    pytrace=False)
    with _booted(machine) as booted:
        request.node.stash[_MACHINE] = booted
        yield booted


@pytest.fixture
def evmcs_page(l1: Machine) -> EvmcsPage:
    """A page of l1's memory with an eVMCS that can be entered: the one that KVM has made for a
    guest in a loop of CPUID, behind its first exit, all fields dirty."""
    module = l1.module
    assert module is not None
    if not module.enable_evmcs:
        why = "; ".join(finding.why for finding in module.why_not_evmcs)
        pytest.fail(f"evmcs_page is an enlightened VMCS, and l1 uses none: {why}", pytrace=False)
    vm = module.create_vm(code=guests.CPUID_LOOP)
    vcpu = vm.create_vcpu()
    vcpu.run(exits=1)
    page = EvmcsPage(l1, l1.memory.alloc(SIZE), vm)
    l1.memory.write(page.gpa, l1.memory.read(vcpu.vmcs_gpa, SIZE))
    page.clean_fields = 0
    return page


@pytest.fixture(scope="session")
def kernel_tree() -> Tree:
    """A tree of Linux v4.19, as kvm-vmx compare reads one: kernel_tree.files[path] is a text of
    KVM's path, kernel_tree.function(name, path) a function. Skips where there is none, and fails
    where KVM_VMX_TREE_4_19 names what is none."""
    if not host.has("tree-4.19"):
        pytest.skip(host.absent("tree-4.19"))
    try:
        tree = open_tree(str(host.find("tree-4.19")))
    except TreeError as error:
        pytest.fail(str(error), pytrace=False)
    version = version_of(tree.files.get("Makefile", ""))
    if version != "4.19" and not version.startswith("4.19."):
        pytest.fail(f"{tree.title} is no v4.19: name one in {host.TREE_4_19}", pytrace=False)
    return tree


_MACHINE = pytest.StashKey[Machine]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[
        None, pytest.TestReport, pytest.TestReport]:
    """What a test that failed would like to know of its machine."""
    report = yield
    machine = item.stash.get(_MACHINE, None)
    if report.when == "call" and report.failed and machine is not None:
        report.sections += _said(machine)
    return report


def _said(machine: Machine) -> list[tuple[str, str]]:
    """The end of the kernel log, and what L0 noticed."""
    try:
        log, lints = machine.dmesg[-LOG_LINES:], machine.lints
    except RuntimeError as error:           # it is closed, or another thread is inside
        return [("kvm_vmx", str(error))]
    found = [("kernel log of L1", "\n".join(log))]
    if lints:
        found.append(("what L0 noticed", "\n".join(lint.explain() for lint in lints)))
    return found
