# SPDX-License-Identifier: GPL-2.0-only
"""The figures of README.md and perf/README.md, printed from what perf/baseline.py wrote down."""

import json
import re

from cheaders import ROOT

RECORD = ROOT / "perf/baselines/figures.json"
SAMPLE = ROOT / "perf/baselines/run.txt"
BLOCK = re.compile(r"(<!-- figures: begin -->\n).*?(<!-- figures: end -->)", re.S)

# What a page shows: its words, and the table and name of the row in the record.
README = (
    ("the key, off: a CPUID exit over the tree before the patch",
     "one exit, over the tree before", "key off"),
    ("the key, off: a store behind it over the same store alone",
     "over a raw store, key off", "store_key"),
    ("a flag instead: a store behind it over the same store alone",
     "over a raw store, key off", "store_flag"),
    ("a VMREAD under eVMCS, over a raw store", "an access over a raw store", "readl"),
    ("a VMWRITE under eVMCS with its clean bit, over a raw store",
     "an access over a raw store", "writel"),
    ("L0 alone: an entry and its exit, no group dirty", "one entry by dirty group", "none"),
    ("L0 alone: all of GUEST_GRP2 dirty", "one entry by dirty group", "GUEST_GRP2"),
    ("a flip of the key, all sites of the module", "loading", "one flip of the key"),
    ("insmod on 4,096 CPUs", "loading", "insmod, 4096 CPUs"),
    ("two vCPU threads on two CPUs, against one", "two threads on two CPUs", "times one thread"),
)
PERF = (
    ("one exit under eVMCS, fresh processes", "one exit", "key on"),
    ("one exit under VMCS, fresh processes", "one exit", "key off"),
    ("one exit in the tree before the patch", "one exit", "before"),
    ("one exit with a flag in the key's place", "one exit", "flag"),
    ("one eVMCS exit", "instructions an exit, eVMCS, by side", "all"),
    ("of these in L1", "instructions an exit, eVMCS, by side", "L1"),
    ("of these in L0", "instructions an exit, eVMCS, by side", "L0"),
    ("one VMCS exit", "instructions an exit, VMCS, by side", "all"),
    *README,
    ("insmod on 4,096 CPUs, by CPU time", "loading", "insmod, 4096 CPUs, by CPU time"),
    ("two vCPU threads on two CPUs, by CPU time",
     "two threads on two CPUs", "times one thread, by CPU time"),
    ("two copies of one access loop, key off (A/A)", "A/A control", "accesses, key off"),
    ("two loads of one build, an exit (A/A)", "A/A control", "exits"),
)


def files(made: dict[str, str]) -> dict[str, str]:
    """The two pages with their figures; a page that was `made` anew is taken from there."""
    if not RECORD.exists():
        return {}
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    pages = {}
    for path, rows in (("README.md", README), ("perf/README.md", PERF)):
        if (file := ROOT / path).exists():
            text = made.get(path) or file.read_text(encoding="utf-8")
            pages[path] = BLOCK.sub(
                lambda block: f"{block[1]}{table(record, rows)}{block[2]}", text)
    if "README.md" in pages and SAMPLE.exists():
        pages["README.md"] = sampled(pages["README.md"], SAMPLE.read_text(encoding="utf-8"))
    return pages


def table(record: dict, rows) -> str:
    """The rows as a table, under the machine that they were taken on."""
    found = {(row["table"], row["name"]): row for row in record["rows"]}
    lines = [f"| what | {machine(record['machine'])} |", "|---|---|"]
    for words, *place in rows:
        row = found.get(tuple(place))
        if row:
            lines.append(f"| {words} | {figure(row)} |")
    if not record["measurable"]:
        lines.append("| (no time was measurable then: two copies of one loop differed) | |")
    return "\n".join(lines) + "\n"


def machine(of: dict) -> str:
    """Which machine, compiler and load, in a few words."""
    virtual = ", a virtual machine" if of.get("hypervisor") else ""
    load = f", load {of['load_avg_1min']:.1f}" if "load_avg_1min" in of else ""
    return (f"{of['cpu_model_name']}{virtual}, {of['cpu_count']} CPUs, {of['compiler']}{load}, "
            f"{of['date']}")


def figure(row: dict) -> str:
    """A number with its unit, interval and kind; an interval on both sides of zero is no result."""
    unit = f" {row['unit']}" if row["unit"] else ""
    interval = "" if row["low"] is None else f" [{digits(row['low'])}, {digits(row['high'])}]"
    shows = ", no difference shown" if interval and row["low"] < 0 < row["high"] else ""
    return f"{digits(row['value'])}{unit}{interval}{shows}, {row['kind']}"


def digits(value: float) -> str:
    """Three digits that count, and no fewer than stand before the point."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else \
        f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def sampled(page: str, sample: str) -> str:
    """README with the times of a recorded `kvm-vmx run` in its sample, and nothing else of it."""
    for start in ("ns, measured here", "ns, 95 % interval"):
        line = next((line for line in sample.splitlines() if line.startswith(start)), None)
        if line:
            page = re.sub(rf"^{start}.*$", lambda _: line.rstrip(), page, count=1, flags=re.M)
    return page
