# SPDX-License-Identifier: GPL-2.0-only
"""The command kvm-vmx: reads the command line and runs one command.

Exit status: 0 what was shown holds, 1 it differs or falls short, 2 trouble, said in one line
on standard error that names the cure.
"""

import argparse
import os
import sys

from kvm_vmx.commands import (
    TROUBLE, Trouble, compare, conform, drift, fields, keys, lesson, measure, run)

VERSION = "0.1.0"

TOUR = """\
kvm-vmx: KVM's enlightened-VMCS path (vmx.c, Linux v4.19) on an emulated Hyper-V

  kvm-vmx run      load kvm-intel, run a guest under VMCS and under eVMCS, unload
  kvm-vmx lesson   nine lessons: the run, a picture of it, a question
  kvm-vmx fields   the field table: encoding, member, offset, size, clean group
  kvm-vmx keys     every static-branch site, with the key off and on
  kvm-vmx compare  the port beside any kernel tree, statement by statement
  kvm-vmx drift    what changed in the path from one kernel tree to another
  kvm-vmx conform  the rules of Hyper-V, the tests that show each, and their result
  kvm-vmx measure  what an access, a static key and a clean bit cost

Begin with: kvm-vmx run. Every command has --help with an example, and --json for programs.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        line = " ".join(message.split())
        self.exit(TROUBLE, f"{self.prog}: {line} (see {self.prog} --help)\n")


class Version(argparse.Action):
    """--version: what this build is made of, looked up only when asked for."""

    def __call__(self, parser, *_):
        from kvm_vmx import build_info

        print(f"kvm-vmx {VERSION}, baseline Linux v4.19")
        print(f"built with Cython {build_info.cython}, {build_info.compiler}")
        print(" ".join(f"{name}={value}" for name, value in build_info.config.items()))
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-parser a command, each with its function as `execute`."""
    top = Parser(
        prog="kvm-vmx", description=TOUR, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=Version, nargs=0, help="what this build is made of")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for command in (run, lesson, fields, keys, compare, drift, conform, measure):
        command.configure(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit status."""
    try:
        args = parser().parse_args(argv)
        if "execute" not in args:
            print(TOUR, end="")
            return 0
        status = args.execute(args)
        sys.stdout.flush()
        return status
    except Trouble as trouble:
        print(f"kvm-vmx: {trouble}", file=sys.stderr)
        return TROUBLE
    except KeyboardInterrupt:
        print("kvm-vmx: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return closed_output(141)
    except OSError as error:
        print(f"kvm-vmx: cannot write the output: {error.strerror}", file=sys.stderr)
        return closed_output(TROUBLE)


def closed_output(status: int) -> int:
    """Nobody reads standard output any more: keep the interpreter from flushing into it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
