# SPDX-License-Identifier: GPL-2.0-only
"""A small L1 that keeps the rules of the clean fields, over a plain VMCS or an enlightened one.

A program is a list of steps: ("write", field, value) or ("run",). Its trace is all that L1 can
see of the runs, and must not depend on which VMCS it is, on what L0 keeps of it, or on how the
entry is made.
"""

from world import (
    ALL_CLEAN, ASSIST, BASE, EVMCS, EVMCS_B, FIELDS, GROUP_BITS, LAYOUT, TABLE, World,
)  # fmt: skip

from kvm_vmx.machine.outcome import Stopped

MEMBERS = {FIELDS[encoding]: (member, group) for encoding, member, group in TABLE}
NAMES = {encoding: name for name, encoding in FIELDS.items() if not name.endswith("_HIGH")}
# inc eax; inc rbx; cpuid; jmp back
GUEST = bytes.fromhex("ffc048ffc30fa2ebf7")
REASON, QUALIFICATION, LENGTH, INFO, ERROR = 0x4402, 0x6400, 0x440C, 0x4404, 0x4400
WATCHED = [FIELDS[name] for name in (
    "GUEST_RIP", "GUEST_RSP", "GUEST_RFLAGS", "GUEST_CR0", "GUEST_CR3", "GUEST_CR4",
    "GUEST_CS_SELECTOR", "GUEST_SS_AR_BYTES", "GUEST_FS_BASE", "GUEST_IA32_PAT",
    "GUEST_IA32_EFER", "GUEST_INTERRUPTIBILITY_INFO", "GUEST_ACTIVITY_STATE",
    "GUEST_PENDING_DBG_EXCEPTIONS", "VM_ENTRY_INTR_INFO_FIELD", "VM_ENTRY_CONTROLS",
    "GUEST_SYSENTER_ESP", "GUEST_LDTR_BASE")]


class L1:
    """One L1 with a processor and a VMCS of its own."""

    def __init__(self, world=None, cpu=None, **options):
        self.world = world or World(**options)
        self.world.guest_code(GUEST)
        self.cpu = cpu or self.world.cpu
        self.cpu.registers = [0] * 16
        self.launched = False
        self.start()

    def write(self, field, value):
        """Change a field."""
        raise AssertionError

    def run(self):
        """Enter, handle the exit, and say what L1 saw."""
        outcome = self.enter()
        if isinstance(outcome, Stopped):
            # L2 waits: an NMI wakes it, unless it has blocked them
            self.cpu.pending_nmi = True
            outcome = self.cpu.go_on()
        if isinstance(outcome, Stopped):
            return ("asleep for good",)
        seen = [type(outcome).__name__, getattr(outcome, "error", None)]
        if outcome.ok:
            reason = self.read(REASON)
            seen += [reason, self.read(QUALIFICATION)]
            if not reason >> 31:
                self.launched = True
                seen += [self.read(LENGTH), self.read(INFO)]
            if reason == 10:
                self.write(FIELDS["GUEST_RIP"], self.read(FIELDS["GUEST_RIP"]) + 2)
        seen += [self.read(field) for field in WATCHED]
        cpu = self.cpu
        return (*seen, cpu.rip, cpu.rsp, cpu.cr3, cpu.cr4, cpu.rdmsr(0xC0000100).value,
                cpu.rdmsr(0x277).value, cpu.efer, tuple(cpu.registers))

    def execute(self, program):
        """The trace of a program, which ends early with an L2 that nothing wakes."""
        trace = []
        for step in program:
            if self.cpu.stopped:
                break
            if step[0] == "write":
                self.write(*step[1:])
            else:
                trace.append(self.run())
        return trace


class Plain(L1):
    """By VMWRITE and VMREAD."""

    def start(self):
        self.world.plain()

    def write(self, field, value):
        assert self.cpu.vmwrite(field, value).ok

    def read(self, field):
        return self.cpu.vmread(field).value

    def enter(self):
        return self.cpu.vmresume() if self.launched else self.cpu.vmlaunch()


class Enlightened(L1):
    """By stores into the page, each with the clean bits of its group.

    enter_by names how each entry is made: resume (VMLAUNCH until the first success), launch,
    clear (VMCLEAR before), away (another eVMCS in between), all of them with every clean bit
    forced on where L0 must not trust it; dirty forces every bit off.
    """

    page, assist = EVMCS, ASSIST
    enter_by = "resume"

    def start(self):
        self.world.enlighten(self.page, self.cpu, self.assist)

    def write(self, field, value):
        member, group = MEMBERS[field]
        self.world.put(self.page, member, value)
        bits = {"NONE": 0, "ALL": ALL_CLEAN}.get(group, 1 << GROUP_BITS.get(group, 0))
        self.world.set_clean(self.clean & ~bits, self.page)

    def read(self, field):
        return self.world.get(self.page, MEMBERS[field][0])

    @property
    def clean(self):
        return self.world.get(self.page, "hv_clean_fields")

    def enter(self):
        how = {"resume": self.resume, "launch": self.launch, "clear": self.clear,
               "away": self.away, "dirty": self.dirty}[self.enter_by]
        outcome = how()
        self.world.set_clean(self.clean | ALL_CLEAN, self.page)
        return outcome

    def resume(self):
        return self.cpu.vmresume() if self.launched else self.cpu.vmlaunch()

    def dirty(self):
        self.world.set_clean(0, self.page)
        return self.cpu.vmresume()

    def launch(self):
        self.world.set_clean(ALL_CLEAN, self.page)
        return self.cpu.vmlaunch()

    def clear(self):
        assert self.cpu.vmclear(self.page).ok
        self.world.set_clean(ALL_CLEAN, self.page)
        return self.cpu.vmresume()

    def away(self):
        memory, registers = self.world.memory, self.cpu.registers
        pointer = self.assist + 48
        memory.write(EVMCS_B, memory.read(self.page, 4096))
        # the other L2 does not wait for what would then be missing here
        self.world.memory.write(EVMCS_B + LAYOUT["guest_activity_state"][0], bytes(4))
        memory.write_u64(pointer, EVMCS_B)
        self.cpu.vmlaunch()
        memory.write_u64(pointer, self.page)
        self.cpu.registers = registers
        self.world.set_clean(ALL_CLEAN, self.page)
        return self.cpu.vmresume()


# Fields that both kinds have and treat alike: all but exit information, what has no group, and
# the controls that an eVMCS may not use.
PROGRAMMABLE = sorted(
    FIELDS[encoding] for encoding, _, group in TABLE
    if FIELDS[encoding] >> 10 & 3 != 1 and group != "ALL")


def values_of(field):
    """What a program may write into a field: what BASE has, near it, and nonsense."""
    base = BASE.get(field, 0)
    width = {0: 16, 1: 64, 2: 32, 3: 64}[field >> 13 & 3]
    near = [base ^ 1 << bit for bit in (0, 1, 3, 4, 8, 9, 12)]
    special = {
        "PIN_BASED_VM_EXEC_CONTROL": [0, 0x17, 0x1E], "GUEST_RFLAGS": [0, 2, 0x202, 0x247],
        "VM_ENTRY_INTR_INFO_FIELD": [0, 0x80000202, 0x80000306, 0x80000B0D],
        "SECONDARY_VM_EXEC_CONTROL": [0, 0x20, 0x40], "EXCEPTION_BITMAP": [0, 0x40, 0xFFFFFFFF],
        "GUEST_RIP": [base, base + 2, base + 5], "GUEST_ACTIVITY_STATE": [0, 1],
    }.get(NAMES[field])
    return [base, base] + (special or [value & (1 << width) - 1 for value in near])
