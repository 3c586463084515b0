# SPDX-License-Identifier: GPL-2.0-only
"""The field table: which eVMCS member stands for which VMCS field, in which clean group.

With --json: {"schema": "kvm_vmx.fields/1", "fields": [...]}, one object a field. Offsets and
sizes are in bytes; encodings and clean masks are hexadecimal text.
"""

import argparse
import sys

from kvm_vmx.console import HOLDS, Commands, add_command, print_columns, print_json

EXAMPLE = """\
example:
  kvm-vmx fields | grep GUEST_BASIC     what one write to the guest's stack pointer dirties
"""

COLUMNS = ("encoding", "vmcs_field", "evmcs_field", "offset", "size", "clean_field", "clean_mask")
TITLES = ("encoding", "VMCS field", "member", "offset", "size", "clean group", "mask")


def configure(commands: Commands) -> None:
    """Add `fields` to the command line."""
    add_command(commands, sys.modules[__name__], "fields", EXAMPLE)


def execute(args: argparse.Namespace) -> int:
    """Print the table."""
    from kvm_vmx import fields

    table = fields()
    if args.json:
        print_json({"schema": "kvm_vmx.fields/1", "fields": table})
    else:
        rows = [tuple(str(field[name]) for name in COLUMNS) for field in table]
        print_columns([TITLES, *rows], right=(3, 4))
    return HOLDS
