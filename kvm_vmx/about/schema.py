# SPDX-License-Identifier: GPL-2.0-only
"""The JSON Schema (2020-12) of what a command prints with --json.

Without a name the schemas are listed. The "schema" of every JSON object names the one it keeps
to, as in "kvm_vmx.run/2": the number grows when a program that reads it would have to change.
With --json, and a name: the same; without: {"schema": "kvm_vmx.schemas/1", ...}.
"""

import argparse
import sys

from kvm_vmx import schemas
from kvm_vmx.console import HOLDS, Commands, Trouble, add_command, offer, print_columns, print_json
from kvm_vmx.words import unknown

EXAMPLE = """\
examples:
  kvm-vmx schema                       what there is
  kvm-vmx schema run > run.json        to check `kvm-vmx run --json` with
"""


def configure(commands: Commands) -> None:
    """Add `schema` to the command line."""
    command = add_command(commands, sys.modules[__name__], "schema", EXAMPLE)
    offer(command.add_argument("name", nargs="?", metavar="NAME", help="which to print"),
          schemas.names)


def execute(args: argparse.Namespace) -> int:
    """Print one, or list them."""
    if args.name is None:
        return show_list(args.json)
    if args.name not in schemas.names():
        raise Trouble(unknown("schema", args.name, schemas.names()))
    print(schemas.text(args.name), end="")
    return HOLDS


def show_list(json: bool) -> int:
    """Each schema in a line."""
    found = [(name, schemas.load(name)) for name in schemas.names()]
    if json:
        print_json({"schema": "kvm_vmx.schemas/1", "schemas": [
            {"name": name, "is": schemas.identity(one), "title": one["title"]}
            for name, one in found]})
        return HOLDS
    print_columns([("schema", "is", "what prints it"),
                   *((name, schemas.identity(one), one["title"]) for name, one in found)])
    return HOLDS
