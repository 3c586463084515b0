# SPDX-License-Identifier: GPL-2.0-only
"""Where a plain VMCS and an enlightened one differ by design: each difference, seen in both."""

import pytest
from each import change_field, load, write_field

from kvm_vmx import Field, Machine, VMfailValid
from kvm_vmx.machine.fields import CLEAN_FIELDS

pytestmark = pytest.mark.needs("hyperv")

HLT, VMCALL = b"\xf4", b"\x0f\x01\xc1"
EXIT_VMCALL, EXIT_HLT = 18, 12
REFUSES = {0x485: 0x1E5}                # VMX_MISC without bit 29: exit information is read-only


def both(script, code=HLT, boot=Machine, **options):
    """What script(machine, kvm, vcpu) returns under (VMCS, eVMCS)."""
    found = []
    for enlightened in (False, True):
        with boot(cpus=1, **options) as machine:
            kvm = machine.insmod(enlightened_vmcs=enlightened)
            vcpu = kvm.create_vm(code=code, memory=64 << 10).create_vcpu(cpu=0)
            load(vcpu)
            found.append(script(machine, kvm, vcpu))
            kvm.rmmod()
    return tuple(found)


def written(machine, port, field, value, width=32):
    """What a field reads after a write, and the errors that the log tells of."""
    with machine.cpu(0):
        getattr(port, f"vmcs_write{width}")(field, value)
        read = getattr(port, f"vmcs_read{width}")(field)
    return read, [line.rpartition("(")[2] for line in machine.dmesg if "vmwrite error" in line]


@pytest.mark.case("P01-launch-state")
def test_an_evmcs_is_launched_as_often_as_one_likes(kernel):
    def script(machine, kvm, vcpu):
        vcpu.run()
        load(vcpu)
        with machine.cpu(0):
            return machine.cpu(0).vmlaunch()

    plain, enlightened = both(script, boot=kernel)
    assert plain == VMfailValid(4)
    assert enlightened.ok


@pytest.mark.case("P01-read-only")
def test_a_read_only_field(kernel):
    """A kernel's own KVM writes none: its accessors are inlined where it has use for a field."""
    reason = 0x4402

    def script(machine, kvm, vcpu):
        if kernel.is_port:
            return written(machine, kvm.port, reason, 0x1234)
        outcome = write_field(vcpu, reason, 0x1234)
        return vcpu.vmcs[Field(reason)], outcome

    plain, enlightened = both(script, boot=kernel, msrs=REFUSES)
    assert plain == (0, ["err 13)"] if kernel.is_port else VMfailValid(13))
    assert enlightened == (0x1234, [] if kernel.is_port else None)


@pytest.mark.case("P01-lists")
def test_an_msr_list_that_entry_must_refuse(kernel):
    """kvm-6.12 reads no MSR list of an eVMCS; of a plain VMCS it does, refusing IA32_SMBASE."""
    count, address, smbase = 0x4014, 0x200A, 0x9E

    def script(machine, kvm, vcpu):
        machine.memory.write(vcpu.vmcs_gpa + 2048, smbase.to_bytes(16, "little"))
        write_field(vcpu, address, vcpu.vmcs_gpa + 2048)
        write_field(vcpu, count, 1)
        summary = vcpu.run(exits=1)
        return summary.reason, summary.data

    plain, enlightened = both(script, boot=kernel, profile="kvm-6.12")
    assert plain == ("FAIL_ENTRY", {"hardware_entry_failure_reason": 0x80000022})
    assert enlightened == ("HLT", {})


@pytest.mark.case("P01-natural-bits")
def test_bits_of_a_natural_width_field():
    """v4.19 clears with a mask of 32 bits: the upper half of a plain field goes with it."""
    pending = 0x6822

    def script(machine, kvm, vcpu):
        with machine.cpu(0):
            kvm.port.vmcs_writel(pending, 0x1122334455667788)
            kvm.port.vmcs_clear_bits(pending, 0x88)
            cleared = kvm.port.vmcs_readl(pending)
            kvm.port.vmcs_set_bits(pending, 0x11)
            return cleared, kvm.port.vmcs_readl(pending)

    assert both(script) == ((0x55667700, 0x55667711), (0x1122334455667700, 0x1122334455667711))


@pytest.mark.case("P01-holes")
@pytest.mark.parametrize("field, read, warned", [
    (0x2808, 0x55667788, False),        # a hole: offset 0
    (0x2032, 0, True),                  # beyond the table
])
def test_a_field_that_the_evmcs_lacks(field, read, warned):
    def script(machine, kvm, vcpu):
        value, errors = written(machine, kvm.port, field, 0x55667788, width=64)
        return value, errors, machine.warnings > 0

    plain, enlightened = both(script)
    assert plain == (0x55667788, [], False)
    assert enlightened == (read, [], warned)


@pytest.mark.case("P01-capabilities")
def test_hyper_v_offers_fewer_controls(kernel):
    controls = 0x48B                    # IA32_VMX_PROCBASED_CTLS2
    def script(machine, kvm, vcpu):
        return machine.cpu(0).rdmsr(controls).value >> 32

    processor = 0x027FFFFF
    filtered, rich = both(script, boot=kernel)[1], both(
        script, boot=kernel, msrs={controls: processor << 32}, unfinished=True)[1]
    assert rich == processor
    assert filtered & ~rich == 0
    # APIC accesses, APIC registers, interrupt delivery, VMFUNC, shadow VMCS, PML: none has a field
    assert not filtered & (1 << 0 | 1 << 8 | 1 << 9 | 1 << 13 | 1 << 14 | 1 << 17)


@pytest.mark.case("P01-error-number")
def test_the_error_number_of_a_failed_vmwrite(kernel):
    error = 0x4400

    def script(machine, kvm, vcpu):
        if not kernel.is_port:
            write_field(vcpu, 0x4402, 1)
            return vcpu.vmcs[Field(error)]
        written(machine, kvm.port, 0x4402, 1)
        with machine.cpu(0):
            return kvm.port.vmcs_read32(error)

    assert both(script, boot=kernel, msrs=REFUSES) == (13, 0)


@pytest.mark.case("P01-error-number")
def test_the_error_number_of_a_failed_entry_is_in_both(kernel):
    def script(machine, kvm, vcpu):
        change_field(vcpu, 0x4002, 1 << 17)         # a control that must be 0
        return vcpu.run(exits=1).data

    plain, enlightened = both(script, boot=kernel)
    assert plain == enlightened == {"hardware_entry_failure_reason": 7}


@pytest.mark.case("P01-flush")
def test_a_flush_that_l0_does_itself(kernel):
    """L1 asks for it in eVMCS and assist page; else, and under VMCS, the call is an exit."""
    # mov $0x10002, %ecx; xor %edx, %edx; mov $3, %r8d; vmcall; hlt
    flush = bytes.fromhex("b902000100" "31d2" "41b803000000") + VMCALL + HLT

    def script(machine, kvm, vcpu):
        if kvm.enable_evmcs:
            page = vcpu.vmcs_gpa
            assistance = machine.memory.size - 4096         # a page that nobody has
            machine.memory.write(assistance, bytes(4))
            machine.memory.write(page + 836, (1).to_bytes(4, "little"))
            machine.memory.write(page + 840, (1).to_bytes(4, "little"))
            machine.memory.write(page + 848, (1).to_bytes(8, "little"))
            machine.memory.write(page + 856, assistance.to_bytes(8, "little"))
            machine.memory.write(machine.assist_page_gpa(0) + 32, (1).to_bytes(8, "little"))
            machine.memory.write(page + CLEAN_FIELDS, bytes(4))
        vcpu.trace_exits()
        vcpu.run(exits=2)
        return [reason for reason, *_ in vcpu.exit_log]

    plain, enlightened = both(script, code=flush, boot=kernel)
    assert plain == [EXIT_VMCALL, EXIT_HLT]
    assert enlightened == [EXIT_HLT]
