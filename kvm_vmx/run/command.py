# SPDX-License-Identifier: GPL-2.0-only
"""Load kvm-intel, run a guest under VMCS and under eVMCS, unload; compare the two.

Prints the kernel log, then what each mode cost: VMX instructions that L1 executed, in all and
over one exit of the steady state, clean-field groups and bytes that L0 read again at each
entry, and nanoseconds an exit, measured here and now. With --insn trap L1 executes the opcodes
themselves, each of which traps to L0 by a signal, as it would by a VM exit; the traps of an
exit are the difference that eVMCS was made for. Instructions that stay calls (MOV to CR, and
CPUID where the host lets none fault) are marked so in the table and named in the log.
The guest starts at 0x1000 of its memory in 64-bit long mode. A guest that ends early (HLT,
SHUTDOWN) reports fewer exits.
--trace runs each mode once more, for at most 1,000 exits, and writes what L1, L0 and L2 did as
a Chrome trace, which ui.perfetto.dev and chrome://tracing open; its time counts instructions.
Beside them some exits are followed step by step: KVM's functions, an arrow from each access of L1
to L0's work for it, and the loads and stores of the eVMCS, which cause none.
The times come from rounds in which the modes take turns, each with the interval that holds the
true median in 95 of 100 cases; they are withheld where two turns of one mode differ.
--serial gives the guest a serial port at 0x3f8, whose output is printed; other port I/O, MOV
outside the memory, a fault without a handler, HLT and the like end the run, and are told.
--kernel counts an exit of a tree's own KVM, too, which is built first (kvm-vmx kernel --help).
With --json: {"schema": "kvm_vmx.run/2", "modes": {"vmcs": ..., "evmcs": ...}, "timing": {...},
"verdict": {"holds": ..., "differs": [...], "why": ...}, "log": [...]}, and "by_call": the
instructions that stay calls where the others trap.
Exit status 1: the guest saw a difference between the modes, or eVMCS was not used.
"""

import argparse
import contextlib
import os
import stat
import sys
from typing import TextIO

from kvm_vmx import host
from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, check_writable, offer, print_json, whole,
    write_text)
from kvm_vmx.l0.profile import PROFILES
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.run import pairs
from kvm_vmx.run.beside import of_kernel, print_beside
from kvm_vmx.run.report import (
    SCHEMA, GuestVerdict, judged, modes_of, print_end, print_modes, timing_of)
from kvm_vmx.progress import progress, working
from kvm_vmx.run.serial import Serial
from kvm_vmx.run.steady_state import MODES, Counted, measure
from kvm_vmx.machine import long_mode
from kvm_vmx.machine.booted import booted
from kvm_vmx.machine.lints import ConformanceError
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.partition import CACHE_POLICIES

EXAMPLE = """\
examples:
  kvm-vmx run                                      the built-in CPUID loop
  kvm-vmx run --guest loop.bin --exits 5000        a flat binary of one's own
  kvm-vmx run --guest hello.bin --serial           what it prints on its serial port
  kvm-vmx run --insn trap                          real opcodes: each one traps
  kvm-vmx run --cache-policy never --json          for a program
  kvm-vmx run --profile mine.toml --strict         a Hyper-V of one's own, and no mercy
  kvm-vmx run --exits 100 --trace run.json         every instruction, for Perfetto
"""

# again: mov $0, %eax; cpuid; jmp again
GUEST_MEMORY = 2 << 20
ROOM = long_mode.room(GUEST_MEMORY)


def configure(commands: Commands) -> None:
    """Add `run` to the command line."""
    command = add_command(commands, sys.modules[__name__], "run", EXAMPLE)
    add = command.add_argument
    add("--guest", metavar="FILE", help="a flat binary to run (default: a loop of CPUID)")
    add("--serial", action="store_true",
        help="a serial port at 0x3f8: print what the guest sends there, and let it go on")
    add("--exits", type=whole(1, 10**15), default=100_000, metavar="N",
        help="VM exits to run in each mode (default: 100000)")
    add("--cpus", type=whole(1, 4096), default=2, metavar="N",
        help="CPUs of the L1 machine, 1 to 4096 (default: 2)")
    offer(add("--profile", default="kvm-6.12", metavar="NAME|FILE",
              help="which Hyper-V to emulate: kvm-6.12 (default), tlfs-strict, ice-lake, a file "
                   "in TOML, or a host's `cpuid -r` in a .txt"), PROFILES)
    add("--insn", choices=("call", "trap"),
        help="instructions by call, or as opcodes that trap (default: call)")
    offer(add("--cache-policy", default="always", metavar="POLICY",
              help="when L0 reads clean groups again (default: always)"), CACHE_POLICIES)
    add("--lints", action="store_true",
        help="report what L1 does that Hyper-V forbids or leaves undefined")
    add("--strict", action="store_true", help="likewise, and stop at the first")
    add("--config", choices=("hyperv", "no-jump-label"), default="hyperv",
        help="the build of kvm-intel: no-jump-label is for systems where text cannot be written")
    add("--kernel", metavar="TREE",
        help="also by this tree's own KVM: a directory, a tarball or GITDIR@REV of 4.19")
    add("--trace", metavar="FILE", help="also write the first exits as a Chrome trace")


def execute(args: argparse.Namespace) -> int:
    """Run the guest in both modes and print what it cost."""
    check_writable(args.trace)
    code = CPUID_LOOP if args.guest is None else read_guest(args.guest)
    out = sys.stderr if args.json else sys.stdout
    status = compare_modes(args, code, out)
    if args.trace is not None:
        write_trace(args, code, out)
    return status


def machine_of(args: argparse.Namespace) -> contextlib.AbstractContextManager[Machine]:
    """The machine that the options describe, booted."""
    return booted(cpus=args.cpus, profile=args.profile, cache_policy=args.cache_policy,
                  lints=args.lints, strict=args.strict, insn=args.insn)


def compare_modes(args: argparse.Namespace, code: bytes, out: TextIO) -> int:
    """Run the guest in both modes, print what it cost, and judge."""
    with machine_of(args) as machine:
        try:
            with progress(dict.fromkeys(MODES.values(), args.exits),
                          lambda: machine.counters["exits"]) as report:
                runs = {mode: measure(machine, mode, code, GUEST_MEMORY, args.exits,
                                      lambda mode, done: report(MODES[mode], done),
                                      args.config, Serial() if args.serial else None)
                        for mode in MODES}
        except ConformanceError as error:
            stopped(args, list(machine.dmesg), f"Falls short: {error}.", out)
            return DIFFERS
        log, lints, by_call = list(machine.dmesg), machine.lints, machine.by_call
        with working("timing both modes in turns"):
            times = paired(args, machine, code, runs)
    kernel = of_kernel(args.kernel, code, GUEST_MEMORY) if args.kernel else None
    found = judged(runs)
    if args.json:
        print("\n".join(log), file=sys.stderr)
        print_json({"schema": SCHEMA, "modes": modes_of(runs, times), "timing": timing_of(times),
                    "verdict": found.as_json(), "log": log, "by_call": by_call,
                    **({"kernel": kernel} if kernel else {}),
                    **({"lints": [lint.explain() for lint in lints]} if args.lints else {})})
    else:
        print("\n".join(log), end="\n\n")
        print_modes({mode: run.figures for mode, run in runs.items()}, times, by_call)
        if kernel:
            print_beside(kernel, {mode: run.figures for mode, run in runs.items()})
    if args.lints:
        print("", *[lint.explain() for lint in lints] or ["L1 broke no rule that L0 can see."],
              sep="\n", file=out)
    print_end(runs["vmcs"].result, len(code), out)
    print(f"\n{found.text}", file=out)
    return HOLDS if found.holds else DIFFERS


def paired(args: argparse.Namespace, machine: Machine, code: bytes,
           runs: dict[str, Counted]) -> pairs.Times:
    """The times of both modes, as far as the guest's exits go for both."""
    exits = min(run.figures["exits"] - (run.result.ended is not None) for run in runs.values())
    guest = pairs.Guest(machine, args.config, code, GUEST_MEMORY, Serial if args.serial else None)
    return pairs.timed(guest, exits, {mode: run.ns for mode, run in runs.items()})


def stopped(args: argparse.Namespace, log: list[str], why: str, out: TextIO) -> None:
    """A strict machine stopped the run: there is nothing to compare."""
    if args.json:
        print_json({"schema": SCHEMA, "modes": {}, "timing": timing_of(pairs.NOTHING),
                    "verdict": GuestVerdict(False, [], why).as_json(), "log": log})
    print(why, file=out)


def write_trace(args: argparse.Namespace, code: bytes, out: TextIO) -> None:
    """Both modes once more, a short while, with every instruction written down."""
    from kvm_vmx.run import tracing, walking

    exits, walks = min(args.exits, tracing.MOST), {}
    with machine_of(args) as machine, working("tracing"):
        runs = {mode: tracing.recorded(machine, mode, code, GUEST_MEMORY, exits, args.config,
                                       Serial() if args.serial else None)
                for mode in MODES}
    for mode in MODES if host.has("single-step") else ():
        with machine_of(argparse.Namespace(**{**vars(args), "insn": "trap"})) as machine:
            with contextlib.suppress(ConformanceError):
                walks[mode] = walking.followed(machine, mode, code, GUEST_MEMORY, exits,
                                               args.config)
    text = tracing.as_text(tracing.write_up(runs, args.cpus, args.exits, walks))
    write_text(args.trace, text)
    print(f"\n{args.trace}: loading, the first {tracing.traced_exits(runs):,} exits and unloading "
          "in each mode; open it with ui.perfetto.dev.", file=out)


def read_guest(path: str) -> bytes:
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


