# SPDX-License-Identifier: GPL-2.0-only
"""What v4.19 answers a guest: its MSRs, CR4 and hypercalls, by the cases of the kernel's source."""

import pytest
from each import destroy_vms, set_cpuid

pytestmark = pytest.mark.needs("hyperv")

HLT = "f4"


@pytest.fixture
def l1(kernel):
    """The port, and what it is a port of: later kernels answer otherwise, by many rules."""
    if kernel.version > (4, 19):
        pytest.skip("what v4.19 answers is asked of v4.19 and of its port")
    return kernel


SPEC_CTRL, PRED_CMD, ARCH_CAPABILITIES = 0x48, 0x49, 0x10A
LEAF_1_X2APIC = 1 << 21
LEAF_7_SPEC_CTRL, LEAF_7_ARCH = 1 << 26, 1 << 29


def rdmsr(index):
    return "b9" + index.to_bytes(4, "little").hex() + "0f32"


def wrmsr(index, value):
    low, high = value & 0xFFFFFFFF, value >> 32
    return ("b8" + low.to_bytes(4, "little").hex() + "ba" + high.to_bytes(4, "little").hex()
            + "b9" + index.to_bytes(4, "little").hex() + "0f30")


def show(cpu, vcpu, leaves):
    """Give a vCPU the CPUID that it starts with, with bits set in {leaf: (register, bits)}."""
    from kvm_vmx.machine import long_mode

    entries = long_mode.cpuid_entries(cpu)
    for leaf, (register, bits) in leaves.items():
        entry = next((entry for entry in entries if entry["function"] == leaf), None)
        if entry is None:
            entry = dict(function=leaf, index=0, flags=0, eax=0, ebx=0, ecx=0, edx=0)
            entries.append(entry)
            entries[0]["eax"] = max(entries[0]["eax"], leaf)
        entry[register] |= bits
    set_cpuid(vcpu, entries)


def run(machine, code, leaves=None):
    """(why the guest ended, RDX:RAX) of code and HLT; a fault without a handler is SHUTDOWN."""
    kvm = machine.module or machine.insmod()
    vcpu = kvm.create_vm(code=bytes.fromhex(code + HLT)).create_vcpu(cpu=0)
    show(machine.cpu(0), vcpu, leaves or {})
    reason = vcpu.run(exits=1000).reason
    return reason, vcpu.regs["rdx"] << 32 | vcpu.regs["rax"] & 0xFFFFFFFF


# What a bare guest reads, from kvm_get_msr_common() and kvm_mtrr_get_msr(); None: #GP.
READ = {
    0x0: 0, 0x1: 0,                                     # P5_MC_ADDR, P5_MC_TYPE
    0x17: 0, 0x2A: 0,                                   # PLATFORM_ID, EBL_CR_POWERON
    0x2C: 1 << 24,                                      # EBC_FREQUENCY_ID
    0x34: 0, 0x3B: 0,                                   # SMI_COUNT, TSC_ADJUST
    0x1B: 0xFEE00900,                                   # APICBASE: enabled, boot processor
    0x9E: None,                                         # SMBASE: for user space alone
    0xC1: 0, 0xC2: 0, 0x186: 0, 0x187: 0,               # counters of a P6
    0xCD: 3, 0xCE: 1 << 31, 0x140: 0,                   # FSB, PLATFORM_INFO, MISC_FEATURES
    0xFE: 0x508,                                        # MTRRcap: WC, fixed, 8 ranges
    0x11E: 0xBE702111,                                  # BBL_CR_CTL3
    0x179: 32, 0x17A: 0, 0x17B: None,                   # MCG_CAP, STATUS; CTL without CTL_P
    0x198: 4 << 40 | 1000, 0x199: 0,                    # PERF_STATUS, PERF_CTL
    0x1D9: 0, 0x1DB: 0, 0x1DC: 0, 0x1DD: 0, 0x1DE: 0,   # DEBUGCTL, last branches
    0x200: 0, 0x20F: 0, 0x210: None, 0x24F: None,       # 8 ranges of two MSRs each
    0x250: 0, 0x251: None, 0x258: 0, 0x259: 0, 0x268: 0, 0x26F: 0, 0x270: None,
    0x277: 0x0007040600070406, 0x2FF: 0,                # PAT, MTRRdefType
    0x400: 0, 0x47F: 0, 0x480: None,                    # 32 banks of four MSRs each
    0x6E0: 0, 0x800: None, 0x83F: None,                 # TSC deadline; x2APIC, which is off
    0xC0010000: 0, 0xC0010007: 0, 0xC0010010: 0, 0xC0010015: 0, 0xC001001B: 0x20000000,
    0xC001001F: 0, 0xC0010055: 0, 0xC0010058: 0, 0xC0010112: 0, 0xC0010113: 0, 0xC0010117: 0,
    0xC0010140: None, 0xC0010200: 0, 0xC001020B: 0, 0xC0011022: 0, 0xC001102A: 0,
    0x10A: None, 0x48: None, 0x123: None, 0xC0000104: None,
}


def test_what_a_guest_reads(l1):
    found = {}
    with l1() as m:
        for index in READ:
            reason, value = run(m, rdmsr(index))
            found[index] = value if reason == "HLT" else None
            destroy_vms(m)
    assert {hex(k): v for k, v in found.items() if v != READ[k]} == {}


# (index, value): whether a bare guest may write it, from kvm_set_msr_common() and its kin.
WRITTEN = {
    (0x1D9, 0): True, (0x1D9, 1): True, (0x1D9, 2): True, (0x1D9, 4): False,
    (0xCE, 0): False, (0x140, 1): True, (0x140, 2): False,
    (0x1B, 0xFEE00900): True, (0x1B, 0xFEE00901): False,
    (0x1B, 0xFEE00C00): False, (0x1B, 0xFEE00400): False,   # of a mode that CPUID does not announce
    (0x17A, 5): True, (0x17B, 0): False, (0x400, 0): True, (0x400, (1 << 64) - 1): True,
    (0x400, 1): False, (0x401, 0): True, (0x401, 1): False, (0x480, 0): False,
    (0x200, 6): True, (0x200, 2): False, (0x201, 0x800): True, (0x201, 1): False,
    (0x2FF, 0xC06): True, (0x2FF, 0x1000): False, (0x250, 0x0606060606060606): True,
    (0x250, 2): False, (0xFE, 0): False, (0x79, 1): True, (0x8B, 1): True,
    (0xC0010015, 0x40148): True, (0xC0010015, 1): False, (0xC0010058, 0): True,
    (0xC0010058, 1): False, (0xC001001F, 7): True, (0xC0010117, 7): True, (0xC1, 5): True,
    (0x6E0, 1): True, (0x808, 0): False, (0x34, 0): False, (0x9E, 0): False,
    (0x3B, 5): True, (0x48, 0): False, (0x49, 1): False,
}


def test_what_a_guest_writes(l1):
    found = {}
    with l1() as m:
        for index, value in WRITTEN:
            found[index, value] = run(m, wrmsr(index, value))[0] == "HLT"
            destroy_vms(m)
    assert {(hex(i), hex(v)): ok for (i, v), ok in found.items() if ok != WRITTEN[i, v]} == {}


@pytest.mark.parametrize("written, ended", [
    ([0xC00], "HLT"), ([0xC00, 0xC00], "HLT"), ([0x800], "HLT"), ([0], "HLT"),
    ([0x400], "SHUTDOWN"),
    ([0xC00, 0x800], "SHUTDOWN"), ([0xC00, 0, 0x800], "HLT"), ([0, 0xC00], "SHUTDOWN")])
def test_the_modes_of_the_apic_where_x2apic_is_announced(l1, written, ended):
    """kvm_set_apic_base(): no way back from x2APIC but by way of off, none from off to it."""
    with l1() as m:
        code = "".join(wrmsr(0x1B, 0xFEE00000 | bits) for bits in written)
        assert run(m, code, {1: ("ecx", LEAF_1_X2APIC)})[0] == ended


@pytest.mark.parametrize("index, value", [
    (0x200, 0x80000006), (0x201, 0xFFF00800), (0x20F, 0x800), (0x250, 0x0404040404040404),
    (0x259, 5), (0x26F, 1), (0x2FF, 0xC00), (0x401, 0), (0x402, 9), (0x47F, 7), (0x17A, 4),
    (0x1A0, 0x850089), (0x140, 1)])
def test_what_a_guest_writes_it_reads_again(l1, index, value):
    with l1() as m:
        assert run(m, wrmsr(index, value) + rdmsr(index)) == ("HLT", value)


def test_cpuid_faults_above_cpl_0_where_the_guest_asked_for_it(l1):
    with l1() as m:
        assert run(m, wrmsr(0x140, 1) + "31c0" "0fa2")[0] == "HLT"


def test_arch_capabilities(l1):
    with l1() as m:
        own = m.cpu(0).rdmsr(ARCH_CAPABILITIES).value
        assert own & 1 and run(m, rdmsr(ARCH_CAPABILITIES), {7: ("edx", LEAF_7_ARCH)}) == (
            "HLT", own | 8)
        assert run(m, wrmsr(ARCH_CAPABILITIES, 0), {7: ("edx", LEAF_7_ARCH)})[0] == "SHUTDOWN"


def test_a_guests_spec_ctrl_does_not_stay_in_the_processor(l1):
    code = wrmsr(SPEC_CTRL, 1) + wrmsr(SPEC_CTRL, 3) + HLT + rdmsr(SPEC_CTRL)
    for enlightened in (False, True):
        with l1() as m:
            vcpu = m.insmod(enlightened_vmcs=enlightened).create_vm(
                code=bytes.fromhex(code + HLT)).create_vcpu(cpu=0)
            show(m.cpu(0), vcpu, {7: ("edx", LEAF_7_SPEC_CTRL)})
            assert vcpu.run(exits=100).reason == "HLT"
            assert m.cpu(0).rdmsr(SPEC_CTRL).value == 0
            assert vcpu.run(exits=100).reason == "HLT"
            assert vcpu.regs["rax"] == 3 and m.cpu(0).rdmsr(SPEC_CTRL).value == 0


def test_a_guest_that_never_writes_spec_ctrl_costs_no_instruction(l1):
    with l1() as m:
        vcpu = m.insmod().create_vm(code=bytes.fromhex("31c0" "0fa2" "ebfa")).create_vcpu(cpu=0)
        vcpu.run(exits=100)
        cost = []
        for exits in (10, 200):
            before = dict(m.counters)
            vcpu.run(exits=exits)
            cost.append([m.counters[name] - before[name] for name in ("rdmsr", "wrmsr")])
        assert cost[0] == cost[1]


def test_prediction_barrier(l1):
    with l1() as m:
        seen = {7: ("edx", LEAF_7_SPEC_CTRL)}
        assert run(m, wrmsr(PRED_CMD, 1) + wrmsr(PRED_CMD, 1), seen)[0] == "HLT"
        assert run(m, wrmsr(PRED_CMD, 2), seen)[0] == "SHUTDOWN"


# MOV CR4 with one bit more than the guest starts with, from CR4_RESERVED_BITS and kvm_set_cr4().
FREE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
FEATURE = {11: (7, "ecx", 2), 12: (7, "ecx", 16), 16: (7, "ebx", 0), 17: (1, "ecx", 17),
           18: (1, "ecx", 26), 20: (7, "ebx", 7), 21: (7, "ebx", 20), 22: (7, "ecx", 3)}


def test_mov_cr4_of_every_bit(l1):
    ended = {}
    with l1() as m:
        for bit in range(32):
            code = ("0f20e0" "48" "0d" + (1 << bit).to_bytes(4, "little").hex() + "0f22e0") \
                if bit < 31 else "0f20e0" "480fbae81f" "0f22e0"
            vcpu = (m.module or m.insmod()).create_vm(
                code=bytes.fromhex(code + HLT)).create_vcpu(cpu=0)
            if bit in FEATURE:
                leaf, register, number = FEATURE[bit]
                entries = [entry for entry in __import__(
                    "kvm_vmx.machine.long_mode", fromlist=["x"]).cpuid_entries(m.cpu(0))]
                for entry in entries:
                    if entry["function"] == leaf:
                        entry[register] &= ~(1 << number)
                set_cpuid(vcpu, entries)
            ended[bit] = vcpu.run(exits=100).reason
            destroy_vms(m)
    assert {bit for bit, reason in ended.items() if reason == "HLT"} == FREE
    assert {reason for bit, reason in ended.items() if bit not in FREE} == {"SHUTDOWN"}


@pytest.mark.parametrize("number, answer", [(1, 0), (2, -1000), (5, 0), (0, -1000)])
def test_hypercalls(l1, number, answer):
    with l1() as m:
        kvm = m.insmod()
        code = "b8" + number.to_bytes(4, "little").hex() + "0f01c1" + HLT
        vcpu = kvm.create_vm(code=bytes.fromhex(code)).create_vcpu(cpu=0)
        assert vcpu.run(exits=100).reason == "HLT"
        assert vcpu.regs["rax"] == answer & (1 << 64) - 1


def test_protected_mode_without_paging_needs_the_identity_map(l1):
    if not l1.is_port:
        pytest.skip("vm_mmap(), which makes that map, has no stand-in")
    with l1() as m:
        kvm = m.insmod(unrestricted_guest=0)
        vcpu = kvm.create_vm(code=bytes.fromhex("b844332211" "f4")).create_vcpu(cpu=0)
        sregs = vcpu.sregs
        sregs.update(cr0=0x31, cr4=0, efer=0)
        sregs["cs"] |= {"l": 0, "db": 1}
        vcpu.sregs = sregs
        assert vcpu.run(exits=10).reason == "HLT" and vcpu.regs["rax"] == 0x11223344
        assert vcpu.vmcs["GUEST_CR3"] == 0xFFFBC000


@pytest.mark.parametrize("options, parameters", [
    ({}, {"ept": 0}), ({"msrs": {0x48B: 0x1000 << 32 | 0x7C << 32}}, {})])
def test_without_ept_nothing_loads(l1, options, parameters):
    if not l1.is_port:
        pytest.skip("v4.19 has shadow pages for this, the port has none")
    with l1(**options) as m:
        before = m.allocations
        with pytest.raises(OSError, match="EPT"):
            m.insmod(**parameters)
        assert m.allocations == before
        assert options or m.insmod().enable_evmcs
