# SPDX-License-Identifier: GPL-2.0-only
"""The VMX instructions on a plain VMCS: rows VMX-01 to VMX-38."""

import random

import pytest
from world import BASE, FIELDS, REVISION, VMCS_A, VMCS_B, VMXON, World

from kvm_vmx.machine.outcome import Fault, VMfailInvalid, VMfailValid, VMsucceed

NONE = (1 << 64) - 1
FLAGS = 0x8D5
ERROR = 0x4400


@pytest.fixture
def world():
    return World()


@pytest.fixture
def cpu(world):
    return world.cpu


def kind(outcome):
    """OK, FI, FV(n) or the fault, as the rows write it."""
    if isinstance(outcome, VMsucceed):
        return "OK"
    if isinstance(outcome, VMfailInvalid):
        return "FI"
    return f"FV({outcome.error})" if isinstance(outcome, VMfailValid) else str(outcome)


@pytest.mark.case("VMX-01")
def test_vmxon_needs_the_feature_control_msr():
    cpu = World(vmx=False, msrs={0x3A: 0}).cpu
    assert cpu.mov_to_cr(4, cpu.cr4 | 0x2000).ok
    for locked in (0, 1, 4):
        cpu = World(vmx=False, msrs={0x3A: locked}).cpu
        cpu.cr4 |= 0x2000
        assert kind(cpu.vmxon(VMXON)) == "#GP(0)"
        assert kind(cpu.vmptrst()) == "#UD(0)"


@pytest.mark.case("VMX-03")
def test_feature_control_lock_is_sticky():
    cpu = World(vmx=False).cpu
    assert cpu.wrmsr(0x3A, 5).ok
    assert cpu.rdmsr(0x3A).value == 5
    assert kind(cpu.wrmsr(0x3A, 0)) == "#GP(0)"
    assert cpu.rdmsr(0x3A).value == 5


@pytest.mark.case("VMX-04")
def test_vmxon_without_vmxe_or_protected_mode_is_undefined():
    cpu = World(vmx=False, msrs={0x3A: 5}).cpu
    assert kind(cpu.vmxon(0xDEAD_BEEF_0001)) == "#UD(0)"
    cpu.cr4 |= 0x2000
    cpu.cr0 &= ~1
    assert kind(cpu.vmxon(VMXON)) == "#UD(0)"


@pytest.mark.case("VMX-05")
def test_vmxon_with_an_illegal_control_register_bit():
    cpu = World(vmx=False, msrs={0x3A: 5}).cpu
    cpu.cr4 |= 0x2000
    cr0, cr4 = cpu.cr0, cpu.cr4
    must0, may0, must4, may4 = (cpu.rdmsr(0x486 + i).value for i in range(4))
    for bit in range(64):
        one = 1 << bit
        for name, good, must, may in (("cr0", cr0, must0, may0), ("cr4", cr4, must4, may4)):
            bad = good & ~one if must & one else good | one
            if not must & one and may & one:
                continue
            setattr(cpu, name, bad)
            undefined = (name, one) in (("cr0", 1), ("cr4", 0x2000))
            assert kind(cpu.vmxon(VMXON)) == ("#UD(0)" if undefined else "#GP(0)"), (name, bit)
            setattr(cpu, name, good)
    assert cpu.vmxon(VMXON).ok


@pytest.mark.parametrize("address", [VMXON + 1, VMXON | 0xFF, VMXON | 1 << 47, 1 << 40])
@pytest.mark.case("VMX-07")
def test_vmxon_with_a_bad_address(address):
    cpu = World(vmx=False, msrs={0x3A: 5}).cpu
    cpu.cr4 |= 0x2000
    assert kind(cpu.vmxon(address)) == "FI"
    assert kind(cpu.vmxoff()) == "#UD(0)"


@pytest.mark.rule("K6")
def test_vmxon_with_another_revision_and_twice(world, cpu):
    assert kind(cpu.vmxon(VMXON)) == "FI"
    world.plain()
    assert kind(cpu.vmxon(VMXON)) == "FV(15)"
    other = World(vmx=False, msrs={0x3A: 5})
    other.cpu.cr4 |= 0x2000
    other.memory.write(VMXON, (REVISION | 1 << 31).to_bytes(4, "little"))
    assert kind(other.cpu.vmxon(VMXON)) == "FI"


@pytest.mark.parametrize(
    ("instruction", "numbers"), [("vmptrld", (9, 9, 10)), ("vmclear", (2, 2, 3))]
)
@pytest.mark.case("VMX-13", "VMX-14", "VMX-17")
def test_bad_pointers(world, cpu, instruction, numbers):
    operands = (VMCS_B + 1, VMCS_B | 1 << 47, VMXON)
    for operand in operands:
        assert kind(getattr(cpu, instruction)(operand)) == "FI"
    world.plain()
    for operand, number in zip(operands, numbers, strict=True):
        assert kind(getattr(cpu, instruction)(operand)) == f"FV({number})"
        assert cpu.vmread(ERROR).value == number
        assert cpu.vmptrst().value == VMCS_A


def test_vmptrld_of_a_page_that_is_no_vmcs(world, cpu):
    world.plain()
    world.memory.write(VMCS_B, (REVISION | 1 << 31).to_bytes(4, "little"))
    assert kind(cpu.vmptrld(VMCS_B)) == "FV(11)"
    world.memory.unback(VMCS_B)
    assert kind(cpu.vmptrld(VMCS_B)) == "FV(11)"
    assert cpu.vmptrst().value == VMCS_A


def test_a_shadow_vmcs_may_be_current_but_not_entered():
    """SDM 25.10 and VMLAUNCH: bit 31 of the revision, where VMCS shadowing is offered."""
    world = World(msrs={0x48B: 1 << 46}, unfinished=True)
    world.memory.write(VMCS_B, (REVISION | 1 << 31).to_bytes(4, "little"))
    assert world.cpu.vmptrld(VMCS_B).ok and world.cpu.vmptrst().value == VMCS_B
    for field, value in BASE.items():
        assert world.cpu.vmwrite(field, value).ok
    for step in (world.cpu.vmlaunch, world.cpu.vmresume):
        assert kind(step()) == "FI" and world.cpu.vmread(ERROR).value == 0
    assert world.cpu.vmclear(VMCS_B).ok
    assert world.memory.read(VMCS_B, 4) == (REVISION | 1 << 31).to_bytes(4, "little")


def test_mov_ss_comes_before_the_launch_state(world, cpu):
    """SDM VMLAUNCH: pointer, blocking by MOV SS, launch state, then the checks."""
    cpu.mov_ss_shadow = True
    assert kind(cpu.vmlaunch()) == "FI"
    world.plain(PIN_BASED_VM_EXEC_CONTROL=0)
    assert [kind(step()) for step in (cpu.vmlaunch, cpu.vmresume)] == ["FV(26)"] * 2
    cpu.mov_ss_shadow = False
    assert [kind(step()) for step in (cpu.vmresume, cpu.vmlaunch)] == ["FV(5)", "FV(7)"]


@pytest.mark.case("VMX-16")
def test_vmptrst(world, cpu):
    assert cpu.vmptrst().value == NONE
    world.plain()
    assert cpu.vmptrst().value == VMCS_A
    assert cpu.vmclear(VMCS_A).ok
    assert cpu.vmptrst().value == NONE


@pytest.mark.case("VMX-18")
def test_vmclear_of_the_current_vmcs(world, cpu):
    world.plain()
    assert kind(cpu.vmclear(VMCS_A)) == "OK"
    assert cpu.vmptrst().value == NONE
    assert kind(cpu.vmread(0x681E)) == "FI"
    assert kind(cpu.vmlaunch()) == "FI"


@pytest.mark.case("VMX-21")
def test_lifecycle(cpu):
    script = "C0 L0 W0 K0 C0 L0 K0 C1 K0 L1 W1 K1 L0 K0 L1 K1 L1 K1 C0 K1 W2 L1 K2"
    values = [random.Random(n).getrandbits(64) for n in range(3)]
    for step in script.split():
        n = int(step[1])
        page = (VMCS_A, VMCS_B)[n % 2] if n < 2 else None
        if step[0] == "C":
            assert cpu.vmclear(page).ok
        elif step[0] == "L":
            assert cpu.vmptrld(page).ok
        elif step[0] == "W":
            assert cpu.vmwrite(FIELDS["GUEST_RSP"], values[n]).ok
        else:
            assert cpu.vmread(FIELDS["GUEST_RSP"]).value == values[n], step


@pytest.mark.case("VMX-22")
def test_launch_state_is_not_data(world, cpu):
    world.plain()
    steps = [cpu.vmresume, cpu.vmlaunch, cpu.vmlaunch, lambda: cpu.vmclear(VMCS_A)]
    steps += [lambda: cpu.vmptrld(VMCS_A), cpu.vmresume, cpu.vmlaunch, cpu.vmresume]
    got = [kind(step()) for step in steps]
    assert got == ["FV(5)", "OK", "FV(4)", "OK", "OK", "FV(5)", "OK", "OK"]


@pytest.mark.case("VMX-22")
def test_a_failed_entry_does_not_launch(world, cpu):
    for bad in ({"PIN_BASED_VM_EXEC_CONTROL": 0}, {"HOST_CR0": 0}, {"GUEST_RFLAGS": 0}):
        world.plain(**bad)
        cpu.vmlaunch()
        assert kind(cpu.vmresume()) == "FV(5)"


def writable(encoding):
    return encoding >> 10 & 3 != 1


def mask_of(name, encoding):
    if name.endswith("AR_BYTES"):
        return 0x1F0FF if name == "GUEST_CS_AR_BYTES" else 0x1D0FF
    return (0xFFFF, NONE, 0xFFFFFFFF, NONE)[encoding >> 13 & 3]


@pytest.mark.case("VMX-23")
def test_round_trip_of_every_field(world, cpu):
    world.plain()
    fields = {
        name: encoding
        for name, encoding in FIELDS.items()
        if writable(encoding) and not name.endswith("_HIGH") and encoding not in TARGETS | LOOPS
    }
    wanted = {
        name: (0x42 | encoding << 8 | 0xDEADBEEF << 32) & mask_of(name, encoding)
        for name, encoding in fields.items()
    }
    for name, encoding in fields.items():
        assert cpu.vmwrite(encoding, wanted[name]).ok, name
    assert {name: cpu.vmread(encoding).value for name, encoding in fields.items()} == wanted
    assert cpu.vmclear(VMCS_A).ok and cpu.vmptrld(VMCS_A).ok
    assert {name: cpu.vmread(encoding).value for name, encoding in fields.items()} == wanted


@pytest.mark.case("VMX-25")
def test_high_half(world, cpu):
    world.plain()
    assert cpu.vmwrite(0x2010, 0x0123456789ABCDEF).ok
    assert cpu.vmread(0x2011).value == 0x01234567
    assert cpu.vmwrite(0x2011, 0x76543210).ok
    assert cpu.vmread(0x2011).value == 0x76543210
    assert cpu.vmread(0x2010).value == 0x7654321089ABCDEF


# the CR3-target values, of which the profile offers none; nor does it know PAUSE loops
TARGETS = {FIELDS[f"CR3_TARGET_VALUE{n}"] for n in range(4)}
LOOPS = {FIELDS["PLE_GAP"], FIELDS["PLE_WINDOW"]}


@pytest.mark.case("VMX-27")
def test_unsupported_components(world, cpu):
    world.plain()
    known = set(FIELDS.values()) - TARGETS - LOOPS
    for encoding in (0xFFFFFFFF, 0x681F, 0x4001, 0x10000681E, 1 << 63, 0x8000, 0x1000, 0x7E):
        assert kind(cpu.vmread(encoding)) == kind(cpu.vmwrite(encoding, 0)) == "FV(12)"
    for encoding in range(0x10000):
        assert cpu.vmread(encoding).ok == (encoding in known), hex(encoding)
    for offered in range(5):
        there = World(msrs={0x485: 0x1E5 | offered << 16})
        there.plain()
        for n, encoding in enumerate(sorted(TARGETS)):
            assert there.cpu.vmwrite(encoding, n).ok == there.cpu.vmread(encoding).ok == (
                n < offered), "SDM A.6: so many CR3-target values as VMX_MISC says"
    there = World(profile="ice-lake")
    there.plain()
    for n, encoding in enumerate(LOOPS):
        assert there.cpu.vmwrite(encoding, n + 7).ok and there.cpu.vmread(encoding).value == n + 7
    assert cpu.vmread(ERROR).value == 12
    cpu.vmptrst()
    assert cpu.vmread(ERROR).value == 12


def test_read_only_fields(world, cpu):
    world.plain()
    assert cpu.vmwrite(FIELDS["VM_EXIT_REASON"], 1).ok, "KVM 6.12 lets L1 write any field"
    world = World(msrs={0x485: 0x1E5})
    world.plain()
    cpu = world.cpu
    for name in ("VM_EXIT_REASON", "GUEST_LINEAR_ADDRESS", "GUEST_PHYSICAL_ADDRESS_HIGH"):
        assert kind(cpu.vmwrite(FIELDS[name], 1)) == "FV(13)"
    world = World(msrs={0x485: 0x000401E5 | 1 << 29})
    world.plain()
    assert world.cpu.vmwrite(FIELDS["VM_EXIT_REASON"], 0x1234).ok
    assert world.cpu.vmread(FIELDS["VM_EXIT_REASON"]).value == 0x1234


@pytest.mark.case("VMX-30", "VMX-31")
def test_without_a_current_vmcs(cpu):
    got = [cpu.vmread(0x681E), cpu.vmwrite(0x681E, 0), cpu.vmlaunch(), cpu.vmresume()]
    assert [kind(outcome) for outcome in got] == ["FI"] * 4
    assert got[0].value is None


@pytest.mark.parametrize("before", [0x2 | FLAGS | 0x700, 0x2 | 0x700])
@pytest.mark.case("VMX-35")
def test_flag_discipline(world, cpu, before):
    cpu.rflags = before
    assert cpu.vmptrst().rflags == before & ~FLAGS
    cpu.rflags = before
    assert cpu.vmread(0).rflags == before & ~FLAGS | 1
    world.plain()
    cpu.rflags = before
    assert cpu.vmread(0xFFFF).rflags == before & ~FLAGS | 0x40


@pytest.mark.case("VMX-36")
def test_invvpid_operands(world, cpu):
    world.plain()
    assert cpu.vmread(0xFFFFFFFF).error == 12
    for kind_ in range(-127, 128):
        outcome = cpu.invvpid(kind_, 0xFFFF)
        assert outcome.ok == (0 <= kind_ <= 3)
        if outcome.ok and kind_ == 0:
            assert cpu.vmread(ERROR).value in (12, 28)
    for bit in range(64):
        assert cpu.invvpid(1, 1 << bit).ok == (bit < 16)
    assert [cpu.invvpid(n, 0).ok for n in range(4)] == [False, False, True, False]
    assert kind(cpu.invvpid(0, 1, 0xAAAAAAAAAAAAAAAA)) == "FV(28)"


def test_invept_operands(world, cpu):
    world.plain()
    good = 0x10001E
    assert [kind(cpu.invept(n, good)) for n in (1, 2)] == ["OK", "OK"]
    assert [kind(cpu.invept(n, good)) for n in (0, 3, -1)] == ["FV(28)"] * 3
    assert kind(cpu.invept(1, good | 1 << 50)) == "FV(28)"
    assert kind(cpu.invept(2, good | 1 << 50)) == "OK"


def all_instructions(cpu):
    return [
        cpu.invvpid(1, 1), cpu.invept(2), cpu.vmptrld(VMCS_A), cpu.vmclear(VMCS_A),
        cpu.vmptrst(), cpu.vmread(0), cpu.vmwrite(0, 0), cpu.vmlaunch(), cpu.vmresume(),
        cpu.vmxoff(),
    ]  # fmt: skip


@pytest.mark.case("VMX-37")
def test_outside_vmx_operation_and_outside_ring_0(cpu):
    cpu.cpl = 3
    assert {kind(outcome) for outcome in all_instructions(cpu)} == {"#GP(0)"}
    cpu.cpl = 0
    assert cpu.vmxoff().ok
    assert {kind(outcome) for outcome in all_instructions(cpu)} == {"#UD(0)"}


@pytest.mark.case("VMX-38")
def test_capability_msrs_are_consistent(cpu):
    read = {index: cpu.rdmsr(index).value for index in range(0x480, 0x492)}
    basic, misc = read[0x480], read[0x485]
    assert not basic >> 31 & 1 and 0 < basic >> 32 & 0x1FFF <= 4096 and basic >> 50 & 15 == 6
    assert misc >> 16 & 0x1FF <= 256 and not misc & 0x80007E00 and misc >> 5 & 1
    default_1 = {0x481: 0x16, 0x482: 0x401E172, 0x483: 0x36DFF, 0x484: 0x11FF, 0x48B: 0}
    for index, bits in default_1.items():
        must, may = read[index] & 0xFFFFFFFF, read[index] >> 32
        assert must & bits == bits and not must & ~may
    for plain, exact in ((0x481, 0x48D), (0x482, 0x48E), (0x483, 0x48F), (0x484, 0x490)):
        assert read[plain] >> 32 == read[exact] >> 32
        assert read[plain] & 0xFFFFFFFF == read[exact] & 0xFFFFFFFF | default_1[plain]
    for must, may in ((0x486, 0x487), (0x488, 0x489)):
        assert not read[must] & ~read[may]
    for index in range(0x480, 0x492):
        assert kind(cpu.wrmsr(index, read[index])) == "#GP(0)"


def test_mov_ss_blocks_an_entry(world, cpu):
    world.plain()
    cpu.mov_ss_shadow = True
    assert kind(cpu.vmlaunch()) == "FV(26)"
    cpu.mov_ss_shadow = False
    assert kind(cpu.vmlaunch()) == "OK"


def test_an_exit_loads_the_host_state(world, cpu):
    world.plain(HOST_RIP=0x1234, HOST_RSP=0x5678, HOST_FS_BASE=0x9000, HOST_CR3=0x7000,
                HOST_CR0=BASE[FIELDS["HOST_CR0"]] & ~0x10)
    cpu.rflags = 0x246
    assert cpu.vmlaunch().ok
    assert (cpu.rip, cpu.rsp, cpu.rflags, cpu.cr3) == (0x1234, 0x5678, 2, 0x7000)
    assert cpu.cr0 == BASE[FIELDS["HOST_CR0"]] | 0x10, "ET is not the VMCS's"
    assert cpu.rdmsr(0xC0000100).value == 0x9000
    # L1 changes what the exit loaded; the next exit loads it again
    assert cpu.mov_to_cr(3, 0x3000).ok and cpu.wrmsr(0xC0000100, 0x1000).ok
    assert cpu.vmresume().ok
    assert cpu.cr3 == 0x7000 and cpu.rdmsr(0xC0000100).value == 0x9000


def test_a_failed_entry_names_the_link_pointer_and_loads_the_host(world, cpu):
    world.plain(VMCS_LINK_POINTER=0x999000, HOST_RIP=0x4444)
    assert cpu.vmlaunch().ok
    assert cpu.vmread(FIELDS["VM_EXIT_REASON"]).value == 0x80000021
    assert cpu.vmread(FIELDS["EXIT_QUALIFICATION"]).value == 4
    assert cpu.rip == 0x4444


def test_a_good_link_is_looked_at_at_every_entry(world, cpu):
    world.plain(VMCS_LINK_POINTER=VMCS_B)
    assert cpu.vmlaunch().ok and cpu.vmread(FIELDS["VM_EXIT_REASON"]).value < 0x80000000
    world.memory.write(VMCS_B, b"\0\0\0\0")
    assert cpu.vmresume().ok and cpu.vmread(FIELDS["VM_EXIT_REASON"]).value == 0x80000021


def test_no_sequence_breaks_the_machine():
    """Any operands in any order: one outcome each, and errors only from the list."""
    rng = random.Random(7)
    world = World(cpus=2)
    pages = [VMXON, VMCS_A, VMCS_B, 0x46000, 0, 1, 1 << 45, NONE, 0xFFF000, 0x1000000]
    words = pages + [0x4400, 0x681E, 0x2010, 0x6C16, 0x80000306, rng.getrandbits(64)]
    names = "vmxon vmclear vmptrld vmptrst vmread vmwrite vmlaunch vmresume invept invvpid".split()
    arity = {"vmptrst": 0, "vmlaunch": 0, "vmresume": 0, "vmwrite": 2, "invvpid": 3, "invept": 2}
    for _ in range(20000):
        cpu = world.partition.processor(rng.randrange(2))
        name = rng.choice(names)
        field = rng.choice(list(BASE) + words)
        args = [rng.choice(words) for _ in range(arity.get(name, 1))]
        if name in ("vmread", "vmwrite"):
            args[0] = field
        outcome = getattr(cpu, name)(*args)
        assert kind(outcome) in {"OK", "FI", "#UD(0)", "#GP(0)"} or isinstance(
            outcome, VMfailValid
        )
        assert isinstance(outcome, Fault) or outcome.rflags & FLAGS in (0, 1, 0x40)
