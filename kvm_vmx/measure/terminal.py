# SPDX-License-Identifier: GPL-2.0-only
"""A report on the terminal: its tables, then what holds and what does not."""

import collections

from kvm_vmx.console import print_columns
from kvm_vmx.measure.report import COUNTED, VERDICTS, Measurement, Report

LONGEST_TABLE = 24


def number(value: float) -> str:
    """A number with as many digits as it deserves."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}"


def interval(row: Measurement) -> str:
    """The 95 % interval, where there is one; one on both sides of zero shows no difference."""
    if row.low is None or row.high is None:
        return ""
    shows = ", no difference shown" if row.low < 0 < row.high else ""
    return f"[{number(row.low)}, {number(row.high)}]{shows}"


def print_report(report: Report) -> None:
    """Every table, the claims and the notes on standard output."""
    for table in dict.fromkeys(row.table for row in report.rows):
        rows = report.in_table(table)
        kinds = {row.kind for row in rows}
        print(table if len(kinds) > 1 else f"{table} ({kinds.pop()})")
        lines = [(f"  {row.name}", number(row.value), row.unit, interval(row),
                  row.kind if len({row.kind for row in rows}) > 1 else "", row.note)
                 for row in rows[:LONGEST_TABLE]]
        print_columns(lines, right=(1,), heads=False)
        if len(rows) > LONGEST_TABLE:
            rest = sum(row.value for row in rows[LONGEST_TABLE:])
            print(
                f"  and {len(rows) - LONGEST_TABLE} more, {number(rest)} in all (--json has them)")
        print()
    print_beside(report)
    for note in report.notes:
        print(note)
    print_claims(report)


def print_beside(report: Report) -> None:
    """Each function of an exit, in the port and in the kernel's own objects: instructions, loads
    and stores; and the statements for which the port executes more."""
    for mode in dict.fromkeys(row.mode for row in report.beside):
        rows = [row for row in report.beside if row.mode == mode]
        print(f"one exit in L1 by function, {mode}: instructions, loads, stores "
              f"({COUNTED})")
        print_columns([("  function", "port", "", "", "kernel", "", "", "ratio"), *(
            (f"  {row.function}", *map(number, row.port), *map(number, row.kernel),
             "" if row.ratio is None else f"{row.ratio:.2f}") for row in rows)],
            right=range(1, 8))
        for row in rows:
            if row.why:
                print(f"  {row.function}: {row.why}")
        print()


def print_claims(report: Report) -> None:
    """Every claim in a line, what is missed last, and how many there are of each kind."""
    words = {"missed": "MISSED"}
    for claim in report.judged:
        word = words.get(claim.verdict, claim.verdict)
        print(f"{word:<7} {claim.text}: {claim.told}")
    count = collections.Counter(claim.verdict for claim in report.claims)
    words |= {"holds": "hold"}
    parts = ", ".join(f"{count[verdict]} {words.get(verdict, verdict)}" for verdict in VERDICTS
                      if count[verdict])
    if parts:
        print(f"\n{len(report.claims)} claims: {parts}")
