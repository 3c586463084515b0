# SPDX-License-Identifier: GPL-2.0-only
"""An L1 that ends on a Hyper-V that goes on: reboot, kexec, kdump, suspend."""

import threading

import pytest

from kvm_vmx import KernelBug, Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP

CR4_VMXE = 1 << 13
OS_ID, HYPERCALL, REFERENCE_TSC, ASSIST = 0x40000000, 0x40000001, 0x40000021, 0x40000073
REFERENCE_TIME, SINT_0, CRASH_P0, CRASH_CTL = 0x40000020, 0x40000090, 0x40000100, 0x40000105
REENLIGHTENMENT = 0x40000106


def runs(m, cpu=0):
    """A guest under a module that is loaded anew makes its exits."""
    vcpu = m.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=cpu)
    return vcpu.run(exits=10).reason == "INTR"


def msr(m, index, cpu=0):
    return m.cpu(cpu).rdmsr(index).value


ENDS = {"reboot": lambda m, cpus: m.reboot(cpus), "kexec": lambda m, cpus: m.kexec(cpus),
        "crash": lambda m, cpus: m.kexec(cpus, crash=True)}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("enlightened", [False, True])
def test_the_next_kernel_finds_a_processor_out_of_vmx(kernel, end, enlightened):
    with kernel(cpus=3) as m:
        vm = m.insmod(enlightened_vmcs=enlightened).create_vm(code=CPUID_LOOP)
        for cpu in (0, 0, 1):
            vm.create_vcpu(cpu=cpu).run(exits=10)
        before = m.counters
        log = ENDS[end](m, 2)
        assert m.counters["vmxoff"] - before["vmxoff"] == 3
        assert m.counters["vmclear"] - before["vmclear"] == 3
        assert [m.cpu(n).cr4 & CR4_VMXE for n in range(3)] == [0, 0, 0]
        assert ("kvm: exiting hardware virtualization" in log) is (end != "crash")
        assert m.module is None and m.cpus == 2
        assert runs(m) and m.warnings == 0


def test_what_a_kexec_leaves_and_what_a_reboot_does(kernel):
    """The MSRs of a processor that the next kernel does not start are those that are left: in
    v4.19 the assist page is one, later kernels take it back."""
    with kernel(cpus=2) as m:
        for end, left in ((m.kexec, True), (m.reboot, False)):
            old = msr(m, ASSIST, 1)
            m.cpu(1).wrmsr(SINT_0, 0x55)
            m.cpu(0).wrmsr(REFERENCE_TSC, 0x9001)
            m.cpu(0).wrmsr(REENLIGHTENMENT, 0x1000000EE)
            page = m.memory.size - 4096
            m.memory.write(page, b"still here")
            time = msr(m, REFERENCE_TIME)
            assert old & 1
            end(1)
            assert msr(m, ASSIST, 1) == (old if left and kernel.version == (4, 19) else 0)
            assert msr(m, SINT_0, 1) == (0x55 if left else 0x10000)
            assert msr(m, REENLIGHTENMENT) == (0x1000000EE if left else 0)
            # hyperv_cleanup() takes this back, a reset as well
            assert msr(m, REFERENCE_TSC) == 0
            assert m.memory.read(page, 10) == b"still here"
            assert msr(m, REFERENCE_TIME) >= time
            m.online(1)
            assert msr(m, ASSIST, 1) & 1


def test_hyperv_cleanup_writes_what_v4_19_writes(kernel):
    with kernel(cpus=1) as m:
        for end in ("kexec", "crash"):
            m.start_trace()
            ENDS[end](m, 1)
            written = [r.operands[:2] for r in m.trace if r.instruction == "wrmsr"]
            m.stop_trace()
            if kernel.version > (4, 19) and end == "kexec":
                assert written.pop(0) == (ASSIST, 0)
            assert written[:3] == [(OS_ID, 0), (HYPERCALL, 0), (REFERENCE_TSC, 0)]


def test_what_l0_keeps_through_a_reboot(kernel):
    with kernel(cpus=1, lints=True) as m:
        m.cpu(0).wrmsr(CRASH_P0, 0xDEAD)
        m.cpu(0).wrmsr(CRASH_CTL, 1 << 63)
        assert runs(m)
        before = m.counters
        m.reboot()
        assert m.crash[0] == 0xDEAD
        assert all(m.counters[name] >= count for name, count in before.items())


@pytest.mark.needs("hyperv")
def test_a_kernel_that_has_hit_a_bug_can_only_crash_or_be_cut_off(kernel):
    if kernel.version > (4, 19):
        pytest.skip("what dies of it here is v4.19's alone")
    for end, works in (("kexec", False), ("crash", True), ("reboot", True)):
        with kernel(cpus=2) as m:
            vcpu = m.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
            vcpu.run(exits=10)
            with pytest.raises(KernelBug):
                vcpu.run(exits=10, stack_depth=64)      # erratum: host_rsp
            assert m.oopsed
            if works:
                ENDS[end](m, 2)
                assert not m.oopsed and runs(m, 1)
            else:
                with pytest.raises(KernelBug):
                    ENDS[end](m, 2)


def test_a_crash_that_crashes_leaves_the_power_switch(kernel):
    if kernel.version > (4, 19):
        pytest.skip("a later kernel lets its VMCLEAR and VMXOFF fault in a crash")
    with kernel(cpus=2) as m:
        m.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0).run(exits=3)
        m.cpu(0).vmxoff()           # behind the kernel's back: its VMCLEAR is #UD
        for _ in range(2):
            with pytest.raises(KernelBug):
                m.kexec(crash=True)
        m.reboot()
        assert runs(m)


def test_what_belonged_to_the_old_kernel_is_gone(kernel):
    with kernel(cpus=2) as m:
        module = m.insmod()
        vm = module.create_vm(code=CPUID_LOOP)
        vcpu = vm.create_vcpu(cpu=0)
        vcpu.run(exits=3)
        old = m._kernel if kernel.is_port else m.image
        m.reboot()
        for use in (lambda: vcpu.run(exits=1), lambda: vm.create_vcpu(cpu=0), module.rmmod,
                    lambda: module.parameters, lambda: vcpu.regs["rax"], lambda: vm.memory[0:8],
                    old.check_open):
            with pytest.raises(MachineError):
                use()
        assert "unloaded" in repr(module) and "online" not in repr(vcpu)
        assert runs(m)
        with pytest.raises(MachineError):
            vcpu.run(exits=1)


def test_nobody_reboots_under_anothers_feet(kernel):
    with kernel(cpus=2) as m:
        for use in (m.reboot, m.kexec, m.suspend):
            said = []

            def other(use=use, said=said):
                try:
                    use()
                except MachineError as error:
                    said.append(error)
            with m._gate.use() if kernel.is_port else m._alone():
                thread = threading.Thread(target=other)
                thread.start()
                thread.join()
                assert said
        with m.cpu(0):              # a CPU is a CPU, whichever kernel has it
            m.reboot()
        for cpus in (0, 3, "two"):
            with pytest.raises(ValueError):
                m.kexec(cpus)
        assert runs(m)


def test_suspend_and_resume_under_a_plain_vmcs(kernel):
    with kernel(cpus=3) as m:
        vm = m.insmod(enlightened_vmcs=False).create_vm(code=CPUID_LOOP)
        vcpus = [vm.create_vcpu(cpu=cpu) for cpu in range(3)]
        for vcpu in vcpus:
            vcpu.run(exits=10)
        before = m.counters
        m.suspend()
        after = m.counters
        assert after["vmxoff"] - before["vmxoff"] == after["vmxon"] - before["vmxon"] == 3
        assert m.cpus == 3 and m.dmesg[-2:] == ["PM: suspend entry (deep)", "PM: suspend exit"]
        for vcpu in vcpus:
            assert vcpu.run(exits=10).reason == "INTR"


def test_suspend_without_a_guest_leaves_vmx_alone(kernel):
    with kernel(cpus=2) as m:
        m.insmod()
        m.suspend()
        # 6.12 enables virtualization as it is loaded (enable_virt_at_load)
        on = 2 if kernel.version >= (6, 12) else 0
        assert (m.counters["vmxon"], m.counters["vmxoff"], m.cpus) == (2 * on, on, 2)


def test_a_migration_is_told_and_the_emulation_ends():
    """kvm asks to be told, goes on being told when that CPU goes, and asks no more when it goes."""
    with Machine(cpus=2) as m:
        module = m.insmod()
        assert (msr(m, REENLIGHTENMENT), msr(m, 0x40000107)) == (0x100EE, 1)
        vcpu = module.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        m._partition.migrate(1.5)
        assert msr(m, 0x40000108) == 1
        vcpu.run(exits=3)
        assert msr(m, 0x40000108) == 0
        m.offline(0)
        assert msr(m, REENLIGHTENMENT, 1) == 0x1000100EE
        m.online(0)
        module.rmmod()
        assert msr(m, REENLIGHTENMENT) == 0x1000000EE


def test_a_reset_takes_the_overlay_away(kernel):
    """tlfs-strict: the memory beneath an assist page is seen again."""
    with kernel(cpus=2, profile="tlfs-strict") as m:
        page = msr(m, ASSIST, 1) & ~0xFFF
        m.reboot(cpus=1)
        m.memory.write(page, b"mine")
        m.online(1)
        other = msr(m, ASSIST, 1) & ~0xFFF
        m.reboot(cpus=1)
        assert m.memory.read(page, 4) == b"mine" or other == page


@pytest.mark.needs("hyperv")
def test_many_boots_in_one_process(kernel):
    with kernel(cpus=2) as m:
        for end in ("reboot", "kexec", "crash") * 4:
            assert runs(m)
            ENDS[end](m, 2)
            assert m.allocations["objects"] < 20
