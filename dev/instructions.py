# SPDX-License-Identifier: GPL-2.0-only
"""Prints docs/instructions.md from the rows of the decoder's table, opcodes.h."""

import re
from typing import NamedTuple

from cheaders import ROOT

PAGE = "docs/instructions.md"
TABLE = "kvm_vmx/l0/guest/opcodes.h"

HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
# What the processor of L2 decodes

All that gcc makes of C for a processor with SSE2, but for `long double`; what a kernel at CPL 0
needs; and every instruction that VMX can intercept. Any other opcode is #UD: there is no arithmetic
of the x87, no MMX, nothing from SSE3 on, and no VEX or EVEX prefix. The rows of XMM registers that
name integers (P...) need 66, as in SSE2.
This page is printed from [opcodes.h](../kvm_vmx/l0/guest/opcodes.h), the decoder's own table, by
`python dev/regenerate.py`.

TZCNT, LZCNT, POPCNT, CMPXCHG16B, CLFLUSH, RDFSBASE and its three neighbours, and LAHF and SAHF in
64-bit code are there where the profile's CPUID offers them. Without, TZCNT is BSF and LZCNT is
BSR, as on processors before them; the others are #UD. XSAVE, XRSTOR, XGETBV and XSETBV want
CR4.OSXSAVE, which profile bare alone offers, and know x87 and SSE state. An instruction with REP
is left between two elements for an event, RIP at the instruction; where an access of it faults,
the elements before are done.

Floating point is the host's own, with every exception masked, and MXCSR then decides. Not done: an
overflow or underflow that is unmasked sets PE as if it were masked, where a processor leaves PE
clear if the result would be exact with a wider exponent.

## Flags that the SDM leaves undefined

They are what processors commonly make of them, and comparisons leave them out.

| instructions | flags | here |
|---|---|---|
| SHL, SHR, SAR by more than 1 | OF | by the rule for 1; SHR and SAR: 0 |
| SHL, SHR, SAR, SHLD, SHRD | AF | 0 |
| SHL, SHR, SHLD, SHRD by the operand's size or more | CF | the last bit out, 0 behind it |
| ROL, ROR, RCL, RCR by more than 1 | OF | by the rule for 1 |
| SHLD, SHRD of 2 bytes by more than 16 | all, the result | the destination's bits come in again |
| MUL, IMUL | SF, ZF, AF, PF | stay |
| DIV, IDIV | all | stay |
| BT, BTS, BTR, BTC | OF, SF, AF, PF | stay |
| BSF, BSR, TZCNT, LZCNT | all but ZF; CF of the latter two | stay |
| BSF, BSR of 0 | the destination | stays |
| BSWAP of 2 bytes | the result | 0 |
| AND, OR, XOR, TEST | AF | 0 |
"""

TITLES = ("One byte", "Behind 0f", "Behind 0f 38")
# The processor asks for these by a range, not by rows.
BEHIND_0F38 = re.compile(r"/\* 0f 38: ([^*]+) \*/\n#define OP_0F38_FIRST 0x(\w\w)\n"
                         r"#define OP_0F38_LAST 0x(\w\w)\n")
OPERANDS = {"OP_MODRM": "ModRM", "OP_MOFFS": "address", "OP_FAR": "offset and selector",
            "OP_IMM16": "2 bytes", "OP_IMM8": "1 byte", "OP_IMMZ": "2 or 4 bytes",
            "OP_IMMV": "2, 4 or 8 bytes"}
ARITHMETIC = ("OP_MODRM|OP_BYTE|OP_LOCK", "OP_MODRM|OP_LOCK", "OP_MODRM|OP_BYTE", "OP_MODRM",
              "OP_BYTE|OP_IMM8", "OP_IMMZ")
ROW = re.compile(r"(?:\[0x(\w\w)(?: \.\.\. 0x(\w\w))?\] = ([A-Z0-9_ |]+)|"
                 r"OP_ARITHMETIC\(0x(\w\w)\)),"
                 r"\s*/\* ([^*]+) \*/")


class Row(NamedTuple):
    """Neighbouring opcodes of one table: what they are called, what follows them."""

    first: int
    last: int
    flags: frozenset[str]
    names: str


def rows(text):
    """The rows of both tables, in their order; a row without a comment is an error."""
    body = text[text.index("opcode_flags[2][256]"):]
    found = []
    for part in body[:body.index("\n};")].split("\n\t},\n\t{"):
        table = []
        for first, last, flags, arithmetic, names in ROW.findall(part):
            names = " ".join(names.split())
            if arithmetic:
                start = int(arithmetic, 16)
                table += [Row(start + n, start + n, frozenset(flags.split("|")), names)
                          for n, flags in enumerate(ARITHMETIC)]
            else:
                table.append(Row(int(first, 16), int(last or first, 16),
                                 frozenset(flags.split(" | ")), names))
        assert len(re.findall(r"(?m)^\t\t(?:\[|OP_)", part)) == len(ROW.findall(part)), \
            f"{TABLE}: a row without the names of its instructions"
        found.append(sorted(table))
    return found


def follows(flags):
    """What stands behind the opcode."""
    return ", ".join(text for flag, text in OPERANDS.items() if flag in flags)


def where(flags):
    """Where it exists, and whether LOCK may stand before it."""
    return ", ".join(text for flag, text in (
        ("OP_NOT64", "not in 64-bit code"), ("OP_LOCK", "LOCK")) if flag in flags)


def lines(table):
    """The lines of one table, neighbours that are alike in one."""
    merged = []
    for row in table:
        if merged and merged[-1].last + 1 == row.first and merged[-1][2:] == row[2:]:
            row = merged.pop()._replace(last=row.last)
        merged.append(row)
    yield from ("| opcode | instructions | what follows | |", "|---|---|---|---|")
    for row in merged:
        opcode = f"{row.first:02x}" + (f"-{row.last:02x}" if row.last > row.first else "")
        yield f"| `{opcode}` | {row.names} | {follows(row.flags)} | {where(row.flags)} |"


def behind_0f38(text):
    """The lines of the range, an instruction for each opcode of it."""
    [(names, first, last)] = BEHIND_0F38.findall(text)
    found = names.split(", ")
    assert len(found) == int(last, 16) - int(first, 16) + 1, f"{TABLE}: names of the range"
    return [f"| `{int(first, 16) + n:02x}` | {name} | ModRM, 66 |\n"
            for n, name in enumerate(found)]


def files():
    """path: text of what is printed."""
    text = (ROOT / TABLE).read_text()
    tables = rows(text)
    parts = [HEAD]
    for title, table in zip(TITLES, tables):
        parts.append("\n".join([f"\n## {title}\n", *lines(table)]) + "\n")
    parts.append(f"\n## {TITLES[2]}\n\n| opcode | instructions | what follows |\n|---|---|---|\n" +
                 "".join(behind_0f38(text)))
    return {PAGE: "".join(parts)}
