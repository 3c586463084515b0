# SPDX-License-Identifier: GPL-2.0-only
"""The runs of the lesson bug: each shows one erratum of v4.19, beside a run that goes well."""

from collections.abc import Callable
from dataclasses import dataclass, field as of
from random import Random
from typing import TypeAlias

from kvm_vmx import KernelBug, Machine, fields
from kvm_vmx.lessons.evmcs import assist_page
from kvm_vmx.lessons.record import TRACED, Named
from kvm_vmx.machine.fields import other_members
from kvm_vmx.machine.guests import CPUID_LOOP, HALT
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.vcpu import Vcpu

SMALL, SMALLEST_GUEST = 16 << 20, 64 << 10
PERF_GLOBAL_CTRL = 0x2808       # a field that version 1 of the enlightened VMCS has no slot for
ENCLS_BITMAP, ENCLS_EXITING = 0x202E, 1 << 15
# Where a later layout has it, and L0 looks.
ENCLS_SLOT = other_members()["ENCLS_EXITING_BITMAP"]["offset"]
# Capability MSRs that offer a control (entry and exit, plain and true), and counters for it.
OFFER_PERF = {0x484: 0x0000F3FF000011FF, 0x490: 0x0000F3FF000011FB,
              0x483: 0x003FFFFF00036DFF, 0x48F: 0x003FFFFF00036DFB}
COUNTERS = {0xA: (8 << 8 | 2, 0, 0, 0)}
OFFER_ENCLS = {0x48B: (0x000118FE | ENCLS_EXITING) << 32}
BASIC = 1 << 55 | 1 << 54 | 6 << 50 | 0x11E57ED0
ROWS = {row["vmcs_field"]: row for row in fields()}
# (step, what is seen)
Seen: TypeAlias = list[tuple[str, str]]


@dataclass
class Found:
    """What one run has shown. seen and control are (step, what is seen) of both runs; where L0
    goes by something else than KVM: field, cpu, entry (counted on that CPU), both values, which
    are None where the field counts for nothing."""

    seen: Seen
    control: Seen
    field: str
    cpu: int
    entry: int
    kvm: int | None
    l0: int | None
    given: Named = of(default_factory=dict)

    @property
    def diverges(self) -> bool:
        """False where somebody has mended the port."""
        return self.kvm != self.l0

    @property
    def group(self) -> str:
        """The field's clean group; "" where it has none."""
        group = ROWS[self.field]["clean_field"] if self.field in ROWS else ""
        return "" if group in ("NONE", "ALL") else group


def ran(vcpu: Vcpu, exits: int, **options: int) -> str:
    """How a run of a vCPU ends."""
    try:
        ended = vcpu.run(exits=exits, **options)
    except KernelBug as bug:
        return f"kernel BUG:{str(bug).rpartition('kernel BUG:')[2].partition(': RIP')[0]}"
    if ended.reason == "FAIL_ENTRY":
        return f"FAIL_ENTRY {ended.data['hardware_entry_failure_reason']:#x}"
    if ended.reason != "INTR":
        return ended.reason
    return f"{ended.exits} exits" if ended.exits > 1 else "1 exit"


def noticed(machine: Machine, name: str, of: str = "") -> Lint | None:
    """The first lint of a name, about a field where one is given; None where L0 has no such."""
    return next((lint for lint in machine.lints
                 if lint.name == name and of in ("", lint.field)), None)


def entries(machine: Machine, cpu: int) -> int:
    """How often L1 has entered on a CPU."""
    counters = machine.cpu(cpu).counters()
    return counters["vmlaunch"] + counters["vmresume"]


def guest(machine: Machine, enlightened: bool = True, cpu: int = 0, code: bytes = CPUID_LOOP,
          memory: int = 2 << 20) -> tuple[Module, Vcpu]:
    """The module, and a vCPU."""
    kvm = machine.insmod(enlightened_vmcs=enlightened)
    return kvm, kvm.create_vm(code=code, memory=memory).create_vcpu(cpu=cpu)


def use_memory(machine: Machine, byte: int) -> None:
    """Leave a byte in all memory behind what the kernel holds, as whoever had it before."""
    start = (machine.allocations["pages"] + 1) * 4096
    machine.memory.write(start, bytes([byte]) * (machine.memory.size - start))


def by_lint(play: Callable[[bool], tuple[Seen, Lint | None]], given: Named) -> Found:
    """A case of two runs that differ in enlightened VMCS: play(True) is the one that fails, and
    L0's lint of it says where."""
    seen, lint = play(True)
    control, _ = play(False)
    if lint is None or lint.cpu is None:
        return Found(seen, control, "", 0, 0, 0, 0, given)
    return Found(seen, control, lint.field, lint.cpu, lint.entry, lint.found, lint.kept, given)


def holes(dice: Random) -> Found:
    """A write to a field without a slot."""
    value, first, then = dice.randrange(2, 1 << 28), dice.randint(3, 9), dice.randint(2, 9)

    def play(enlightened: bool) -> tuple[Seen, Lint | None]:
        with Machine(cpus=2, lints=True, msrs=OFFER_PERF) as machine:
            kvm, vcpu = guest(machine, enlightened)
            seen = [(f"vCPU 0 runs {first} exits on cpu 0", ran(vcpu, first))]
            with machine.cpu(0):
                kvm.port.vmcs_write64(PERF_GLOBAL_CTRL, value)
            seen.append((f"vmcs_write64({PERF_GLOBAL_CTRL:#x}, {value:#x})", "done"))
            seen.append((f"{then} exits more", ran(vcpu, then)))
            vcpu.cpu = 1
            seen.append(("on cpu 1", ran(vcpu, 1)))
            return seen, noticed(machine, "version_changed")

    return by_lint(play, {"value": value, "first": first, "then": then})


def perf_global_ctrl(dice: Random) -> Found:
    """perf counts in L1 and in guests differently."""
    host, first, then = dice.randrange(2, 256), dice.randint(3, 9), dice.randint(2, 9)
    inside = dice.choice([mask for mask in range(256) if mask != host])

    def play(enlightened: bool) -> tuple[Seen, Lint | None]:
        with Machine(cpus=2, lints=True, msrs=OFFER_PERF, cpuid=COUNTERS) as machine:
            _, vcpu = guest(machine, enlightened)
            seen = [(f"vCPU 0 runs {first} exits on cpu 0", ran(vcpu, first))]
            machine.perf_guest_events(host=host, guest=inside)
            seen.append((f"perf counts {host:#x} in L1, {inside:#x} in guests; {then} exits",
                         ran(vcpu, then)))
            vcpu.cpu = 1
            seen.append(("on cpu 1", ran(vcpu, 1)))
            return seen, noticed(machine, "version_changed")

    return by_lint(play, {"host": host, "guest": inside, "first": first, "then": then})


def host_rsp(dice: Random) -> Found:
    """The same thread enters from deeper in its stack."""
    depth, first = 64 * dice.randint(1, 64), dice.randint(3, 9)

    def play(enlightened: bool) -> tuple[Seen, Lint | None]:
        with Machine(cpus=1, lints=True) as machine:
            _, vcpu = guest(machine, enlightened)
            seen = [(f"vCPU 0 runs {first} exits", ran(vcpu, first))]
            seen.append((f"the same thread, {depth} bytes down its stack; 1 exit",
                         ran(vcpu, 1, stack_depth=depth)))
            return seen, noticed(machine, "stale_field")

    found = by_lint(play, {"depth": depth, "first": first})
    # an address of this process: only the distance is the same tomorrow
    assert found.kvm is not None and found.l0 is not None
    found.kvm, found.l0 = found.kvm - found.l0, 0
    return found


def clean_after_failure(dice: Random) -> Found:
    """An entry that fails, with an L0 that keeps nothing of it."""
    rsp, first, then = 16 * dice.randrange(0x200, 0x800), dice.randint(3, 9), dice.randint(2, 9)

    def play(enlightened: bool) -> tuple[Seen, tuple[int, int]]:
        with Machine(cpus=1, cache_policy="commit_on_success") as machine:
            _, vcpu = guest(machine, enlightened)
            seen = [(f"vCPU 0 runs {first} exits; its RSP",
                     f"{ran(vcpu, first)}, {vcpu.regs['rsp']:#x}")]
            good = vcpu.sregs
            vcpu.regs["rsp"] = rsp
            vcpu.sregs = {**good, "tr": {**good["tr"], "type": 2}}
            seen.append((f"KVM_SET_REGS: RSP {rsp:#x}; KVM_SET_SREGS: a bad TR; run", ran(vcpu, 1)))
            vcpu.sregs = good
            entry = entries(machine, 0) + 1
            seen.append((f"KVM_SET_SREGS: the good TR; {then} exits; RSP",
                         f"{ran(vcpu, then)}, {vcpu.regs['rsp']:#x}"))
            return seen, (entry, vcpu.regs["rsp"])

    seen, (entry, kept) = play(True)
    control, _ = play(False)
    return Found(seen, control, "GUEST_RSP", 0, entry, rsp, kept,
                 {"rsp": rsp, "first": first, "then": then})


def memset_size(dice: Random) -> Found:
    """A VMCS of fewer bytes than the enlightened one has."""
    size, byte = dice.randrange(512, 896, 8), dice.choice((0x5A, 0xA5, 0xAA, 0xCC))
    name = dice.choice(("GUEST_BNDCFGS", "XSS_EXIT_BITMAP"))
    row = ROWS[name]

    def play(used: bool) -> tuple[Seen, int]:
        with Machine(cpus=1, memory=SMALL, msrs={0x480: BASIC | size << 32}) as machine:
            if used:
                use_memory(machine, byte)
            kvm, vcpu = guest(machine)
            with machine.cpu(0):
                seen = [(f"a vCPU is created; vmcs_read64({int(row['encoding'], 16):#x})",
                         f"{kvm.port.vmcs_read64(int(row['encoding'], 16)):#x}")]
            seen.append(("it runs 1 exit", ran(vcpu, 1)))
            copy = machine.cpu(0).evmcs_copy
            assert copy is not None
            kept = copy[row["offset"]:row["offset"] + row["size"]]
            return seen, int.from_bytes(kept, "little")

    seen, kept = play(True)
    control, meant = play(False)
    return Found(seen, control, name, 0, 1, meant, kept, {"size": size, "byte": byte,
                                                          "encoding": int(row["encoding"], 16)})


def assist_not_zeroed(dice: Random) -> Found:
    """A CPU that comes up when the memory has been used."""
    byte, cpu = dice.randrange(1, 255), dice.randint(1, 2)

    def play(used: bool) -> tuple[Seen, int]:
        with Machine(cpus=1, possible_cpus=3, memory=SMALL) as machine:
            if used:
                use_memory(machine, byte)
            machine.online(cpu)
            _, vcpu = guest(machine, enlightened=False, cpu=cpu)
            return [(f"cpu {cpu} comes up; enlightened_vmcs=0; a vCPU there", ran(vcpu, 1))], \
                assist_page(machine, cpu)[40]

    seen, kept = play(True)
    control, meant = play(False)
    return Found(seen, control, "enlighten_vmentry", cpu, 1, meant, kept,
                 {"byte": byte, "cpu": cpu})


def encls(dice: Random) -> Found:
    """A processor with ENCLS exiting."""
    cpu, first = dice.randrange(2), dice.randint(1, 9)

    def play(enlightened: bool) -> tuple[Seen, int | None]:
        with Machine(cpus=2, msrs=OFFER_ENCLS) as machine:
            kvm, vcpu = guest(machine, enlightened, cpu)
            seen = [(f"a vCPU runs {first} exits on cpu {cpu}", ran(vcpu, first))]
            with machine.cpu(cpu):
                read = kvm.port.vmcs_read64(ENCLS_BITMAP)
                on = kvm.port.vmcs_read32(0x401E) & ENCLS_EXITING
            seen.append(("ENCLS exiting in the secondary controls", "on" if on else "off"))
            seen.append((f"vmcs_read64({ENCLS_BITMAP:#x})", f"{read:#x}"))
            warned = [line for line in machine.dmesg if line.startswith("WARNING")]
            seen.append(("the log", "a WARNING" if warned else "silent"))
            if not on:
                return seen, None       # no bitmap counts
            if enlightened:
                page = machine.memory.read(vcpu.vmcs_gpa, 1024)
                return seen, int.from_bytes(page[ENCLS_SLOT:ENCLS_SLOT + 8], "little")
            return seen, machine.cpu(cpu).vmread(ENCLS_BITMAP).value

    seen, kept = play(True)
    control, meant = play(False)
    meant = kept if kept is None else meant
    return Found(seen, control, "ENCLS_EXITING_BITMAP", cpu, 1, meant, kept,
                 {"cpu": cpu, "first": first})


def stale_assist(dice: Random) -> Found:
    """A CPU that is offline while the module goes."""
    first, cpu = dice.randint(3, 9), dice.randint(1, 2)

    def play(offline: bool) -> tuple[Seen, tuple[int, int, int]]:
        with Machine(cpus=3) as machine:
            kvm, vcpu = guest(machine, cpu=cpu)
            seen = [(f"a vCPU runs {first} exits on cpu {cpu}; it goes down; rmmod; it is up",
                     ran(vcpu, first))]
            machine.offline(cpu)
            if not offline:
                machine.online(cpu)
            kvm.rmmod()
            if offline:
                machine.online(cpu)
            _, vcpu = guest(machine, False, cpu, HALT, SMALLEST_GUEST)
            own = vcpu.vmcs_gpa
            machine.start_trace(TRACED)
            seen.append((f"enlightened_vmcs=0: a guest that halts, on cpu {cpu}", ran(vcpu, 1)))
            entered = next(record for record in machine.trace
                           if record.instruction == "vmlaunch").operands[0]
            return seen, (entries(machine, cpu), own, entered)

    seen, (entry, own, entered) = play(True)
    control, _ = play(False)
    return Found(seen, control, "current_nested_vmcs", cpu, entry, own, entered,
                 {"first": first, "cpu": cpu})
