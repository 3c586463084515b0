# SPDX-License-Identifier: GPL-2.0-only
"""A shell's completion of this command line: bash, zsh, fish or tcsh.

The script completes commands, options, the values of options that have names, lessons, profiles,
rules, and files where a file is wanted. It is complete in itself: nothing is run when a key is
pressed. A wheel brings the scripts of bash, zsh and fish to where these shells look for them.
"""

import argparse
import sys

from kvm_vmx.about import shells
from kvm_vmx.about.commands import all_of
from kvm_vmx.console import HOLDS, Commands, Trouble, add_command

EXAMPLE = """\
examples:
  eval "$(kvm-vmx completion bash)"                      in ~/.bashrc
  kvm-vmx completion zsh > ~/.zfunc/_kvm-vmx             a folder of $fpath
  kvm-vmx completion fish | source                       in ~/.config/fish/config.fish
  eval "`kvm-vmx completion tcsh`"                       in ~/.tcshrc
"""


def configure(commands: Commands) -> None:
    """Add `completion` to the command line."""
    command = add_command(commands, sys.modules[__name__], "completion", EXAMPLE)
    command.add_argument("shell", choices=tuple(shells.SHELLS), help="whose script to print")


def execute(args: argparse.Namespace) -> int:
    """Print a script."""
    if args.json:
        raise Trouble("a completion is a script and no JSON: leave --json out")
    print(shells.SHELLS[args.shell](all_of(args.top)), end="")
    return HOLDS
