# SPDX-License-Identifier: GPL-2.0-only
"""Weaknesses of v4.19 that 6.12 has no more, by the same experiment on the own code of both: shown
by a lint or a check on the one, absent on the other. docs/kernel.md has the table."""

import re
from pathlib import Path

import pytest
from images import image_of
from kernels import KernelRun

from kvm_vmx import KernelBug
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

pytestmark = pytest.mark.long
NESTED_FEATURES, ENLIGHTENED_BITMAP, MSR_BITMAP = 0x4000000A, 1 << 19, 1 << 1
ENCLS_EXITING = 1 << 15
# Entry and exit may load PERF_GLOBAL_CTRL.
PERF = {0x484: 0x0000F3FF000011FF, 0x490: 0x0000F3FF000011FB,
        0x483: 0x003FFFFF00036DFF, 0x48F: 0x003FFFFF00036DFB}
GP, DF = 13, 8


def started(kernel, cpu=0):
    """(VM, vCPU) of a guest that has run."""
    vm = kernel.insmod().create_vm(CPUID_LOOP)
    vcpu = vm.create_vcpu(cpu)
    vcpu.run(exits=10)
    return vm, vcpu


def host_rsp(image):
    with Kernel(image, 1, lints=True) as kernel:
        _, vcpu = started(kernel)
        try:
            vcpu.run(exits=10, stack_depth=64)
        except (KernelBug, OSError):
            pass
        return any(lint.name == "stale_field" and lint.field == "HOST_RSP"
                   for lint in kernel.lints)


def _perf(image):
    with Kernel(image, 1, msrs=PERF, lints=True) as kernel:
        _, vcpu = started(kernel)
        kernel.perf_guest_events(host=3, guest=5)
        vcpu.run(exits=1)
        revision = int.from_bytes(kernel.memory.read(vcpu.vmcs_gpa, 4), "little")
        return {lint.name for lint in kernel.lints}, revision


def holes(image):
    return _perf(image)[1] != 1


def perf_global_ctrl(image):
    return "version_changed" in _perf(image)[0]


def encls(image):
    with Kernel(image, 1, msrs={0x48B: (0x000118FE | ENCLS_EXITING) << 32}) as kernel:
        _, vcpu = started(kernel)
        taken = vcpu.evmcs["SECONDARY_VM_EXEC_CONTROL"] & ENCLS_EXITING
        warned = any("unsupported EVMCS field 202e" in line for line in kernel.dmesg)
        assert bool(taken) == warned
        return warned


def touch_current(image):
    with Kernel(image, 1, cpuid={
            NESTED_FEATURES: (1 << 8 | 1 | ENLIGHTENED_BITMAP, 0, 0, 0)}) as kernel:
        vm, first = started(kernel)
        assert first.evmcs.clean_fields & MSR_BITMAP
        vm.create_vcpu(0)
        return not first.evmcs.clean_fields & MSR_BITMAP


def stale_assist(image):
    with Kernel(image, 2) as kernel:
        vm, _ = started(kernel, cpu=1)
        vm.destroy()
        assert kernel.assist_page(1)[40] == 1
        kernel.offline(1)
        kernel.module.rmmod()
        return kernel.assist_page(1)[40] == 1


def offline_order(image):
    """Whether a VMCLEAR stores into a page that holds an eVMCS: of two on the CPU, L0 knows the
    active one, and the other one's VMCLEAR is a plain one."""
    with Kernel(image, 2) as kernel:
        vm, vcpu = started(kernel, cpu=1)
        tail = vcpu.vmcs_gpa + 1024
        kernel.memory.write(tail, b"\xff" * 3072)
        other = vm.create_vcpu(1)
        other.run(exits=10)
        for cpu in (0, 1):
            vcpu.cpu = cpu
            vcpu.run(exits=10)
        other.run(exits=10)
        assert kernel.memory.read(tail, 3072) == b"\xff" * 3072
        kernel.offline(1)
        return kernel.memory.read(tail, 3072) != b"\xff" * 3072


def mtrr_gp(image):
    """WRMSR of a variable MTRR's mask with reserved bits: the exception that the guest handles."""
    code = "b800080000" "baffffff7f" "b901020000" "0f30"
    with Kernel(image, 1) as kernel:
        run = KernelRun(kernel, kernel.insmod(), code, {DF: "f4", GP: "f4"})
        assert run.vcpu.run(exits=20).reason == "HLT"
        assert run.count(DF) + run.count(GP) == 1
        return run.count(DF) == 1


def bitmaps_leaked(image):
    with Kernel(image, 1) as kernel:
        kernel.insmod().rmmod()
        before, leaked = kernel.allocations["pages"], False
        for nth in range(1, 30):
            kernel.fail("page", nth)
            try:
                kvm = kernel.insmod()
            except OSError:
                leaked |= kernel.allocations["pages"] > before
                before = kernel.allocations["pages"]
            else:
                kernel.fail("page", 0)
                kvm.rmmod()
                return leaked
        raise AssertionError("loading takes no end of pages")


def assist_layout(image):
    """Where the tree's own header has the nested enlightenments; Hyper-V has them at 32."""
    with Kernel(image, 1) as kernel:
        return kernel.image.word("standin_nested_control") != 32


GONE = [host_rsp, holes, perf_global_ctrl, encls, touch_current, stale_assist, offline_order,
        mtrr_gp, bitmaps_leaked, assist_layout]


@pytest.mark.parametrize("shown", GONE, ids=lambda shown: shown.__name__)
def test_v4_19_shows_it_and_6_12_does_not(shown, request):
    assert shown(image_of("tree-4.19", request))
    assert not shown(image_of("tree-6.12", request))


def test_the_key_stays_on_in_both(image, later):
    """key_left_on: 6.12 finds nothing to take back."""
    for one, key in ((image, "enable_evmcs"), (later, "__kvm_is_using_evmcs")):
        with Kernel(one, 1) as kernel:
            kernel.fail("page", 1)
            with pytest.raises(OSError, match="Cannot allocate memory"):
                kernel.insmod()
            assert kernel.image.word(key) & 0xFFFFFFFF == 1


def test_the_table_has_each_of_them():
    root = Path(__file__).parents[2]
    text = (root / "docs/kernel.md").read_text()
    table = re.findall(r"^\| \[(\w+)\]\(errata\.md#(\w+)\) \|", text, re.M)
    assert [name for name, _ in table] == [shown.__name__ for shown in GONE]
    documented = set(re.findall(r"^## (\w+)$", (root / "docs/errata.md").read_text(), re.M))
    assert {anchor for _, anchor in table} <= documented and len(table) >= 10
