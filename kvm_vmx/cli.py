# SPDX-License-Identifier: GPL-2.0-only
"""The command kvm-vmx: reads the command line and runs one command.

Exit status: 0 what was shown holds, 1 it differs or falls short, 2 trouble, said in one line
on standard error that names the cure.
"""

import argparse
import errno
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from kvm_vmx import progress, rendering, streams
from kvm_vmx.console import TROUBLE, Trouble, add_common, told
from kvm_vmx.words import meant

VERSION = "0.1.0"

TOUR = """\
kvm-vmx: KVM's enlightened-VMCS path (vmx.c, Linux v4.19) on an emulated Hyper-V

  run, lesson     a guest under VMCS and under eVMCS; lessons. grade: the sheets of a course
  fields, keys    the field table; every static-branch site, with the key off and on
  compare, drift  the port beside any kernel tree; what changed between two trees
  kernel, try     a tree's own KVM as L1, beside the port; what a patch changes in behaviour
  conform, boot   the rules of Hyper-V and their tests; a whole L1 image, a KVM selftest
  measure         what an access, a static key and a clean bit cost
  decode, doctor  which check refuses a page or a dump; why a host uses eVMCS, or not
  man, schema     manual pages; what --json prints. cache: what is kept; completion: of a shell

Begin with: kvm-vmx run. Every command has --help with an example, and --json for programs.
"""


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the word that may have been meant."""

    def error(self, message: str) -> NoReturn:
        line = streams.plain(" ".join(message.split()))
        self.exit(TROUBLE, f"{self.prog}: {line} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:  # argparse would take a full disk for success
            file.write(message)
        else:
            super()._print_message(message, file)

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """What no parser knows is said by the one of its command."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = getattr(found, "parser", self)
            known = parser._option_string_actions
            near = [meant(word.partition("=")[0], known) for word in rest if word[:2] == "--"]
            parser.error(": ".join(filter(None, (f"unrecognized arguments: {' '.join(rest)}",
                                                 *near))))
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            there = meant(value, action.choices) or f"there are {', '.join(action.choices)}"
            raise argparse.ArgumentError(None, f"no command {value!r}: {there}")
        there = ", ".join(map(repr, action.choices))
        raise argparse.ArgumentError(action, ": ".join(filter(None, (
            f"invalid choice: {value!r} (choose from {there})",
            meant(str(value), map(str, action.choices))))))


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-parser a command, each with its function as `execute`."""
    from kvm_vmx.about import cache, completion, man, schema
    from kvm_vmx.boot import command as boot
    from kvm_vmx.compare import command as compare
    from kvm_vmx.compare import drift_command as drift
    from kvm_vmx.conform import command as conform
    from kvm_vmx.decode import command as decode
    from kvm_vmx.doctor import command as doctor
    from kvm_vmx.kernel import command as kernel
    from kvm_vmx.lessons import command as lesson
    from kvm_vmx.lessons import grade_command as grade
    from kvm_vmx.measure import command as measure
    from kvm_vmx.run import command as run
    from kvm_vmx.tables import fields_command as fields
    from kvm_vmx.tables import keys_command as keys
    from kvm_vmx.trial import command as trial

    top = CommandParser(
        prog="kvm-vmx", description=TOUR, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true",
                     help="what this build is made of, and what of this host it can use")
    add_common(top, top=True)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for command in (run, lesson, fields, keys, compare, drift, kernel, trial, conform, boot,
                    measure, decode, doctor, grade, schema, cache, completion, man):
        command.configure(commands)
    top.set_defaults(top=top, version_text=VERSION)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit status."""
    try:
        streams.prepare()
        status = command_line(argv)
        sys.stdout.flush()
        return status
    except BaseException as error:
        return ended(error)


def command_line(argv: Sequence[str] | None) -> int:
    """Read the command line and do what it says."""
    try:
        args = parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why: help, version, or an error
        return int(end.code or 0)
    rendering.choose(args.color)
    progress.hush(args.quiet)
    if args.version:
        from kvm_vmx.about import version

        return version.show(VERSION, args.json)
    if "execute" not in args:
        print(TOUR, end="")
        return 0
    status: int = args.execute(args)
    return status


def ended(error: BaseException) -> int:
    """The exit status of a command that an exception ended, and its one line."""
    if os.environ.get("KVM_VMX_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    status = TROUBLE
    if isinstance(error, KeyboardInterrupt):
        streams.complain("interrupted")
        status = 130
    elif isinstance(error, BrokenPipeError):
        status = 141
    elif isinstance(error, OSError) and error.filename is None and error.errno in streams.OUTPUT:
        closed = error.errno == errno.EBADF
        streams.complain("cannot write the output: "
                         f"{'standard output is closed' if closed else error.strerror}")
    else:
        streams.complain(reason(error))
    try:
        sys.stdout.flush()
    except OSError:
        streams.silence(1)
    return status


def reason(error: BaseException) -> str:
    """What went wrong, in a line that names the cure."""
    if isinstance(error, Trouble):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory for this: give less, or let the process have more (ulimit -v)"
    line = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(error, OSError) and error.filename is not None:
        return told(error)
    return (f"{line[:300]}: this is a fault of kvm-vmx: please report it with the command and what "
            "KVM_VMX_TRACEBACK=1 prints before it")
