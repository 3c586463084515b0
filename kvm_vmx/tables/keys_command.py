# SPDX-License-Identifier: GPL-2.0-only
"""Every static-branch site: its address, its bytes, its function, off and on.

Each row is one jump label in the text of this very process: a 5-byte NOP while the branch is
not taken, a JMP to its target while it is. "before" is the state with kvm-intel loaded without
enlightened VMCS, "after" the state once it is loaded with enable_evmcs on.
With --json: {"schema": "kvm_vmx.keys/1", "before": [...], "after": [...]}.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from kvm_vmx.console import DIFFERS, HOLDS, Commands, add_command, print_columns, print_json
from kvm_vmx.machine.booted import booted
from kvm_vmx.machine.sites import Site

EXAMPLE = """\
example:
  kvm-vmx keys | grep vmx_vcpu_run      the sites that one VM exit passes
"""

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine

TITLES = ("address", "key", "function", "before", "bytes", "after", "bytes")


def configure(commands: Commands) -> None:
    """Add `keys` to the command line."""
    add_command(commands, sys.modules[__name__], "keys", EXAMPLE)


def execute(args: argparse.Namespace) -> int:
    """Read all sites with the key off, then with it on."""
    with booted() as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        before = sites(machine)
        kvm.rmmod()
        kvm = machine.insmod(enlightened_vmcs=True)
        after, key_on = sites(machine), kvm.enable_evmcs
        kvm.rmmod()
    if args.json:
        print_json({"schema": "kvm_vmx.keys/1", "before": before, "after": after})
    else:
        print_sites(before, after)
    if not key_on:
        print("kvm-vmx keys: enable_evmcs is off: this build does not switch it", file=sys.stderr)
    return HOLDS if key_on else DIFFERS


def sites(machine: "Machine") -> list[Site]:
    """Every site, its bytes as a disassembler writes them."""
    return [dict(site, bytes=site["bytes"].hex(" ")) for site in machine.keys()]


def print_sites(before: list[Site], after: list[Site]) -> None:
    """One row a site, ordered by address."""
    old = {site["address"]: site for site in before}
    rows = [TITLES]
    for site in sorted(after, key=lambda site: site["address"]):
        was = old[site["address"]]
        rows.append((
            f"{site['address']:#x}", site["key"], site["function"],
            was["state"], was["bytes"], site["state"], site["bytes"],
        ))
    print_columns(rows)
