# SPDX-License-Identifier: GPL-2.0-only
"""What v4.19 does and a shortcut would not: seen by a guest, or by the fields that are read."""

import pytest

PROCBASED_CTLS2, TSC_SCALING = 0x48B, 1 << 25
TSC_MULTIPLIER = 0x2032

READ_FEATURE_CONTROL = bytes.fromhex("b93a000000" "0f32")       # mov $0x3a, %ecx; rdmsr
LOCK_FEATURE_CONTROL = bytes.fromhex("b93a000000" "b801000000" "31d2" "0f30")   # wrmsr of 1
HLT = b"\xf4"


@pytest.fixture
def l1(kernel):
    """The port and v4.19's own KVM: later kernels do other things by other rules."""
    if kernel.version > (4, 19):
        pytest.skip("what v4.19 does is asked of v4.19 and of its port")
    return kernel


@pytest.fixture(params=[False, True], ids=["vmcs", "evmcs"])
def enlightened(request):
    return request.param


def run(l1, code, enlightened, **options):
    """How a guest ends, its RAX, and the machine's counters."""
    with l1(cpus=1, **options) as machine:
        vcpu = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=code).create_vcpu()
        return vcpu.run(exits=50).reason, vcpu.regs["rax"]


def test_feature_control_is_open_until_the_guest_locks_it(l1, enlightened):
    """vmx_set_msr(): without nested VMX the lock is the one bit that may be written, once."""
    assert run(l1, READ_FEATURE_CONTROL + HLT, enlightened) == ("HLT", 0)
    assert run(l1, LOCK_FEATURE_CONTROL + READ_FEATURE_CONTROL + HLT, enlightened) == ("HLT", 1)
    # a second write is #GP, and this guest has no handlers
    assert run(l1, LOCK_FEATURE_CONTROL * 2 + HLT, enlightened)[0] == "SHUTDOWN"


def test_tsc_scaling_begins_at_one(l1, enlightened):
    """kvm_default_tsc_scaling_ratio: an entry with the control on and a ratio of 0 is refused."""
    with l1(cpus=1) as machine:
        offered = machine.cpu(0).rdmsr(PROCBASED_CTLS2).value
    with l1(cpus=1, msrs={PROCBASED_CTLS2: offered | TSC_SCALING << 32}) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=HLT).create_vcpu()
        assert vcpu.run(exits=5).reason == "HLT"
        if not enlightened and l1.is_port:
            with machine.cpu(0):
                assert kvm.port.vmcs_read64(TSC_MULTIPLIER) == 1 << 48


@pytest.mark.parametrize("instruction, reads", [
    ("0fa2", 7),            # CPUID: reason, IDT vectoring, interrupt, RFLAGS, RIP, length, shadow
    ("0f01c1", 9),          # VMCALL: also the access rights of CS (64-bit mode?) and of SS (CPL)
])
def test_the_fields_that_one_exit_reads(l1, instruction, reads):
    loop = bytes.fromhex("b800000000" + instruction)
    loop += bytes([0xEB, 0x100 - len(loop) - 2])
    with l1(cpus=1) as machine:
        vm = machine.insmod(enlightened_vmcs=False).create_vm(code=loop)
        vcpu = vm.create_vcpu()
        vcpu.run(exits=100)
        counts = []
        for exits in (100, 1100):
            before = machine.counters["vmread"]
            assert vcpu.run(exits=exits).exits == exits
            counts.append(machine.counters["vmread"] - before)
        assert counts[1] - counts[0] == 1000 * reads


RDTSCP, RDRAND_EXITING, INVPCID = 1 << 3, 1 << 11, 1 << 12
SECONDARY = "SECONDARY_VM_EXEC_CONTROL"


@pytest.mark.parametrize("offered", [True, False])
def test_the_guest_s_cpuid_decides_on_its_controls(l1, enlightened, offered):
    """vmx_cpuid_update(): what CPUID has is enabled, and RDRAND exits where it has it not."""
    with l1(cpus=1) as machine:
        leaf_1, extended = machine.cpu(0).cpuid(1), machine.cpu(0).cpuid(0x80000001)
    rdrand, rdtscp = 1 << 30, 1 << 27
    change = (lambda value, bit: value | bit) if offered else (lambda value, bit: value & ~bit)
    cpuid = {1: (*leaf_1[:2], change(leaf_1[2], rdrand), leaf_1[3]),
             0x80000001: (*extended[:3], change(extended[3], rdtscp))}
    with l1(cpus=1, cpuid=cpuid) as machine:
        vm = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=HLT)
        vcpu = vm.create_vcpu()
        controls = vcpu.vmcs[SECONDARY]
        assert bool(controls & RDTSCP) == offered
        assert bool(controls & RDRAND_EXITING) != offered
        assert vcpu.run().reason == "HLT"


def test_misc_enable_keeps_what_was_written(l1, enlightened):
    write = bytes.fromhex("b9a0010000" "b842000000" "31d2" "0f30")
    read = bytes.fromhex("31c0" "0f32")
    assert run(l1, write + read + HLT, enlightened) == ("HLT", 0x42)


@pytest.mark.parametrize("instruction, rax", [
    ("ec", 0x11223344556677FF), ("66ed", 0x112233445566FFFF), ("ed", 0xFFFFFFFF)])
def test_four_bytes_from_a_port_clear_the_upper_half(l1, enlightened, instruction, rax):
    """Reads of a port where nothing is: of one, two and four bytes."""
    code = bytes.fromhex("48b8" "8877665544332211" + instruction) + HLT
    with l1(cpus=1) as machine:
        vcpu = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=code).create_vcpu()
        assert [vcpu.run(exits=50).reason for _ in range(2)] == ["IO", "HLT"]
        assert vcpu.regs["rax"] == rax
