# SPDX-License-Identifier: GPL-2.0-only
"""The manual page of a command, or of kvm-vmx itself.

On a terminal it is shown by man, if that is installed; into a file or a pipe it is printed as
man's source. A wheel brings all pages to share/man of its environment, where man finds them.
"""

import argparse
import subprocess
import sys

from kvm_vmx import host
from kvm_vmx.about import roff
from kvm_vmx.about.commands import all_of
from kvm_vmx.console import HOLDS, Commands, Trouble, add_command, offer
from kvm_vmx.rendering import is_terminal
from kvm_vmx.words import unknown

EXAMPLE = """\
examples:
  kvm-vmx man                             the program and its commands
  kvm-vmx man run                         one of them
  kvm-vmx man run > kvm-vmx-run.1         as man's source
"""


def configure(commands: Commands) -> None:
    """Add `man` to the command line."""
    command = add_command(commands, sys.modules[__name__], "man", EXAMPLE)
    offer(command.add_argument("name", nargs="?", default="", metavar="COMMAND",
                               help="the command (default: kvm-vmx itself)"),
          lambda: list(commands.choices))


def execute(args: argparse.Namespace) -> int:
    """Show one, or print it."""
    if args.json:
        raise Trouble("a manual page is no JSON: leave --json out")
    known = {command.name: command for command in all_of(args.top)}
    if args.name not in known:
        raise Trouble(unknown("command", args.name, filter(None, known)))
    text = roff.page(known[args.name], list(known.values()), args.version_text)
    viewer = host.find("man") if is_terminal(sys.stdout) else None
    if viewer is None:
        print(text, end="")
        return HOLDS
    subprocess.run([viewer, "-l", "-"], input=text.encode(), check=False)
    return HOLDS
