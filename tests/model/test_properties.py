# SPDX-License-Identifier: GPL-2.0-only
"""Properties of L0 over random programs of L1, instruction sequences and interleavings."""

import functools
import json
import random

import needed
import pytest
from lengths import either
from l1_program import GUEST, PROGRAMMABLE, Enlightened, Plain, values_of
from world import (
    ALL_CLEAN, ASSIST, BASE, EVMCS, FIELDS, GROUP_BITS, LAYOUT, ROOT, VMCS_A, VMCS_B, VMXON, World,
)  # fmt: skip

from kvm_vmx.machine.memory import PhysicalMemory
from kvm_vmx.machine.outcome import VMfailInvalid, VMfailValid, VMsucceed

hypothesis, st = needed.module("hypothesis"), needed.module("hypothesis.strategies")
given, settings = hypothesis.given, hypothesis.settings
WRITTEN_BACK = set(json.loads((ROOT / "tests/data/write_back.json").read_text())["written_back"])
CHEAP = settings(max_examples=either(40, 60), deadline=None,
                 suppress_health_check=list(hypothesis.HealthCheck))
POLICIES = ("always", "never", "random(1)", "random(2)")

writes = st.sampled_from(PROGRAMMABLE).flatmap(
    lambda field: st.tuples(st.just("write"), st.just(field), st.sampled_from(values_of(field))))
programs = st.lists(st.one_of(st.just(("run",)), writes), min_size=2, max_size=30).map(
    lambda steps: steps + [("run",)])


def random_program(rng):
    """As programs, for long runs: quicker than drawing by hypothesis."""
    steps = []
    for _ in range(rng.randrange(2, 30)):
        if rng.random() < 0.4:
            steps.append(("run",))
        else:
            field = rng.choice(PROGRAMMABLE)
            steps.append(("write", field, rng.choice(values_of(field))))
    return steps + [("run",)]


@pytest.mark.rule("R61")
@CHEAP
@given(programs)
@pytest.mark.case("P01")
def test_p01_a_plain_and_an_enlightened_vmcs_are_the_same(program):
    assert Plain().execute(program) == Enlightened().execute(program)


@pytest.mark.rule("R37", "R38", "K5")
@CHEAP
@given(programs)
def test_no_result_depends_on_what_l0_keeps(program):
    traces = [Enlightened(cache_policy=policy).execute(program) for policy in POLICIES]
    assert all(trace == traces[0] for trace in traces)


@pytest.mark.soak
def test_ten_thousand_programs_under_every_policy(soak):
    if not soak:
        pytest.skip("a soak: give --soak")
    rng = random.Random(11)
    for _ in range(10_000):
        program = random_program(rng)
        traces = [Enlightened(cache_policy=policy).execute(program) for policy in POLICIES]
        assert all(trace == traces[0] for trace in traces), program


@pytest.mark.rule("R40", "K5")
@CHEAP
@given(programs)
@pytest.mark.case("P05")
def test_p05_reading_everything_again_is_invisible(program):
    """Also the L1 that only ever clears bits, and never sets one."""
    dirty = Enlightened()
    dirty.enter_by = "dirty"
    assert Enlightened().execute(program) == dirty.execute(program)


@pytest.mark.rule("K3", "K4", "R25", "R29")
@pytest.mark.parametrize("how", ["launch", "clear", "away"])
@pytest.mark.case("P06")
def test_p06_launch_clear_and_switch_read_everything_again(how):
    @CHEAP
    @given(programs)
    def holds(program):
        other = Enlightened()
        other.enter_by = how
        assert Enlightened().execute(program) == other.execute(program)

    holds()


BAD = {
    7: ("PIN_BASED_VM_EXEC_CONTROL", 0), 8: ("HOST_CR0", 0),
    33: ("GUEST_RFLAGS", 0), "33/4": ("VMCS_LINK_POINTER", 0x999000),
}


class Stumbles(Enlightened):
    """Before each entry one that fails, and is mended again."""

    def enter(self):
        for name, value in BAD.values():
            old = self.read(FIELDS[name])
            self.write(FIELDS[name], value)
            assert not self.cpu.vmresume().ok or self.read(FIELDS["VM_EXIT_REASON"]) >> 31
            self.world.set_clean(self.clean | ALL_CLEAN, self.page)
            self.write(FIELDS[name], old)
        return super().enter()


@pytest.mark.rule("K7")
@pytest.mark.parametrize("policy", ["always", "random(1)"])
@pytest.mark.case("P07")
def test_p07_failed_entries_leave_no_trace(policy):
    @settings(CHEAP, max_examples=either(20, 30))
    @given(programs)
    def holds(program):
        # what a failed entry says stands in the page: only the last entry's words are compared
        assert Enlightened().execute(program) == Stumbles(cache_policy=policy).execute(program)

    holds()


class Moves(Enlightened):
    """Saved, destroyed, made anew and restored before every step."""

    def move(self):
        old = self.world
        blob = self.cpu.save()
        self.world = World(vmx=False)
        for page in (0, 0x1000, 0x2000, ASSIST, EVMCS, VMXON, 0x500000):
            self.world.memory.write(page, old.memory.read(page, 4096))
        self.cpu = self.world.cpu
        self.cpu.restore(blob)

    def write(self, field, value):
        self.move()
        super().write(field, value)

    def enter(self):
        self.move()
        return super().enter()


@pytest.mark.rule("R73")
@settings(CHEAP, max_examples=either(12, 25))
@given(programs)
@pytest.mark.case("P08")
def test_p08_save_and_restore_leave_no_trace(program):
    assert Enlightened().execute(program) == Moves().execute(program)


class MovesInside(Moves):
    """Moved, too, before each of the first instructions that L2 executes in a run."""

    def resume(self):
        enter = self.cpu.vmresume if self.launched else self.cpu.vmlaunch
        outcome = enter(stop_after=0)
        for _ in range(4):
            if self.cpu.stopped:
                self.move()
                outcome = self.cpu.go_on(stop_after=1)
        return self.cpu.go_on() if self.cpu.stopped else outcome


@pytest.mark.rule("R73")
@pytest.mark.case("P08")
@settings(CHEAP, max_examples=either(12, 25))
@given(programs)
def test_p08_save_and_restore_inside_l2_leave_no_trace(program):
    assert Enlightened().execute(program) == MovesInside().execute(program)


ZEROS = bytes(1 << 16)


def filled(memory):
    """All of memory: {address: bytes} of what is not zero."""
    pieces = ((at, memory.read(at, len(ZEROS))) for at in range(0, memory.size, len(ZEROS)))
    return {at: piece for at, piece in pieces if piece != ZEROS}


@functools.cache
def looked_through():
    """A memory that has all its pages of the host already, as whoever looks through it needs."""
    memory = PhysicalMemory(World.SIZE)
    filled(memory)
    return memory


@pytest.mark.rule("K12", "R35", "R59")
@settings(CHEAP, max_examples=either(25, 40))
@given(st.integers(0, 1 << 32), st.integers(0, (1 << 32) - 1), st.booleans())
@pytest.mark.case("P11")
def test_p11_what_l0_writes(seed, clean, launch):
    """The 72 members, the clean fields (an entry that succeeds marks them), and nothing else in
    all of memory."""
    memory = looked_through()
    for at in filled(memory):
        memory.write(at, ZEROS)
    world = World(memory=memory)
    world.guest_code(GUEST)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    rng = random.Random(seed)
    world.memory.write(EVMCS + 0x400, rng.randbytes(0xC00))
    world.set_clean(clean)
    before = filled(memory)
    (world.cpu.vmlaunch if launch else world.cpu.vmresume)()
    allowed = set()
    for member in WRITTEN_BACK | {"hv_clean_fields"}:
        offset, size = LAYOUT[member]
        allowed |= set(range(EVMCS + offset, EVMCS + offset + size))
    now = filled(memory)
    for at in before.keys() | now.keys():
        old, new = before.get(at, ZEROS), now.get(at, ZEROS)
        if old != new:
            assert {at + n for n in range(len(ZEROS)) if old[n] != new[n]} <= allowed
    after = world.get(EVMCS, "hv_clean_fields")
    assert after == clean | ALL_CLEAN


class InstructionModel:
    """What the VMX instructions do to one processor, in a state machine."""

    PAGES = (VMCS_A, VMCS_B, VMXON, 0x46000)

    def __init__(self):
        self.vmx, self.current, self.cpl, self.region = True, None, 0, VMXON
        self.launched, self.errors, self.valid = {}, {}, {VMCS_A, VMCS_B}

    def fail(self, number):
        if self.current is None:
            return "FI"
        self.errors[self.current] = number
        return f"FV({number})"

    def step(self, name, page):
        if name == "vmxon":
            if self.cpl:
                return "#GP(0)"
            if self.vmx:
                return self.fail(15)
            if page != VMXON and page not in self.valid:
                return "FI"
            self.vmx, self.region, self.current = True, page, None
            return "OK"
        if not self.vmx:
            return "#UD(0)"
        if self.cpl:
            return "#GP(0)"
        return getattr(self, name)(page)

    def vmxoff(self, page):
        self.vmx, self.current = False, None
        return "OK"

    def vmclear(self, page):
        if page & 0xFFF:
            return self.fail(2)
        if page == self.region:
            return self.fail(3)
        self.launched[page] = False
        if self.current == page:
            self.current = None
        return "OK"

    def vmptrld(self, page):
        if page & 0xFFF:
            return self.fail(9)
        if page == self.region:
            return self.fail(10)
        if page not in self.valid and page != VMXON:
            return self.fail(11)
        self.current = page
        return "OK"

    def vmptrst(self, page):
        return "OK"

    def vmread(self, page):
        return "FI" if self.current is None else self.fail(12)

    def vmlaunch(self, page):
        if self.current is None:
            return "FI"
        return self.fail(4) if self.launched.get(self.current) else self.fail(7)

    def vmresume(self, page):
        if self.current is None:
            return "FI"
        return self.fail(7) if self.launched.get(self.current) else self.fail(5)


def kind(outcome):
    if isinstance(outcome, VMsucceed):
        return "OK"
    if isinstance(outcome, VMfailInvalid):
        return "FI"
    return f"FV({outcome.error})" if isinstance(outcome, VMfailValid) else str(outcome)


steps = st.lists(st.tuples(
    st.sampled_from(["vmxon", "vmxoff", "vmclear", "vmptrld", "vmptrst", "vmread", "vmlaunch",
                     "vmresume", "cpl"]),
    st.sampled_from([*InstructionModel.PAGES, VMCS_A + 1]), st.integers(0, 3)), max_size=40)


@settings(CHEAP, max_examples=either(100, 150))
@given(steps)
@pytest.mark.case("P13")
def test_p13_every_instruction_has_one_outcome(sequence):
    """Against the state machine: the VMCSs are empty, so that no entry gets beyond error 7."""
    world, model = World(), InstructionModel()
    for name, page, level in sequence:
        if name == "cpl":
            world.cpu.cpl = model.cpl = level if level == 3 else 0
            continue
        if name == "vmxon":
            page &= ~0xFFF
        takes_page = name in ("vmxon", "vmclear", "vmptrld")
        argument = (page,) if takes_page else (0xFFFF,) if name == "vmread" else ()
        world.cpu.rflags = 0x202 | 0x8D5
        outcome = getattr(world.cpu, name)(*argument)
        expected = model.step(name, page)
        assert kind(outcome) == expected, (name, hex(page))
        flags = {"OK": 0, "FI": 1}.get(expected, 0x40 if expected[0] == "F" else 0x8D5)
        assert outcome.rflags == 0x202 | flags
        if name == "vmptrst" and expected == "OK":
            assert outcome.value == (model.current or (1 << 64) - 1)
        if model.vmx and model.current and not model.cpl:
            assert world.cpu.vmread(0x4400).value == model.errors.get(model.current, 0)


@pytest.mark.rule("R66", "R67", "K11")
@settings(CHEAP, max_examples=either(40, 60))
@given(st.lists(st.tuples(
    st.sampled_from([0, 0x1FFF, 0xC0000000, 0xC0000100, 0xC0001FFF]), st.booleans(), st.booleans(),
    st.sampled_from([0, 1, 2, 3, 4, 11, None]), st.booleans(), st.booleans()), max_size=25))
@pytest.mark.case("P14")
def test_p14_exits_follow_the_bitmap_as_last_read(changes):
    """It is read at every entry, unless enlightened, resumed, and its groups are all clean."""
    world = World()
    world.enlighten(cpu_based_vm_exec_control=0x94006172)
    bitmap = bytearray(4096)
    kept, was = None, False
    world.cpu.vmlaunch()
    for msr, write, on, dirty, flag, launch in changes:
        at = (0x800 if write else 0) + (0x400 if msr >> 31 else 0) + (msr & 0x1FFF) // 8
        bitmap[at] = bitmap[at] | 1 << (msr & 7) if on else bitmap[at] & ~(1 << (msr & 7))
        world.memory.write(0x5000, bytes(bitmap))
        world.put(EVMCS, "hv_enlightenments_control", 2 * flag)
        world.set_clean(ALL_CLEAN & ~(0 if dirty is None else 1 << dirty))
        (world.cpu.vmlaunch if launch else world.cpu.vmresume)()
        if not (flag and was and not launch and dirty not in (1, 2, 3, 4)):
            kept = bytes(bitmap)
        was = flag
        for one in (0, 0x1FFF, 0xC0000000, 0xC0000100, 0xC0001FFF):
            for store in (False, True):
                at = (0x800 if store else 0) + (0x400 if one >> 31 else 0) + (one & 0x1FFF) // 8
                assert world.cpu.msr_exits(one, store) == bool(kept[at] >> (one & 7) & 1)
        assert world.cpu.msr_exits(0x2000) and world.cpu.msr_exits(0xC0002000, True)


class Neighbour(Enlightened):
    """One of several on a machine, with pages of its own."""

    def __init__(self, world, n):
        self.page, self.assist = 0x80000 + (n << 12), 0x90000 + (n << 12)
        super().__init__(world, world.partition.processor(n))


@pytest.mark.rule("R20", "R30")
@settings(CHEAP, max_examples=either(20, 30))
@given(st.lists(programs, min_size=2, max_size=4), st.randoms(use_true_random=False))
@pytest.mark.case("P15")
def test_p15_processors_do_not_interfere(several, rng):
    world = World(cpus=len(several))
    neighbours = [Neighbour(world, n) for n in range(len(several))]
    left = [list(program) for program in several]
    traces = [[] for _ in several]
    while any(left):
        n = rng.choice([n for n, steps in enumerate(left) if steps])
        traces[n] += neighbours[n].execute([left[n].pop(0)])
    for n, program in enumerate(several):
        alone = Neighbour(World(cpus=len(several)), n).execute(program)
        assert traces[n] == alone


@pytest.mark.rule("R31", "K3")
@settings(CHEAP, max_examples=either(20, 30))
@given(programs, st.randoms(use_true_random=False))
@pytest.mark.case("P15")
def test_p15_an_evmcs_may_move_between_processors(program, rng):
    """With VMCLEAR in between; L1's own registers move with it."""
    world = World(cpus=2)
    here, there = Neighbour(world, 0), Neighbour(world, 1)
    there.page = here.page
    trace = []
    for step in program:
        if here.cpu.stopped:
            break
        if rng.random() < 0.3:
            assert here.cpu.vmclear(here.page).ok
            here, there = there, here
            world.memory.write_u64(here.assist + 48, here.page)
            here.cpu.registers, here.launched = there.cpu.registers, False
            # what the last exit left in the processor stays behind; it is L1's to move
            here.cpu.rip = there.cpu.rip
        trace += here.execute([step])

    def of_the_vmcs(entries):
        """Without what a failed entry leaves alone in a processor: L1's own registers."""
        return [entry[:-8] + entry[-1:] for entry in entries]

    assert of_the_vmcs(trace) == of_the_vmcs(Neighbour(World(cpus=2), 0).execute(program))


@pytest.mark.case("P05")
def test_the_oracle_has_teeth():
    """An L1 that forgets to clear one bit gives another trace under `always` than under `never`."""
    class Forgets(Enlightened):
        def write(self, field, value):
            super().write(field, value)
            self.world.set_clean(self.clean | 1 << GROUP_BITS["HOST_POINTER"], self.page)

    program = [("run",), ("write", FIELDS["HOST_RSP"], 0x4444), ("run",)]
    traces = [Forgets(cache_policy=policy).execute(program) for policy in ("always", "never")]
    assert traces[0] != traces[1]
    assert BASE[FIELDS["HOST_RSP"]] in traces[0][-1] and 0x4444 in traces[1][-1]


def test_the_programs_do_something():
    rng, seen = random.Random(5), set()
    for _ in range(300):
        for entry in Enlightened().execute(random_program(rng)):
            seen.add((entry[0], entry[1]) if entry[0] != "VMsucceed" else entry[2])
    assert {("VMfailValid", 7), ("VMfailValid", 8), 10, 0x80000021} <= seen
