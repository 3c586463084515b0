# SPDX-License-Identifier: GPL-2.0-only
"""Weaknesses that docs/errata.md tells of, on v4.19's own code: the port did not invent them."""

import pytest

from kvm_vmx import KernelBug
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

MSR_BITMAP = 1 << 1
NESTED_FEATURES = 0x4000000A
ENLIGHTENED_BITMAP = 1 << 19
ENCLS_EXITING_BITMAP, ENCLS_EXITING = 0x202E, 1 << 15
ENCLS = {0x48B: (0x000118FE | ENCLS_EXITING) << 32}


def guest(kernel, cpu=0, **insmod):
    module = kernel.insmod(**insmod)
    vm = module.create_vm(CPUID_LOOP)
    vcpu = vm.create_vcpu(cpu)
    vcpu.run(exits=10)
    return module, vm, vcpu


def word(kernel, gpa, length=4):
    return int.from_bytes(kernel.memory.read(gpa, length), "little")


def test_host_rsp(image):
    with Kernel(image, 1, cache_policy="never") as kernel:
        _, _, vcpu = guest(kernel)
        assert vcpu.run(exits=10, stack_depth=64).exits == 10
    # the exit loads the RSP that was: the frame that it finds there is none
    with Kernel(image, 1, lints=True) as kernel:
        _, _, vcpu = guest(kernel)
        with pytest.raises((KernelBug, OSError)):
            vcpu.run(exits=10, stack_depth=64)
        lint, = (lint for lint in kernel.lints if lint.name == "stale_field")
        assert "HOST_RSP" in lint.explain()


def test_encls(image):
    with Kernel(image, 1, msrs=ENCLS) as kernel:
        _, _, vcpu = guest(kernel)
        assert vcpu.evmcs["SECONDARY_VM_EXEC_CONTROL"] & ENCLS_EXITING
        assert any(f"unsupported EVMCS field {ENCLS_EXITING_BITMAP:x}" in line
                   for line in kernel.dmesg)


def test_touch_current(image):
    with Kernel(image, 1, cpuid={
            NESTED_FEATURES: (1 << 8 | 1 | ENLIGHTENED_BITMAP, 0, 0, 0)}) as kernel:
        _, vm, first = guest(kernel)
        assert first.evmcs.clean_fields & MSR_BITMAP
        vm.create_vcpu(0)
        assert not first.evmcs.clean_fields & MSR_BITMAP


def test_stale_assist(image):
    with Kernel(image, 2) as kernel:
        module, vm, _ = guest(kernel, cpu=1)
        vm.destroy()
        assert kernel.assist_page(1)[40] == 1
        kernel.offline(1)
        module.rmmod()
        page = kernel.assist_page(1)
        assert page[40] == 1 and int.from_bytes(page[48:56], "little") != 0


def test_two_pages(image):
    with Kernel(image, 2) as kernel:
        _, _, vcpu = guest(kernel)
        vcpu.cpu = 1
        vcpu.run(exits=10)
        pages = [kernel.assist_page(cpu) for cpu in (0, 1)]
        assert [int.from_bytes(page[48:56], "little") for page in pages] == [vcpu.vmcs_gpa] * 2
        assert [kernel.processor(cpu).active_evmcs for cpu in (0, 1)] == [None, vcpu.vmcs_gpa]


@pytest.mark.parametrize("low, high", [(2, 2), (5, 9)])
def test_version_range(image, low, high):
    with Kernel(image, 1, cpuid={NESTED_FEATURES: (high << 8 | low, 0, 0, 0)}) as kernel:
        module, _, vcpu = guest(kernel)
        assert module.enable_evmcs and word(kernel, vcpu.vmcs_gpa) == 1


def test_key_left_on(kernel):
    kernel.fail("page", 1)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        kernel.insmod()
    assert "using Hyper-V Enlightened VMCS" in kernel.dmesg[-1]
    assert kernel.image.word("enable_evmcs") & 0xFFFFFFFF == 1
    assert not kernel.insmod(enlightened_vmcs=False).enable_evmcs


def test_bitmaps_leaked(kernel):
    before = kernel.allocations["pages"]
    kernel.fail("page", 3)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        kernel.insmod()
    assert kernel.allocations["pages"] == before + 2


def test_memset_size(image):
    """Of the page that holds an eVMCS only the size of VMX_BASIC is cleared."""
    basic = 1 << 55 | 1 << 54 | 6 << 50 | 1024 << 32 | 0x11E57ED0
    with Kernel(image, 1, msrs={0x480: basic}, memory=64 << 20) as kernel:
        module = kernel.insmod()
        used = max(kernel.assist_page_gpa(0), 0x200000)
        free = kernel.memory.size // 2
        assert used < free
        for gpa in range(0x200000, kernel.memory.size, 4096):
            if not any(kernel.memory.read(gpa, 4096)):
                kernel.memory.write(gpa, b"\xaa" * 4096)
        vcpu = module.create_vm(CPUID_LOOP).create_vcpu(0)
        assert kernel.memory.read(vcpu.vmcs_gpa + 1024, 3072).count(0xAA) > 2900


@pytest.mark.parametrize("msr, value, ends", [(0x2FF, 0x1000, "SHUTDOWN"), (0x2FF, 0xC06, "HLT")])
def test_a_bad_mtrr_is_an_exception(kernel, msr, value, ends):
    code = f"b8{value.to_bytes(4, 'little').hex()}31d2b9{msr.to_bytes(4, 'little').hex()}0f30f4"
    assert kernel.insmod().create_vm(bytes.fromhex(code)).create_vcpu(0).run().reason == ends
