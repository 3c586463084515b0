# SPDX-License-Identifier: GPL-2.0-only
"""What a measurement found: rows, each with its kind, and the claims that they hold or miss."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from kvm_vmx.measure.statistics import Estimate

if TYPE_CHECKING:
    from kvm_vmx.measure.objects import FunctionCost

# how far a measurement is, in words
Say: TypeAlias = Callable[[str], object]
COUNTED, MEASURED, MODELLED, PUBLISHED = "counted", "measured here", "modelled", "published"

# Why a claim is open: nothing was found to judge, or what was found reaches over the bound.
NO_SAMPLE = "there was nothing to look at"
DISAGREE = "the processes disagree, some within the bound, some beyond: a quieter machine decides"

# What becomes of a claim; what a reader must see stands last.
VERDICTS = ("holds", "open", "remark", "missed")


@dataclasses.dataclass
class Measurement:
    """One number: what it is of, its unit and kind; low and high are a 95 % interval."""

    table: str
    name: str
    value: float
    unit: str
    kind: str
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclasses.dataclass
class Claim:
    """One sentence that holds or does not, with the figure that decides; None: not decided, and
    `why` says what there would have to be.

    What cannot be met, for a reason that `cannot` gives, is no miss but a remark.
    """

    text: str
    holds: bool | None
    figure: str
    cannot: str = ""
    why: str = ""

    @property
    def verdict(self) -> str:
        """The claim's standing, one of VERDICTS."""
        if self.holds is None:
            return "open"
        return "holds" if self.holds else "remark" if self.cannot else "missed"

    @property
    def told(self) -> str:
        """The figure, and the reason where the verdict needs one."""
        reason = {"open": self.why, "remark": self.cannot}.get(self.verdict)
        return f"{self.figure}; {reason}" if reason else self.figure


@dataclasses.dataclass
class Report:
    """All that one call of the command found, in order."""

    rows: list[Measurement] = dataclasses.field(default_factory=list)
    claims: list[Claim] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    rounds: dict[str, list[list[int]]] = dataclasses.field(default_factory=dict)
    machine: dict[str, Any] = dataclasses.field(default_factory=dict)
    measurable: bool = True
    # functions of the port beside a kernel's own
    beside: "list[FunctionCost]" = dataclasses.field(default_factory=list)

    def add(self, table: str, name: str, value: float, unit: str, kind: str, *,
            low: float | None = None, high: float | None = None, note: str = "") -> Measurement:
        """One more row; the row."""
        row = Measurement(table, name, value, unit, kind, low, high, note)
        self.rows.append(row)
        return row

    def claim(self, text: str, holds: bool | None, figure: str, cannot: str = "", why: str = "",
              sample: float = 1) -> None:
        """One more claim. Where `sample`, how much was looked at, is nothing, it is open: what is
        said of all of nothing always holds."""
        if not sample:
            holds, why = None, NO_SAMPLE
        if holds is None and not why:
            raise ValueError(f"an open claim needs its reason: {text}")
        self.claims.append(Claim(text, holds, figure, cannot, why if holds is None else ""))

    @property
    def judged(self) -> list[Claim]:
        """The claims, those that are missed last."""
        return sorted(self.claims, key=lambda claim: VERDICTS.index(claim.verdict))

    @property
    def missed(self) -> list[Claim]:
        """The claims that are missed and could be met."""
        return [claim for claim in self.claims if claim.verdict == "missed"]

    def find(self, table: str, name: str) -> Measurement | None:
        """A row by its table and name, or None."""
        return next((row for row in self.rows if (row.table, row.name) == (table, name)), None)

    def in_table(self, table: str) -> list[Measurement]:
        """The rows of a table."""
        return [row for row in self.rows if row.table == table]


def row(report: Report, table: str, name: str, found: Estimate, unit: str, note: str = "") -> None:
    """An estimate, measured here, as a row."""
    report.add(table, name, found.value, unit, MEASURED, low=found.low, high=found.high, note=note)
