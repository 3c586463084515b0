# SPDX-License-Identifier: GPL-2.0-only
"""Tier 1: instructions by callgrind, as the slope between n and 2n turns of a loop."""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from kvm_vmx.console import Trouble
from kvm_vmx import building, host
from kvm_vmx.machine.sites import demangle
from kvm_vmx.measure import host_rsp
from kvm_vmx.measure.child import entry_masks
from kvm_vmx.measure.loops import ACCESSORS, GROUPS, STORES
from kvm_vmx.measure.report import COUNTED, Report, Say
from kvm_vmx.measure.machine_code import LONGEST_INSTRUCTION, decoder

# Without --smc-check=all a patched static key still executes as it was translated first. Counting
# begins with the first loop: what Python does before it takes twice as long when it is counted.
VALGRIND = ("valgrind", "--tool=callgrind", "--smc-check=all", "--instr-atstart=no",
            "--dump-before=measure_mark", "--dump-instr=yes", "--compress-strings=no",
            "--compress-pos=no")
DUMPS_A_LOOP = 3


class InstructionProfile(dict[tuple[str, str, int], int]):
    """Instructions executed by (object, function, address in the object), in so many turns."""

    turns = 1

    def __missing__(self, place: tuple[str, str, int]) -> int:
        return 0

    @classmethod
    def read(cls, path: pathlib.Path) -> "InstructionProfile":
        """One dump of callgrind, calls left out: what each function executed itself."""
        profile, inclusive, obj, function = cls(), False, "", ""
        with path.open() as lines:
            for line in lines:
                if line.startswith("0x"):
                    if not inclusive:
                        address, _, count = line.split()
                        profile[obj, function, int(address, 16)] += int(count)
                    inclusive = False
                elif line.startswith("calls="):
                    inclusive = True
                elif line.startswith("ob="):
                    obj = line[3:].rstrip()
                elif line.startswith("fn="):
                    function = line[3:].rstrip()
        return profile

    def less(self, shorter: "InstructionProfile", turns: int) -> "InstructionProfile":
        """What the longer run executes more; what holds the loops together is left out."""
        found = InstructionProfile()
        found.turns = turns
        for key, count in self.items():
            if count != shorter[key] and "run_marked" not in key[1]:
                found[key] = count - shorter[key]
        return found

    def by_object(self) -> dict[str, float]:
        """Instructions a turn of each extension module, by its place in the package."""
        return self._summed(lambda obj, _: "/".join(pathlib.Path(obj).parts[-2:]).split(".")[0])

    def by_function(self) -> dict[str, float]:
        """Instructions a turn of each function, the most first."""
        return self._summed(lambda _, function: demangle(function.split("'")[0]))

    def _summed(self, name: Callable[[str, str], str]) -> dict[str, float]:
        found: collections.Counter[str] = collections.Counter()
        for (obj, function, _), count in self.items():
            found[name(obj, function)] += count
        return {key: self.a_turn(count) for key, count in found.most_common()}

    @property
    def total(self) -> float:
        """Instructions a turn."""
        return self.a_turn(sum(self.values()))

    def calls(self, name: str) -> float:
        """How often a turn enters a function: as often as its most executed instruction."""
        return self.a_turn(max(
            (count for (_, function, _), count in self.items() if function == name), default=0))

    def a_turn(self, count: int) -> float:
        """A count of all turns as one of a turn; an int where it is whole."""
        return count // self.turns if count % self.turns == 0 else count / self.turns


# by the loop's name
Profiles: TypeAlias = Mapping[str, InstructionProfile]


def require_valgrind() -> None:
    """Trouble where there is none, or OSError where it finds no map of its process."""
    if not host.has("valgrind"):
        raise Trouble("instructions cannot be counted without valgrind: apt install valgrind, "
                      "or --tier 0")
    # it ends with a word about its own parts, where this cannot be read
    with open("/proc/self/maps"):
        pass


def profiles() -> Profiles:
    """What one turn of each counted loop executes, by the loop's name."""
    require_valgrind()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "profile")
        done = subprocess.run(
            [*VALGRIND, f"--callgrind-out-file={out}",
             sys.executable, "-m", "kvm_vmx.measure.child", "counted"],
            capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Trouble(f"valgrind could not run the loops: {last}")
        order = json.loads(done.stdout)
        return {name: loop_profile(out, i, turns) for i, (name, turns) in enumerate(order)}


def loop_profile(out: pathlib.Path, index: int, turns: int) -> InstructionProfile:
    """One turn of the loop with this place in the order: its third dump less its second."""
    second, third = (
        InstructionProfile.read(out.with_name(f"{out.name}.{index * DUMPS_A_LOOP + dump}"))
        for dump in (2, 3))
    return third.less(second, turns)


def key(report: Report, found: Profiles) -> None:
    """What the key adds to an access and to an exit, off."""
    table = "instructions an access, key off"
    added = set()
    for accessor in ACCESSORS:
        old, new = (found[f"{config} off: {accessor.name}"].total
                    for config in ("before", "hyperv"))
        added.add(new - old)
        report.add(table, accessor.name, new, "instructions", COUNTED,
                   note=f"{new - old:+} over the tree before")
    for name in ("store", "store_key", "store_flag"):
        report.add(table, name, found[f"hyperv off: {name}"].total, "instructions", COUNTED)
    report.claim("key off: an accessor executes exactly 1 instruction more than before the patch",
                 added == {1}, f"{min(added):+} to {max(added):+}", sample=new)
    before, now = (found[f"{config} off: exit"] for config in ("before", "hyperv"))
    change = now.total - before.total
    report.add("instructions an exit, VMCS", "the tree before", before.total, "instructions",
               COUNTED)
    report.add("instructions an exit, VMCS", "key off", now.total, "instructions", COUNTED)
    for config in ("no-hyperv", "no-jump-label"):
        report.add("instructions an exit, VMCS", config, found[f"{config} off: exit"].total,
                   "instructions", COUNTED)
    more = mnemonics(now)
    more.subtract(mnemonics(before))
    for mnemonic, count in sorted(more.items()):
        if count:
            report.add("one exit, key off, against the tree before", mnemonic, now.a_turn(count),
                       "instructions", COUNTED)
    report.claim("key off: a whole CPUID exit executes at most 16 instructions more than before",
                 change <= 16, f"{change:+}", sample=now.total)

    form(report, found)
    host_rsp.counts(report, found)
    flips = found["hyperv off: flip_key"]
    changes = flips.calls("mprotect") / 2
    report.add("one flip of the key", "protection changes", changes, "calls", COUNTED)
    report.claim("a flip changes the protection of the text at once, not site by site",
                 changes == 2, f"{changes:g} calls of mprotect(): writable, executable",
                 sample=flips.total)


def added_by_form(found: Profiles, loop: str) -> dict[str, float]:
    """What a loop executes more for the opcodes that stand beside its calls, by mnemonic."""
    now, alone = (found[loop.replace("hyperv", config)] for config in ("hyperv", "by-call"))
    more = mnemonics(now)
    more.subtract(mnemonics(alone))
    return {mnemonic: now.a_turn(count) for mnemonic, count in sorted(more.items()) if count}


def form(report: Report, found: Profiles) -> None:
    """By call, what it costs that the instructions could trap: the NOPs of one key."""
    added = {loop: added_by_form(found, loop) for state in ("off", "on")
             for loop in (f"hyperv {state}: {name}"
                          for name in ("exit", *(accessor.name for accessor in ACCESSORS)))}
    for state in ("off", "on"):
        report.add("what the opcodes add by call", f"an exit, key {state}",
                   sum(added[f"hyperv {state}: exit"].values()), "instructions", COUNTED)
    beyond = {loop: sum(more.values()) - more.get("nop", 0) for loop, more in added.items()}
    report.claim("by call, the opcodes add nothing but their key's NOPs to an exit or an access",
                 max(beyond.values()) <= 0,
                 f"beyond NOPs {min(beyond.values()):+} to {max(beyond.values()):+} instructions "
                 f"in {len(added)} loops", sample=sum(found[loop].total for loop in added))


def accessors(report: Report, found: Profiles) -> None:
    """Port against C, in counts."""
    for state in ("off", "on"):
        ratios = set()
        for accessor in ACCESSORS:
            ours, control = (found[f"hyperv {state}: {prefix}{accessor.name}"].total
                             for prefix in ("", "c_"))
            ratios.add(ours / control if control else 0)
            if state == "on":
                report.add("instructions an access, key on", accessor.name, ours, "instructions",
                           COUNTED, note=f"{control} in C")
        report.claim(f"key {state}: an accessor executes as many instructions as in C",
                     ratios == {1.0}, f"ratio {min(ratios):.2f} to {max(ratios):.2f}",
                     sample=ours)
    for name in STORES[:1]:
        report.add("instructions an access, key on", name, found[f"hyperv on: {name}"].total,
                   "instructions", COUNTED, note="the loop and one MOV")


def executed(profile: InstructionProfile) -> Iterator[tuple[str, str, str, int]]:
    """(function, mnemonic, operands, count) of each instruction of the package's modules."""
    images: dict[str, bytes] = {}
    for (obj, function, address), count in profile.items():
        if "/kvm_vmx/" in obj or obj.startswith(f"{building.kept()}/"):
            image = images.setdefault(obj, pathlib.Path(obj).read_bytes())
            for one in decoder().disasm(image[address:address + LONGEST_INSTRUCTION], address, 1):
                yield demangle(function), one.mnemonic, one.op_str, count


def mnemonics(profile: InstructionProfile) -> collections.Counter[str]:
    """How many instructions of each kind a turn executes."""
    found: collections.Counter[str] = collections.Counter()
    for _, mnemonic, _, count in executed(profile):
        found[mnemonic] += count
    return found


def locked(profile: InstructionProfile) -> list[str]:
    """The atomic operations of a turn but the barriers, which change nothing."""
    return sorted({
        f"{function}: {mnemonic} {operands}"
        for function, mnemonic, operands, _ in executed(profile)
        if (mnemonic.startswith("lock ") or mnemonic == "xchg" and "[" in operands)
        and not (mnemonic in ("lock or", "lock add") and operands.endswith(", 0"))})


def loop(report: Report, found: Profiles) -> None:
    """Instructions of one exit, by side and by function; no lock among them."""
    for state, mode in (("off", "VMCS"), ("on", "eVMCS")):
        profile = found[f"hyperv {state}: exit"]
        sides: dict[str, float] = collections.defaultdict(float)
        for module, count in profile.by_object().items():
            side = {"l0": "L0", "l1": "L1", "linux": "L1"}.get(module.split("/")[0], "rest")
            sides[side] += count
        table = f"instructions an exit, {mode}, by side"
        for side in ("L1", "L0", "rest"):
            if sides[side]:
                report.add(table, side, sides[side], "instructions", COUNTED)
        report.add(table, "all", profile.total, "instructions", COUNTED)
        for name, count in list(profile.by_function().items())[:8]:
            report.add(f"instructions an exit, {mode}, by function", name, count, "instructions",
                       COUNTED)
        atomic = locked(profile)
        report.claim(f"{mode}: no lock is taken on the way of an exit", not atomic,
                     "; ".join(atomic) or "no atomic operation but barriers", sample=profile.total)
        heap = {"malloc", "free", "calloc", "realloc"} & set(profile.by_function())
        report.claim(f"{mode}: an exit calls no allocator", not heap,
                     ", ".join(heap) or "none called", sample=profile.total)
    total = found["hyperv on: exit"].total
    report.claim("eVMCS: one exit executes at most 350 instructions", total <= 350, f"{total}",
                 "" if sides["L1"] <= 350
                 else f"L1 alone has {sides['L1']:,.0f}, and they are v4.19's own statements",
                 sample=total)


def entry(report: Report, found: Profiles) -> None:
    """Instructions of one VM entry and exit in L0, by dirty groups."""
    base = found["hyperv on: entry none"].total
    report.add("instructions an entry by dirty group", "none", base, "instructions", COUNTED)
    points = []
    for name in entry_masks():
        count = found[f"hyperv on: entry {name}"].total
        if name in GROUPS.values():
            report.add("instructions an entry by dirty group", name, count - base, "instructions",
                       COUNTED)
        elif name.startswith("first"):
            report.add("instructions an entry by number of dirty groups", name, count,
                       "instructions", COUNTED)
            points.append(count)


PARTS = {"key": key, "accessors": accessors, "loop": loop, "entry": entry}


def run(report: Report, parts: Sequence[str], progress: Say = lambda text: None) -> None:
    """Tier 1 of these parts: one process under valgrind counts every loop."""
    if not set(parts) & set(PARTS):
        return
    progress("tier 1: every loop under valgrind")
    found = profiles()
    for part in parts:
        if part in PARTS:
            PARTS[part](report, found)
