# SPDX-License-Identifier: GPL-2.0-only
"""What a measurement found: rows, each with its kind, and the claims that they hold or miss."""

import dataclasses

COUNTED, MEASURED, MODELLED, PUBLISHED = "counted", "measured here", "modelled", "published"


@dataclasses.dataclass
class Row:
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
    """One sentence that holds or does not, with the figure that decides; None: not decided."""

    text: str
    holds: bool | None
    figure: str


@dataclasses.dataclass
class Report:
    """All that one call of the command found, in order."""

    rows: list[Row] = dataclasses.field(default_factory=list)
    claims: list[Claim] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    rounds: dict[str, list[list[int]]] = dataclasses.field(default_factory=dict)
    machine: dict = dataclasses.field(default_factory=dict)
    measurable: bool = True

    def add(self, table, name, value, unit, kind, **rest) -> Row:
        """One more row; the row."""
        row = Row(table, name, value, unit, kind, **rest)
        self.rows.append(row)
        return row

    def claim(self, text, holds, figure) -> None:
        """One more claim."""
        self.claims.append(Claim(text, holds, figure))

    def find(self, table, name) -> Row | None:
        """A row by its table and name, or None."""
        return next((row for row in self.rows if (row.table, row.name) == (table, name)), None)

    def in_table(self, table) -> list[Row]:
        """The rows of a table."""
        return [row for row in self.rows if row.table == table]
