# SPDX-License-Identifier: GPL-2.0-only
"""Load kvm-intel, run a guest under VMCS and under eVMCS, unload; compare the two.

Prints the kernel log, then what each mode cost: VMX instructions that L1 executed, in all and
over one exit of the steady state, clean-field groups and bytes that L0 read again at each
entry, and nanoseconds an exit, measured here and now. With --insn trap L1 executes the opcodes
themselves, each of which traps to L0 by a signal, as it would by a VM exit; the traps of an
exit are the difference that eVMCS was made for. The guest starts at 0x1000 of its
memory in 64-bit long mode. A guest that ends early (HLT, SHUTDOWN) reports fewer exits.
--trace runs each mode once more, for at most 1,000 exits, and writes what L1, L0 and L2 did as
a Chrome trace, which ui.perfetto.dev and chrome://tracing open; its time counts instructions.
With --json: {"schema": "kvm_vmx.run/1", "modes": {"vmcs": ..., "evmcs": ...}, "log": [...]}.
Exit status 1: the guest saw a difference between the modes, or eVMCS was not used.
"""

import argparse
import contextlib
import os
import stat
import sys

from kvm_vmx.commands import (
    DIFFERS, HOLDS, Trouble, add_command, booted, check_writable, print_columns, print_json,
    write_text)
from kvm_vmx.commands.steady import MODES, measure
from kvm_vmx.machine import long_mode
from kvm_vmx.machine.lints import ConformanceError

EXAMPLE = """\
examples:
  kvm-vmx run                                      the built-in CPUID loop
  kvm-vmx run --guest loop.bin --exits 5000        a flat binary of one's own
  kvm-vmx run --insn trap                          real opcodes: each one traps
  kvm-vmx run --cache-policy never --json          for a program
  kvm-vmx run --profile mine.toml --strict         a Hyper-V of one's own, and no mercy
  kvm-vmx run --exits 100 --trace run.json         every instruction, for Perfetto
"""

# again: mov $0, %eax; cpuid; jmp again
CPUID_LOOP = bytes.fromhex("b800000000" "0fa2" "ebf7")
GUEST_MEMORY = 2 << 20
ROOM = long_mode.room(GUEST_MEMORY)
LONG_RUN = 2_000_000

# What L0 counts besides the instructions that L1 executes.
NOT_INSTRUCTIONS = {
    "exits", "failed_entries", "l2_instructions", "groups_reread", "bytes_reread",
    "bytes_ungrouped", "bytes_written_back", "tlb_flushes", "lints",
}


def configure(commands) -> None:
    """Add `run` to the command line."""
    command = add_command(commands, sys.modules[__name__], "run", EXAMPLE)
    add = command.add_argument
    add("--guest", metavar="FILE", help="a flat binary to run (default: a loop of CPUID)")
    add("--exits", type=whole(1, 10**15), default=100_000, metavar="N",
        help="VM exits to run in each mode (default: 100000)")
    add("--cpus", type=whole(1, 4096), default=2, metavar="N",
        help="CPUs of the L1 machine, 1 to 4096 (default: 2)")
    add("--profile", default="kvm-6.12", metavar="NAME|FILE",
        help="which Hyper-V to emulate: kvm-6.12 (default), tlfs-strict, ice-lake, a file in "
             "TOML, or a host's `cpuid -r` in a .txt")
    add("--insn", choices=("call", "trap"),
        help="instructions by call, or as opcodes that trap (default: call)")
    add("--cache-policy", default="always", metavar="POLICY",
        help="when L0 reads clean groups again (default: always)")
    add("--lints", action="store_true",
        help="report what L1 does that Hyper-V forbids or leaves undefined")
    add("--strict", action="store_true", help="likewise, and stop at the first")
    add("--config", choices=("hyperv", "no-jump-label"), default="hyperv",
        help="the build of kvm-intel: no-jump-label is for systems where text cannot be written")
    add("--trace", metavar="FILE", help="also write the first exits as a Chrome trace")


def whole(low, high):
    """An argument type: a whole number from low to high."""
    def parse(text):
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {low} to {high}")
        return number
    return parse


def execute(args) -> int:
    """Run the guest in both modes and print what it cost."""
    check_writable(args.trace)
    code = CPUID_LOOP if args.guest is None else read_guest(args.guest)
    out = sys.stderr if args.json else sys.stdout
    status = compare_modes(args, code, out)
    if args.trace is not None:
        write_trace(args, code, out)
    return status


def machine_of(args):
    """The machine that the options describe, booted."""
    return booted(cpus=args.cpus, profile=args.profile, cache_policy=args.cache_policy,
                  lints=args.lints, strict=args.strict, insn=args.insn)


def compare_modes(args, code, out) -> int:
    """Run the guest in both modes, print what it cost, and judge."""
    with machine_of(args) as machine:
        modes, results = {}, {}
        try:
            with progress(args.exits) as report:
                for mode in MODES:
                    modes[mode], results[mode] = measure(
                        machine, mode, code, GUEST_MEMORY, args.exits, report, args.config)
        except ConformanceError as error:
            print(f"Falls short: {error}.", file=out)
            return DIFFERS
        log, lints = list(machine.dmesg), machine.lints
    if args.json:
        print("\n".join(log), file=sys.stderr)
        print_json({"schema": "kvm_vmx.run/1", "modes": modes, "log": log,
                    **({"lints": [lint.explain() for lint in lints]} if args.lints else {})})
    else:
        print("\n".join(log), end="\n\n")
        print_modes(modes)
        print_gap(modes)
    if args.lints:
        print("", *[lint.explain() for lint in lints] or ["L1 broke no rule that L0 can see."],
              sep="\n", file=out)
    return verdict(modes, results, out)


def write_trace(args, code, out) -> None:
    """Both modes once more, a short while, with every instruction written down."""
    from kvm_vmx.commands import tracing

    exits = min(args.exits, tracing.MOST)
    with machine_of(args) as machine:
        runs = {mode: tracing.recorded(machine, mode, code, GUEST_MEMORY, exits, args.config)
                for mode in MODES}
    write_text(args.trace, tracing.as_text(tracing.write_up(runs, args.cpus, args.exits)))
    print(f"\n{args.trace}: loading, the first {tracing.traced_exits(runs):,} exits and unloading "
          "in each mode; open it with ui.perfetto.dev.", file=out)


def read_guest(path) -> bytes:
    """The flat binary at `path`; nothing that could block or never end is read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Trouble(f"{path}: not a regular file: give a flat binary")
            code = file.read(ROOM + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Trouble(f"{path}: {reason}: give a flat binary that can be read") from error
    if not code:
        raise Trouble(f"{path}: the guest is empty: give a flat binary with code in it")
    if len(code) > ROOM:
        raise Trouble(
            f"{path}: the guest is larger than the {ROOM:,} bytes that its memory has for code: "
            "give a smaller flat binary")
    return code


@contextlib.contextmanager
def progress(exits):
    """report(mode, exits done): a bar on standard error, if it is a terminal and the run long."""
    if exits < LONG_RUN or not sys.stderr.isatty():
        yield lambda mode, done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks = {mode: bars.add_task(MODES[mode], total=exits) for mode in MODES}
        yield lambda mode, done: bars.update(tasks[mode], completed=done)


def print_modes(modes) -> None:
    """The table: VMCS against eVMCS."""
    rows = [("", "VMCS", "an exit", "eVMCS", "an exit")]

    def row(title, total, per_exit):
        rows.append((title, *(text(value(mode)) for mode in modes.values()
                              for value in (total, per_exit))))

    def blank(mode):
        return ""

    row("exits", lambda mode: mode["exits"], blank)
    for name in instructions(modes):
        row(name, lambda mode: mode["instructions"][name], lambda mode: mode["per_exit"][name])
    row("groups re-read an entry", blank, lambda mode: mode["groups_reread_per_entry"])
    row("bytes re-read an entry", blank, lambda mode: mode["bytes_reread_per_entry"])
    row("bytes without a group", blank, lambda mode: mode["per_exit"]["bytes_ungrouped"])
    if any(any(mode["traps"].values()) for mode in modes.values()):
        row("traps", lambda mode: sum(mode["traps"].values()),
            lambda mode: sum(mode["traps_per_exit"].values()))
    row("ns, measured here", blank, lambda mode: mode["ns_per_exit"])
    row("enable_evmcs", lambda mode: "on" if mode["enable_evmcs"] else "off", blank)
    print_columns(rows, right=(1, 2, 3, 4))


def print_gap(modes) -> None:
    """By trap: what lies between the modes, in traps and in time."""
    vmcs, evmcs = modes["vmcs"], modes["evmcs"]
    gap = {name: count - evmcs["traps_per_exit"][name]
           for name, count in vmcs["traps_per_exit"].items()
           if count != evmcs["traps_per_exit"][name]}
    traps, ns = sum(gap.values()), vmcs["ns_per_exit"] - evmcs["ns_per_exit"]
    if not traps or not evmcs["ns_per_exit"]:
        return
    parts = " and ".join(f"{text(count)} {name.upper()}" for name, count in gap.items())
    print(f"\nThe gap is {text(traps)} traps an exit: {parts}, {text(ns / traps)} ns each; "
          f"eVMCS is {vmcs['ns_per_exit'] / evmcs['ns_per_exit']:.2f} times as fast.")


def instructions(modes) -> list[str]:
    """The instructions that either mode executed, in L0's order."""
    return [
        name for name in modes["vmcs"]["instructions"]
        if name not in NOT_INSTRUCTIONS
        and any(mode["instructions"][name] for mode in modes.values())
    ]


def text(value) -> str:
    """A number as a reader wants it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 1000:
        return f"{round(value):,}"
    return f"{value:,.3g}"


def verdict(modes, results, out) -> int:
    """Say what the guest saw and return the exit status."""
    vmcs, evmcs = results["vmcs"], results["evmcs"]
    if vmcs.ended:
        print(f"\nThe guest ended early: {vmcs.ended}.", file=out)
    if not modes["evmcs"]["enable_evmcs"]:
        print("\nFalls short: enable_evmcs stayed off, so both runs used the VMCS.", file=out)
        return DIFFERS
    different = [name for name, a, b in zip(vmcs._fields, vmcs, evmcs) if a != b]
    if different:
        print(f"\nThe guest's result differs: {', '.join(different)}.", file=out)
        return DIFFERS
    print("\nThe guest saw no difference: registers, memory and exit reasons are equal.", file=out)
    return HOLDS
