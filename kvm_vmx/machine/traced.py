# SPDX-License-Identifier: GPL-2.0-only
"""The list of what was traced, which a notebook shows as a table."""

from typing import TYPE_CHECKING

from kvm_vmx.machine.pictures import Pictured, Sheet, Table

if TYPE_CHECKING:
    from kvm_vmx.machine.trace import TraceRecord

LAST = 40
HEADS = ("", "CPU", "instruction", "L2 executed", "read again")


class Trace(Pictured, list["TraceRecord"]):
    """TraceRecords in their order; a list, of which a notebook shows the last ones."""

    def _sheet(self) -> Sheet:
        rows = []
        for record in self[-LAST:]:
            said = str(record).removeprefix(f"cpu {record.cpu}: ")
            entry = record.instruction in ("vmlaunch", "vmresume")
            rows.append((str(record.sequence), str(record.cpu), said,
                         str(record.l2_instructions) if entry else "",
                         f"{record.groups_reread} groups, {record.bytes_reread} bytes" * entry))
        title = f"{len(self):,} instructions of L1"
        if len(self) > LAST:
            title += f", the last {LAST}"
        return Sheet(title, [Table("", HEADS, rows)] if rows else [])
