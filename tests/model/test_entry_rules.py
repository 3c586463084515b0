# SPDX-License-Identifier: GPL-2.0-only
"""P12: L0's entry checks against a second set, on the vectors and on random VMCSs near BASE."""

import random

import pytest
from entry_rules import NONE, Processor, judge
from world import DATA, EVMCS, FIELDS, REVISION, VMCS_A, VMCS_B, World, config_a_msrs

from kvm_vmx.machine.outcome import Stopped

COUNTERS = {0xA: (4 << 8, 0, 0, 3), 0x4000000A: (0x2A0101, 1, 0, 0)}
BASE_NAMES = {name: int(value, 16) for name, value in DATA["base"].items()}
ERROR, REASON, QUALIFICATION = 0x4400, 0x4402, 0x6400
LIST, BAD_LIST, APIC_PAGE, TABLE = 0x20000, 0x21000, 0x22000, 0x23000
# MSRs that the lists name: one that takes any value, one that takes a bit or none
ANY_MSR, SYSCALL_MASK, FS_BASE, UNKNOWN = 0xC0000081, 0xC0000084, 0xC0000100, 0x12345

STATE_FIELDS = sorted(
    name for name, encoding in FIELDS.items()
    if encoding >> 10 & 3 != 1 and not name.endswith("_HIGH")
    and name not in ("GUEST_INTR_STATUS", "GUEST_PML_INDEX", "VMX_PREEMPTION_TIMER_VALUE"))
CONTROLS = ("PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "SECONDARY_VM_EXEC_CONTROL",
            "VM_EXIT_CONTROLS", "VM_ENTRY_CONTROLS")
EVENTS = [0x80000000 | kind << 8 | vector for kind in range(8)
          for vector in (0, 1, 2, 3, 8, 13, 18, 21, 31, 32, 255)]
VALUES = {
    "VM_ENTRY_INTR_INFO_FIELD": EVENTS + [event | 1 << 11 for event in EVENTS] + [0x7FFFFFFF],
    "VM_ENTRY_MSR_LOAD_ADDR": [LIST, BAD_LIST, LIST + 8, 1 << 46, (1 << 46) - 16],
    "VM_ENTRY_MSR_LOAD_COUNT": [0, 1, 2, 3],
    "VM_ENTRY_INSTRUCTION_LEN": [0, 1, 15, 16],
    "VM_EXIT_MSR_STORE_COUNT": [0, 1, 2], "VM_EXIT_MSR_LOAD_COUNT": [0, 1, 2],
    "VIRTUAL_APIC_PAGE_ADDR": [APIC_PAGE, APIC_PAGE + 4, 1 << 46],
    "TPR_THRESHOLD": [0, 1, 2, 15, 16, 0x80000000],
    "EPT_POINTER": [TABLE | 0x1E, TABLE | 0x18, TABLE | 0x5E, TABLE | 0x1D, TABLE | 0x26,
                    TABLE | 0x9E, 1 << 46 | 0x1E],
    "VMCS_LINK_POINTER": [NONE, VMCS_A, VMCS_B, TABLE, VMCS_B + 8, 1 << 46, 1 << 45],
    "GUEST_ACTIVITY_STATE": [0, 1, 2, 3, 4],
    "GUEST_INTERRUPTIBILITY_INFO": [0, 1, 2, 3, 4, 8, 9, 16, 32],
    "GUEST_RFLAGS": [0, 2, 0x202, 0x102, 0x20002, 0x20202, 0x8002, 1 << 22 | 2],
    "GUEST_PENDING_DBG_EXCEPTIONS": [0, 1 << 14, 1 << 12, 1 << 16, 1 << 13, 15],
    "GUEST_CR3": [0x1000, TABLE, 0x24000, 1 << 46, 1 << 40],
    "CR3_TARGET_COUNT": [0, 4, 5],
    "VIRTUAL_PROCESSOR_ID": [0, 1, 0xFFFF],
    "TSC_MULTIPLIER": [0, 1],
    "VM_FUNCTION_CONTROL": [0, 1, 2],
    "POSTED_INTR_NV": [0, 0xFF, 0x100],
}
VALUES.update({f"GUEST_PDPTR{n}": [0, 1, 3, 0x21, 1 << 46 | 1, 1 << 46] for n in range(4)})
# 32-bit and virtual-8086 guests are many changes away from BASE: begin there as often.
PAE_GUEST = {"VM_ENTRY_CONTROLS": 0x11FB, "GUEST_IA32_EFER": 0, "GUEST_CS_AR_BYTES": 0xC09B}
REAL_GUEST = {**PAE_GUEST, "SECONDARY_VM_EXEC_CONTROL": 0x82, "EPT_POINTER": TABLE | 0x1E,
              "GUEST_CR0": 0x20, "GUEST_CS_AR_BYTES": 0x93, "GUEST_CS_LIMIT": 0xFFFF}
OLD_SEGMENT = {"SELECTOR": 0x100, "BASE": 0x1000, "LIMIT": 0xFFFF, "AR_BYTES": 0xF3}
VM86_GUEST = {**PAE_GUEST, "GUEST_RFLAGS": 0x20002, **{
    f"GUEST_{name}_{part}": value for name in ("CS", "SS", "DS", "ES", "FS", "GS")
    for part, value in OLD_SEGMENT.items()}}
EPT_GUEST = {"SECONDARY_VM_EXEC_CONTROL": 2, "EPT_POINTER": TABLE | 0x1E}
LIST_GUEST = {"VM_ENTRY_MSR_LOAD_COUNT": 2, "VM_ENTRY_MSR_LOAD_ADDR": LIST}
EVENT_GUEST = {"VM_ENTRY_INTR_INFO_FIELD": 0x80000202}
STARTS = [{}, {}, {}, PAE_GUEST, REAL_GUEST, VM86_GUEST, EPT_GUEST, EVENT_GUEST, LIST_GUEST,
          {**PAE_GUEST, **EPT_GUEST}]


def fill(memory):
    """MSR lists, an APIC page with priority 0x20, pointers of PAE paging."""
    def entry(at, index, value):
        memory.write_u64(at, index)
        memory.write_u64(at + 8, value)

    entry(LIST, ANY_MSR, 0x1234)
    entry(LIST + 16, SYSCALL_MASK, 0x47700)
    entry(BAD_LIST, ANY_MSR, 1)
    entry(BAD_LIST + 16, FS_BASE, 0)
    memory.write(APIC_PAGE + 0x80, b"\x20")
    for n in range(4):
        memory.write_u64(TABLE + 8 * n, 0x30001 + (n << 12))
        memory.write_u64(0x24000 + 8 * n, 0x30003 if n == 2 else 0)


def processor_of(world):
    """Configuration A as the rules see it."""
    controls = {name: tuple(int(x, 16) for x in pair)
                for name, pair in DATA["config"]["ctls"].items()}

    def read(address, size):
        try:
            return int.from_bytes(world.memory.read(address, size), "little")
        except (IndexError, ValueError):
            return None

    return Processor(
        **controls, cr0=(0x80000021, 0xFFFFFFFF), cr4=(0x2000, 0x3727FF), maxphyaddr=46,
        cr3_targets=4, zero_length=False, activity=frozenset({1, 2, 3}), revision=REVISION,
        perf_counters=0x70000000F, current_vmcs=VMCS_A, read=read,
        loadable=lambda index, value: index == ANY_MSR or
        (index == SYSCALL_MASK and value >> 32 == 0))


@pytest.fixture(scope="module")
def world():
    world = World(msrs={**config_a_msrs(), 0x491: 1}, unfinished=True, cpuid=COUNTERS,
                  maxphyaddr=46)
    fill(world.memory)
    world.fresh = world.cpu.save()
    return world


def outcome_of(world, changes):
    """How L0 ends an entry with a plain VMCS, in the words of the rules."""
    # nothing of the VMCS before: VMCLEAR would leave its fields where they are
    assert world.cpu.vmclear(VMCS_A).ok
    world.memory.write(VMCS_A, REVISION.to_bytes(4, "little") + bytes(4092))
    world.plain(**changes)
    outcome = world.cpu.vmlaunch(stop_after=1 << 16)
    if isinstance(outcome, Stopped):
        # it computes, or waits, for good
        world.cpu.restore(world.fresh)
        return "ENTER"
    if not outcome.ok:
        return {7: "CTL7", 8: "HST8"}[outcome.error]
    reason = world.cpu.vmread(REASON).value
    why = world.cpu.vmread(QUALIFICATION).value
    if reason == 0x80000021:
        return f"GST/{why}" if why else "GST"
    return f"MSR/{why}" if reason == 0x80000022 else "ENTER"


def near(rng, start):
    """start with up to three fields changed, mostly into something that a rule is about."""
    changes = dict(start)
    for _ in range(rng.randint(0, 3)):
        name = rng.choice(CONTROLS if rng.random() < 0.3 else STATE_FIELDS)
        width = {0: 16, 1: 64, 2: 32, 3: 64}[FIELDS[name] >> 13 & 3]
        old = changes.get(name, BASE_NAMES.get(name, 0))
        kind = rng.random()
        if name in VALUES and kind < 0.7:
            value = rng.choice(VALUES[name])
        elif kind < 0.9:
            value = old ^ 1 << rng.randrange(width)
        else:
            value = rng.choice([0, 1, (1 << width) - 1, rng.getrandbits(width),
                                1 << width - 1, 1 << 47, (1 << 47) - 1])
        changes[name] = value & (1 << width) - 1
    return changes


@pytest.mark.parametrize("case", DATA["cases"])
def test_the_rules_agree_with_the_vectors(world, case):
    processor = processor_of(world)
    processor.vm_functions = 0
    wrong = []
    for base, changes, expected, label in DATA["cases"][case]:
        fields = {name: int(value, 16) for name, value in changes.items() if name[0] != "@"}
        if base == "BASE0":
            fields, expected = {"GUEST_RFLAGS": 0, **fields}, expected.replace("PASS", "GST")
        got = judge({**BASE_NAMES, **fields}, processor)
        if got != expected and not (expected == "ENTER" and got.startswith("MSR")):
            wrong.append((label, expected, got))
    assert not wrong


def compare(world, seed, count):
    processor, rng = processor_of(world), random.Random(seed)
    processor.vm_functions = 1
    seen = {}
    for _ in range(count):
        changes = near(rng, rng.choice(STARTS))
        expected = judge({**BASE_NAMES, **changes}, processor)
        assert outcome_of(world, changes) == expected, {
            name: hex(value) for name, value in changes.items()}
        seen[expected] = seen.get(expected, 0) + 1
    return seen


def test_the_starts_enter(world):
    processor = processor_of(world)
    for start in STARTS:
        assert judge({**BASE_NAMES, **start}, processor) == "ENTER"
        assert outcome_of(world, start) == "ENTER"


@pytest.mark.soak
@pytest.mark.case("P12")
def test_random_vmcss_near_base(world, soak):
    seen = compare(world, *((1, 6000) if soak else (11, 3000)))
    assert {"CTL7", "HST8", "GST", "GST/2", "GST/4", "MSR/2", "ENTER"} <= set(seen)


@pytest.mark.soak
@pytest.mark.case("P12")
def test_a_hundred_thousand_random_vmcss(world, soak):
    if not soak:
        pytest.skip("a soak: give --soak")
    seen = compare(world, 2, 100_000)
    assert min(seen[name] for name in ("CTL7", "HST8", "GST", "GST/2", "GST/4", "ENTER")) > 50


@pytest.mark.soak
@pytest.mark.case("P12")
def test_the_same_through_an_evmcs(world, soak):
    """Where every changed field has a place in it, and no control lacks its field."""
    from test_entry_vectors import MEMBERS, is_covered

    other = World(msrs={**config_a_msrs(), 0x491: 1}, unfinished=True, cpuid=COUNTERS,
                  maxphyaddr=46,
                  profile="tlfs-strict")
    fill(other.memory)
    fresh = other.cpu.save()
    processor, rng, tried = processor_of(other), random.Random(3), 0
    count = 3000 if soak else 1500
    processor.current_vmcs, processor.vm_functions = NONE, 1
    for _ in range(count):
        changes = near(rng, rng.choice(STARTS))
        texts = {name: hex(value) for name, value in changes.items()}
        if not set(changes) <= set(MEMBERS) or not is_covered("BASE", texts):
            continue
        tried += 1
        expected = judge({**BASE_NAMES, **changes}, processor)
        other.enlighten(**{MEMBERS[name]: value for name, value in changes.items()})
        outcome = other.cpu.vmlaunch(stop_after=1 << 16)
        if isinstance(outcome, Stopped):
            other.cpu.restore(fresh)
            got = "ENTER"
        elif not outcome.ok:
            got = {7: "CTL7", 8: "HST8"}[outcome.error]
        else:
            reason, why = (other.get(EVMCS, name) for name in
                           ("vm_exit_reason", "exit_qualification"))
            got = {0x80000021: f"GST/{why}" if why else "GST",
                   0x80000022: f"MSR/{why}"}.get(reason, "ENTER")
        assert got == expected, texts
    assert tried > count / 2
