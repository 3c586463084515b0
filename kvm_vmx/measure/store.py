# SPDX-License-Identifier: GPL-2.0-only
"""A report as files: pyperf's format for what can be compared, JSON for all of it."""

import dataclasses
import json
from typing import TYPE_CHECKING

from kvm_vmx.console import Trouble, need
from kvm_vmx.measure.report import Report

if TYPE_CHECKING:
    from kvm_vmx.measure.objects import FunctionCost

# pyperf knows seconds, bytes and integers; what else there is stays out of its files.
PYPERF = {"ns": ("second", 1e-9), "ms": ("second", 1e-3), "bytes": ("byte", 1),
          "instructions": ("integer", 1), "instructions of L1": ("integer", 1),
          "sites": ("integer", 1)}


def as_json(report: Report) -> dict[str, object]:
    """The report as one JSON object."""
    return {
        "schema": "kvm_vmx.measure/1", "measurable": report.measurable, "machine": report.machine,
        "rows": [dataclasses.asdict(row) for row in report.rows],
        "claims": [{**dataclasses.asdict(claim), "verdict": claim.verdict}
                   for claim in report.claims],
        "notes": report.notes,
    } | ({"beside": [_function(row) for row in report.beside]} if report.beside else {})


def _function(row: "FunctionCost") -> dict[str, object]:
    return {"mode": row.mode, "function": row.function, "port": row.port._asdict(),
            "kernel": row.kernel._asdict(), "ratio": row.ratio, "why": row.why}


def save(report: Report, path: str) -> None:
    """Write the rows that pyperf can hold to `path`, one benchmark each; beside it, where there
    are any, the ticks of every round, from which the intervals can be computed again."""
    pyperf = need("pyperf", "perf")
    benchmarks = []
    for row in report.rows:
        if row.unit not in PYPERF or row.value <= 0:
            continue
        unit, scale = PYPERF[row.unit]
        value = row.value * scale
        run = pyperf.Run(
            [float(value) if unit == "second" else round(value)],
            metadata={"name": f"{row.table}: {row.name}", "unit": unit, "kind": row.kind,
                      "loops": 1, **report.machine},
            collect_metadata=False)
        benchmarks.append(pyperf.Benchmark([run]))
    if not benchmarks:
        raise Trouble("nothing of this can be stored in pyperf's format: use --json")
    pyperf.BenchmarkSuite(benchmarks).dump(path, replace=True)
    if report.rounds:
        with open(f"{path}.rounds", "w") as file:
            json.dump({"schema": "kvm_vmx.rounds/1", "ticks": report.rounds}, file)
