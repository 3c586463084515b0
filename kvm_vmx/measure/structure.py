# SPDX-License-Identifier: GPL-2.0-only
"""Tier 0: what the text of the builds says, without a clock; and what L0 counts of an entry."""

import collections
import re
from collections.abc import Sequence

from kvm_vmx import Machine
from kvm_vmx.machine.fields import CLEAN_FIELDS
from kvm_vmx.machine.sites import Site
from kvm_vmx.measure import host_rsp, machine_code, scaling
from kvm_vmx.measure.loops import (
    ACCESSORS, ENCODING, FIELDS, GROUPS, STORES, Accessor, World, file_of, loaded)
from kvm_vmx.measure.report import COUNTED, Report, Say
from kvm_vmx.measure.rounds import Loops

NOP = bytes.fromhex("0f1f440000")
JMP = 0xE9

# Each part of a register that survives calls: the register, and how wide the part is.
SAVED = {
    part: (parts[0], bits)
    for parts in (("rbx", "ebx", "bx", "bl"), ("rbp", "ebp", "bp", "bpl"),
                  *((f"r{n}", f"r{n}d", f"r{n}w", f"r{n}b") for n in range(12, 16)))
    for part, bits in zip(parts, ("", ".32", ".16", ".8"))
}

# Offsets in struct virt_cpu_ops: what a VMREAD or VMWRITE by call calls.
OPS_VMREAD, OPS_VMWRITE = 0x48, 0x50


def sites(machine: Machine) -> list[Site]:
    """The sites of enable_evmcs in the module that is loaded."""
    return [site for site in machine.keys() if site["key"] == "enable_evmcs"]


def bad_sites(found: list[Site], on: bool) -> list[str]:
    """The sites whose bytes are not those of the state."""
    bad = []
    for site in found:
        jump = bytes([JMP]) + (site["target"] - site["address"] - 5).to_bytes(4, "little",
                                                                              signed=True)
        if site["bytes"] != (jump if on else NOP):
            bad.append(f"{site['function']} {site['bytes'].hex(' ')}")
    return bad


def renamed(lines: list[str]) -> list[str]:
    """The registers that survive calls under names in the order of their use: which of them holds
    a loop's counter is the compiler's whim, and no instruction more or less."""
    names: dict[str, str] = {}

    def saved(match: re.Match[str]) -> str:
        whole, bits = SAVED[match[0]]
        return names.setdefault(whole, f"saved{len(names)}") + bits

    return [re.sub(rf"\b(?:{'|'.join(SAVED)})\b", saved, line) for line in lines]


def loop_text(config: str, name: str) -> tuple[list[str], int]:
    """The turn of a loop without its NOPs, as text, and how many NOPs there are."""
    file = file_of(config)
    turn = machine_code.loop(file, f"bench_{name}")
    return renamed(machine_code.plain(file, turn)), sum(one.is_nop for one in turn)


def way_text(config: str, name: str) -> tuple[list[str], int]:
    """The expected way through a function, likewise."""
    file = file_of(config)
    way = machine_code.expected(file, name)
    return machine_code.plain(file, way), sum(one.is_nop for one in way)


def wrong_operations(accessor: Accessor, on: bool, prefix: str = "") -> list[str]:
    """What a timed accessor loop should execute and does not."""
    turn = machine_code.loop(file_of("hyperv"), f"bench_{prefix}{accessor.name}")
    memory = [one.memory for one in turn if one.memory]
    field = FIELDS[accessor.field]
    wrong = []

    def need(condition: bool, what: str) -> None:
        if not condition:
            wrong.append(f"bench_{prefix}{accessor.name}: no {what}")

    if on:
        place = field["offset"], field["size"]
        if accessor.reads:
            need((*place, False) in memory, f"load of {accessor.field}")
        if accessor.writes:
            need((*place, True) in memory, f"store to {accessor.field}")
            cleared = ~int(field["clean_mask"], 16) & 0xFFFFFFFF
            clears = any(one.mnemonic == "and" and one.memory[:1] == (CLEAN_FIELDS,)
                         and int(one.operands.rpartition(",")[2], 0) & 0xFFFFFFFF == cleared
                         for one in turn)
            need(clears or cleared == 0xFFFFFFFF, "AND that clears the clean bit")
    else:
        words = [f"{one.mnemonic} {one.operands}" for one in turn]
        need(any(line.endswith(f", {ENCODING[accessor.field]:#x}") for line in words), "encoding")
        for used, ops, what in ((accessor.reads, OPS_VMREAD, "VMREAD"),
                                (accessor.writes, OPS_VMWRITE, "VMWRITE")):
            if used:
                need(any(one.mnemonic == "call" and one.memory[:1] == (ops,) for one in turn), what)
    return wrong


def wrong_stores(on: bool) -> list[str]:
    """What a timed store loop should execute and does not."""
    wrong = []
    file = file_of("hyperv")
    place = FIELDS["GUEST_RSP"]["offset"], FIELDS["GUEST_RSP"]["size"], True
    for name in STORES:
        turn = machine_code.loop(file, f"bench_{name}")
        if [one.memory for one in turn].count(place) != 1:
            wrong.append(f"bench_{name}: not one store a turn")
    turn = machine_code.loop(file, "bench_store_key")
    if turn[0].mnemonic != ("jmp" if on else "nop"):
        wrong.append("bench_store_key: no jump label")
    flag = machine_code.plain(file, machine_code.loop(file, "bench_store_flag"))
    if not any(line.startswith(("test ", "cmp ")) for line in flag):
        wrong.append("bench_store_flag: no test of the flag")
    chain = [one.operands for one in machine_code.loop(file, "bench_chain")
             if one.mnemonic == "add"]
    if len(chain) != 16 or len(set(chain)) != 1 or len(set(chain[0].split(", "))) != 1:
        wrong.append("bench_chain: not sixteen additions of one register to itself")
    return wrong


def extra_instructions(name: str, new: str = "hyperv", old: str = "before") -> dict[str, int]:
    """How many instructions of each mnemonic a function has more (or fewer) of in one build
    than in another, of those that can be reached with the key off."""
    def counts(config: str) -> collections.Counter[str]:
        return collections.Counter(
            one.mnemonic for one in machine_code.function(file_of(config), name))

    added = counts(new)
    added.subtract(counts(old))
    return {mnemonic: count for mnemonic, count in sorted(added.items()) if count}


def key(report: Report, machine: Machine) -> None:
    """The jump table in both states; with the key off, the accessors against other builds."""
    for on in (False, True):
        with loaded(machine, "hyperv", on) as world:
            found = sites(machine)
            bad = bad_sites(found, on)
            report.claim(f"every site of enable_evmcs is {'a JMP' if on else 'a 5-byte NOP'} "
                         f"with the key {'on' if on else 'off'}", not bad,
                         f"{len(found) - len(bad)} of {len(found)}", sample=len(found))
            host_rsp.structure(report, machine, on)
            if on:
                per_function = collections.Counter(site["function"] for site in found)
                for name, count in per_function.most_common():
                    if not name.startswith(("bench_", "call_", "probe_")):
                        report.add("sites", name, count, "sites", COUNTED)
            assert world.kvm.enable_evmcs == on
    differ, nops = [], []
    for accessor in ACCESSORS:
        new, more = loop_text("hyperv", accessor.name)
        old, fewer = loop_text("before", accessor.name)
        nops.append(more - fewer)
        if new != old or not new:
            differ.append(accessor.name)
    # a function, not a loop: the compiler orders its prologue as it likes
    new, more = way_text("hyperv", "probe_vmcs_load")
    old, fewer = way_text("before", "probe_vmcs_load")
    nops.append(more - fewer)
    if sorted(new) != sorted(old):
        differ.append("vmcs_load")
    report.claim("key off: accessors and vmcs_load differ from the tree before by NOPs only",
                 not differ, ", ".join(differ) or f"{len(ACCESSORS)} accessors, vmcs_load")
    report.claim("key off: exactly one NOP an access", set(nops) == {1},
                 f"{min(nops)} to {max(nops)}")
    for name, change in extra_instructions("vmx_vcpu_run").items():
        report.add("vmx_vcpu_run, key off, against the tree before", name, change,
                   "instructions", COUNTED)


def accessors(report: Report, machine: Machine) -> None:
    """Port against C, line by line; every loop executes what it claims."""
    for on in (False, True):
        state = "on" if on else "off"
        with loaded(machine, "hyperv", on):
            differ, wrong = [], wrong_stores(on)
            for accessor in ACCESSORS:
                ours = loop_text("hyperv", accessor.name)
                control, copy = (loop_text("hyperv", f"{place}_{accessor.name}")
                                 for place in ("c", "again"))
                if not ours == control == copy or not ours[0]:
                    differ.append(accessor.name)
                for place in ("", "c_", "again_"):
                    wrong += wrong_operations(accessor, on, place)
                report.add(f"instructions a turn, key {state}", accessor.name,
                           sum(ours[1:], len(ours[0])), "instructions", COUNTED,
                           note=f"{control[1] + len(control[0])} in C")
        report.claim(
            f"key {state}: each accessor is, instruction for instruction, what C compiles to",
            not differ, ", ".join(differ) or f"{len(ACCESSORS)} accessors")
        report.claim(f"key {state}: every timed loop executes what it claims to time", not wrong,
                     "; ".join(wrong) or f"{3 * len(ACCESSORS) + len(STORES) + 1} loops")


def entry(report: Report, machine: Machine) -> None:
    """Bytes that L0 reads again at an entry, clean group by clean group."""
    with loaded(machine, "hyperv", True) as world:
        always = reread(machine, world, 0)
        report.add("bytes re-read by clean group", "always", sum(always), "bytes", COUNTED,
                   note="guest_rip, tpr_threshold and the fields without a group")
        for mask, name in GROUPS.items():
            report.add("bytes re-read by clean group", name,
                       reread(machine, world, mask)[0] - always[0], "bytes", COUNTED)
        every = reread(machine, world, 0xFFFF)[0] - always[0]
        parts = sum(row.value for row in report.in_table("bytes re-read by clean group")[1:])
    report.claim("each byte belongs to one clean group", every == parts,
                 f"{every} bytes with all groups dirty, {parts} in the {len(GROUPS)} groups",
                 sample=every)


def reread(machine: Machine, world: World, dirty: int) -> tuple[int, int]:
    """(bytes by group, bytes without a group) that one entry reads."""
    before = dict(machine.counters)
    Loops(machine._kernel, 0, [world.entries(dirty)]).timed(1, 1)
    after = machine.counters
    by_group, ungrouped = (after[name] - before[name]
                           for name in ("bytes_reread", "bytes_ungrouped"))
    return by_group, ungrouped


def loop(report: Report, machine: Machine) -> None:
    """What L1 executes at one exit in either mode, and what it allocates: nothing."""
    for on in (False, True):
        mode = "eVMCS" if on else "VMCS"
        with loaded(machine, "hyperv", on) as world:
            held, counts = machine.allocations, []
            for exits in (1_000, 2_000):
                before = dict(machine.counters)
                world.vcpu.run(exits=exits)
                counts.append({name: value - before[name]
                               for name, value in machine.counters.items()})
            for name in ("vmread", "vmwrite", "vmptrld", "vmresume", "bytes_written_back"):
                value = (counts[1][name] - counts[0][name]) / 1_000
                report.add(f"one exit, {mode}", name, round(value), "bytes" if "bytes" in name
                           else "instructions of L1", COUNTED)
            report.claim(f"{mode}: nothing is allocated after creation",
                         machine.allocations == held, f"{held['pages']} pages before and after")


PARTS = {"key": key, "accessors": accessors, "loop": loop, "entry": entry}


def run(report: Report, parts: Sequence[str], progress: Say = lambda text: None) -> None:
    """Tier 0 of these parts."""
    with Machine(cpus=1, insn="call") as machine:
        for part in (part for part in parts if part in PARTS):
            progress(f"tier 0: {part}")
            PARTS[part](report, machine)
    if "scale" in parts:
        scaling.run(report, progress)
