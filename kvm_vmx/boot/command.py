# SPDX-License-Identifier: GPL-2.0-only
"""Run a whole L1 image on the emulated processor: a multiboot kernel, an ELF or flat file.

The image's code runs on L0's own processor, in VMX root operation where it wants to; its VMX
instructions go to L0, and a VM exit loads its host state. It finds a serial port at 0x3f8, whose
output is printed, the exit port 0xf4, fw_cfg, local APICs (xAPIC and x2APIC, with timers, IPIs,
INIT and SIPI), and a PM timer. Time is counted in instructions, so that every run is the same; with
--clock host it is the host's, and a processor that is halted sleeps.
FILE is a multiboot image (kvm-unit-tests' *.flat and *.elf), an ELF 64 file that is entered in
64-bit mode with memory mapped as it is, or a flat file, entered so at 0x7c00.
With --selftest TREE, FILE names a KVM selftest instead: its guest code is built from that tree,
unmodified, and runs as the suite's host part would run it; --moves saves the machine at each stage
and goes on in a new one.
With --json: {"schema": "kvm_vmx.boot/1", "value": ..., "why": ..., "instructions": {...}, ...}.
Exit status: 0 the image wrote 0 to the exit port, or the selftest is done; 1 another value, or it
failed; 77 the value 38, by which kvm-unit-tests says that it skips; 2 neither came.
"""

import argparse
import contextlib
import pathlib
import sys

from kvm_vmx.boot import elf, loader, selftest_build, selftests
from kvm_vmx.boot.board import CLOCKS, Board, End
from kvm_vmx.boot.selftest import Selftest
from kvm_vmx.console import (
    DIFFERS, HOLDS, TROUBLE, Commands, Trouble, add_command, offer, print_json, told, whole)
from kvm_vmx.l0.profile import PROFILES
from kvm_vmx.progress import working
from kvm_vmx.rendering import is_terminal

SCHEMA = "kvm_vmx.boot/1"
SKIPS, SKIPPED = 38, 77
LARGEST_FILE = 64 << 20
EXAMPLE = """\
examples:
  kvm-vmx boot x86/vmx.flat --append test_vmxon       one of KVM's unit tests
  kvm-vmx boot x86/vmx.flat --cpus 2 --append nmi_hlt
  kvm-vmx boot --selftest /usr/src/linux-source-6.12.tar.xz hyperv_evmcs --moves
"""


def configure(commands: Commands) -> None:
    """Add `boot` to the command line."""
    command = add_command(commands, sys.modules[__name__], "boot", EXAMPLE)
    add = command.add_argument
    offer(add("file", metavar="FILE", help="the image, or with --selftest a test's name"),
          lambda: [case.name for case in selftests.CASES if case.host])
    add("--append", default="", metavar="WORDS", help="the image's command line")
    add("--memory", type=whole(1, 3072), default=512, metavar="MIB",
        help="memory in MiB, 1 to 3072 (default: 512)")
    add("--cpus", type=whole(1, 16), default=1, metavar="N", help="processors, 1 to 16")
    offer(add("--profile", metavar="NAME|FILE",
              help="the processor: bare (default), kvm-6.12, ice-lake, tlfs-strict, or a file"),
          PROFILES)
    offer(add("--clock", metavar="NAME", choices=CLOCKS, default="virtual",
              help="what time goes by: virtual, which is instructions (default), or host"), CLOCKS)
    add("--seconds", type=whole(1, 10**6), default=60, metavar="N",
        help="how long it may run (default: 60)")
    add("--selftest", metavar="TREE",
        help="FILE is a KVM selftest of this kernel tree, a directory or a tarball")
    add("--moves", action="store_true", help="save and restore the machine at each stage")


def execute(args: argparse.Namespace) -> int:
    """Run the image and tell how it ended."""
    try:
        return run_selftest(args) if args.selftest else run_image(args)
    except (OSError, ValueError, selftest_build.SelftestError) as error:
        raise Trouble(told(error)) from error


def read_image(path: str) -> bytes:
    """The bytes of an image's file."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise Trouble(f"no image {path}: give the name of a file")
    if file.stat().st_size > LARGEST_FILE:
        raise Trouble(f"{path} is larger than {LARGEST_FILE >> 20} MiB: give an image")
    return file.read_bytes()


def run_image(args: argparse.Namespace) -> int:
    """Boot a file on a board."""
    data = read_image(args.file)
    out = sys.stderr if args.json else sys.stdout

    def sink(sent: bytes) -> None:
        out.write(sent.decode("latin-1"))
        if sent == b"\n":
            out.flush()

    board = Board(args.memory << 20, args.cpus, args.profile or "bare", sink, args.clock)
    kind = loader.boot(board, data, pathlib.Path(args.file).name, args.append)
    # what it prints on a terminal tells how far it is
    with contextlib.nullcontext() if is_terminal(out) else working(f"running {args.file}"):
        end = board.run(args.seconds)
    out.flush()
    report(args, end, {"kind": kind})
    if end.value is None:
        return TROUBLE
    return HOLDS if end.value == 0 else SKIPPED if end.value == SKIPS else DIFFERS


def report(args: argparse.Namespace, end: End, more: dict[str, object]) -> None:
    """How it ended, for a program or in a line."""
    if args.json:
        print_json({"schema": SCHEMA, "file": args.file, "value": end.value, "why": end.why,
                    "instructions": end.instructions, "seconds": round(end.seconds, 3), **more})
        return
    done = end.instructions
    print(f"{end.why}; {done['l1']:,} instructions of L1, {done['l2']:,} of L2 (counted), "
          f"{end.seconds:.1f} s (measured here)", file=sys.stderr)


def run_selftest(args: argparse.Namespace) -> int:
    """Build and run a selftest."""
    try:
        case = selftests.find(args.file)
    except ValueError as error:
        raise Trouble(str(error)) from error
    if case.host is None:
        raise Trouble(f"{case.name} does not run here: {case.cannot}")
    with working(f"building {case.name}") as say:
        program = selftest_build.build(
            args.selftest, case.name, selftest_build.cache_directory())
        test = Selftest(elf.parse(program.read_bytes()), args.profile or case.profile, case.lacks,
                        clock=args.clock)
        case.host(test, args.moves)
        say(f"running {case.name}")
        end = test.board.run(args.seconds)
    out = sys.stderr if args.json else sys.stdout
    for note in test.notes:
        print(note, file=out)
    report(args, end, {"kind": "selftest", "stages": test.notes})
    return HOLDS if end.value == 0 else DIFFERS
