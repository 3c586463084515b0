# SPDX-License-Identifier: GPL-2.0-only
"""Read a VMCS: a raw page, dump_vmcs() text, a memory image; and say what refuses it.

A FILE is a page of an enlightened VMCS, of KVM's vmcs12 or of a VP assist page (as it is, as
hexadecimal, or as xxd, hexdump, od, gdb, crash, QEMU or windbg print it), the text of
dump_vmcs() in a log or a mail (Linux v4.19 to 6.12, and Xen's), a list of fields by encoding
(as HAXM logs it) or by the kernel's names, or a memory image, in which every VMCS page is found;
- is standard input. Printed are the fields by area, controls by name,
the clean bits, and the checks of VM entry that refuse it, the first one first: L0 is asked, on
a scratch processor. What a file does not tell is not guessed: a check that needs it is left out.
Without --profile, --cpuid and --msr the processor offers every control there is, so that only
what no processor takes is refused. --memory, which may be the image itself, lets the checks of
memory be asked. --diff compares two files field by field.
With --json: {"schema": "kvm_vmx.decode/1", "states": [{"source", "form", "at", "fields",
"others", "controls", "groups", "against", "refusals", "lints", "missing", "unasked", "notes"}]},
or with --diff {"schema": "kvm_vmx.decode.diff/1", "fields": [...], "stale": [...], ...}.
Exit status 1: an entry would be refused, or the two files differ.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, check_writable, offer, print_json,
    write_text)
from kvm_vmx.l0.profile import PROFILES
from kvm_vmx.progress import progress

if TYPE_CHECKING:
    from kvm_vmx.decode.printed import Decoded
    from kvm_vmx.decode.result import State

EXAMPLE = """\
examples:
  kvm-vmx decode evmcs.bin                          a page, as it was in memory
  kvm-vmx decode dmesg.txt --profile kvm-6.12       "hardware error", and for one processor
  dmesg | kvm-vmx decode -                          this machine's own log
  kvm-vmx decode mail.txt --msr 0x48e=0xfff9fffe04006172
  kvm-vmx decode guest.mem --at 0x3f2000            one page of a memory image
  kvm-vmx decode --diff before.bin after.bin        what changed, and which clean bits deny it
"""
FORMS = ("evmcs", "vmcs12", "vmcs", "assist", "dump", "image")
# States of a file that are printed whole; of more there is a line each.
WHOLE = 1


def configure(commands: Commands) -> None:
    """Add `decode` to the command line."""
    command = add_command(commands, sys.modules[__name__], "decode", EXAMPLE)
    add = command.add_argument
    add("file", nargs="+", metavar="FILE", help="a page, a dump, or a memory image")
    add("--diff", action="store_true", help="compare two files field by field")
    add("--form", choices=FORMS, help="what the file is, where that is not seen")
    add("--at", type=integer, metavar="OFFSET|LINE",
        help="only the VMCS there, of an image or a log with several")
    add("--enlightened", action="store_true", help="judge a dump as the fields of an eVMCS")
    offer(add("--profile", metavar="NAME|FILE",
              help="ask this Hyper-V: kvm-6.12, tlfs-strict, ice-lake, or a file in TOML"),
          PROFILES)
    add("--cpuid", metavar="FILE", help="its CPUID: what `cpuid -r` prints on the host")
    add("--msr", action="append", default=[], type=msr, metavar="INDEX=VALUE",
        help="an MSR of its, as in 0x48b=0x118fe00000000; may be given again")
    add("--memory", metavar="FILE",
        help="L1's memory from address 0 on: also ask the checks of what stands there")
    add("--html", metavar="FILE", help="also write one page")


def integer(text: str) -> int:
    """An argument type: a number, also in hexadecimal."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, as in 0x3f2000")
    return value


def msr(text: str) -> tuple[int, int]:
    """An argument type: an MSR and its value."""
    index, _, value = text.partition("=")
    try:
        pair = int(index, 0), int(value, 0)
    except ValueError:
        pair = -1, -1
    if not 0 <= pair[0] < 1 << 32 or not 0 <= pair[1] < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r}: give INDEX=VALUE, as in 0x485=0x20000165")
    return pair


def execute(args: argparse.Namespace) -> int:
    """Decode the files, or compare two."""
    check_writable(args.html)
    if args.diff and len(args.file) != 2:
        raise Trouble(f"--diff takes two files, not {len(args.file)}")
    if args.file.count("-") > 1:
        raise Trouble("standard input can be read once: give - once")
    if args.diff and args.html:
        raise Trouble("--diff has no page: leave --html out")
    states = [state for path in args.file for state in chosen(args, path)]
    if args.diff:
        return compare(args, states)
    if args.html:
        from kvm_vmx.decode.page import page

        write_text(args.html, page(states))
    if args.json:
        print_json({"schema": "kvm_vmx.decode/1", "states": [one.as_json() for one in states]})
    else:
        show(states)
    return DIFFERS if any(state.refusals for state in states) else HOLDS


def chosen(args: argparse.Namespace, path: str) -> "list[Decoded]":
    """The states of a file that are asked for."""
    from kvm_vmx.decode import decode_all
    from kvm_vmx.decode.result import OF_LINES

    with bar() as told:
        try:
            found = decode_all(path, profile=args.profile, cpuid=args.cpuid, msrs=dict(args.msr),
                               form=args.form, enlightened=args.enlightened or None, progress=told,
                               memory=args.memory)
        except ValueError as error:
            raise Trouble(f"{path}: {error}") from error
    if args.at is not None:
        there = [one for one in found if one.at == args.at]
        if not there:
            places = ", ".join(str(one.at) if one.form in OF_LINES else f"{one.at:#x}"
                               for one in found[:8] if one.at is not None)
            raise Trouble(f"{path}: no VMCS at {args.at:#x}" + (f": there are {places}" if places
                          else ": leave --at out"))
        return there
    if args.diff and len(found) != 1:
        raise Trouble(f"{path}: {len(found)} of them are in this: choose one with --at")
    return found


@contextlib.contextmanager
def bar() -> Iterator[Callable[[int], Callable[[int], None]]]:
    """What is told the size of an image, and then how far the search is."""
    with contextlib.ExitStack() as stack:
        def told(size: int) -> Callable[[int], None]:
            report = stack.enter_context(progress({"searching": size}))
            return lambda done: report("searching", done)

        yield told


def show(states: "Sequence[State]") -> None:
    """Print one whole, or a line for each of several."""
    from kvm_vmx.decode import text

    several = len(states) > WHOLE and len({state.source for state in states}) == 1
    for n, state in enumerate(states):
        if several:
            print(text.summary(state))
            continue
        if n:
            print()
        for line in text.of_state(state):
            print(line)
    if several:
        print(f"{len(states)} found; --at shows one whole")


def compare(args: argparse.Namespace, states: "Sequence[State]") -> int:
    """Print what differs."""
    from kvm_vmx.decode import text
    from kvm_vmx.decode.difference import difference

    found = difference(*states)
    if args.json:
        print_json({"schema": "kvm_vmx.decode.diff/1", **found.as_json()})
    else:
        for line in text.of_difference(found):
            print(line)
    differs = found.rows or found.others or found.only_before or found.only_after
    return DIFFERS if differs else HOLDS
