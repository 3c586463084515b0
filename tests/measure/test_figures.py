# SPDX-License-Identifier: GPL-2.0-only
"""The figures of the pages: printed from the baselines, each with its interval, and once a page."""

import json
import pathlib
import re
import subprocess
import sys

import figures
import pytest

from kvm_vmx.measure.report import MEASURED, Measurement
from kvm_vmx.measure.terminal import interval

PERF = pathlib.Path(__file__).parents[2] / "perf"


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A tree of two pages and a record that a test can change; printed() is what becomes of it."""
    (tmp_path / "perf/baselines").mkdir(parents=True)
    for path in ("README.md", "perf/README.md"):
        (tmp_path / path).write_text("before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\n"
                                     "ns, measured here   1   2\nns, 95 % interval: 3\n")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "RECORD", tmp_path / "perf/baselines/figures.json")
    monkeypatch.setattr(figures, "SAMPLE", tmp_path / "perf/baselines/run.txt")
    found = {"measurable": True, "machine": {
        "cpu_model_name": "AMD EPYC", "hypervisor": True, "cpu_count": 2, "compiler": "gcc 12.2.0",
        "load_avg_1min": 0.25, "date": "2026-01-02"}, "rows": [
            row("one exit, over the tree before", "key off", 0.8, "cycles", 0.2, 130.4),
            row("instructions an exit, eVMCS, by side", "all", 797, "instructions")]}

    def printed():
        figures.RECORD.write_text(json.dumps(found))
        return figures.files({})

    found["printed"] = printed
    return found


def row(table, name, value, unit, low=None, high=None):
    return {"table": table, "name": name, "value": value, "unit": unit, "low": low, "high": high,
            "kind": "counted" if low is None else "measured here"}


def test_a_figure_has_its_machine_its_interval_and_its_kind(record):
    printed = record.pop("printed")()
    for page in printed.values():
        assert page.startswith("before\n<!-- figures: begin -->\n| what | AMD EPYC, a virtual "
                               "machine, 2 CPUs, gcc 12.2.0, load 0.2, 2026-01-02 |\n|---|---|\n")
        assert "| 0.80 cycles [0.20, 130], measured here |" in page and "old" not in page
    assert "797 instructions, counted" in printed["perf/README.md"]
    assert "797" not in printed["README.md"]


@pytest.mark.parametrize("low, high, shows", [
    (-163.0, 101.0, False), (-0.1, 0.1, False), (0.0, 0.0, True), (0.0, 3.0, True),
    (-3.0, 0.0, True), (-3.0, -1.0, True), (0.2, 130.4, True), (None, None, True)])
def test_an_interval_on_both_sides_of_zero_is_no_result(low, high, shows):
    found = row("one exit", "key off", -1.0, "cycles", low, high)
    said = interval(Measurement("one exit", "key off", -1.0, "cycles", MEASURED, low, high))
    for text in (figures.figure(found), said):
        assert ("no difference shown" in text) is not shows


def test_what_was_not_measurable_says_so(record):
    printed = record.pop("printed")
    record["measurable"] = False
    assert "no time was measurable" in printed()["README.md"]


def test_the_sample_of_the_main_job_is_the_recorded_run_s(record):
    printed = record.pop("printed")
    times = "ns, measured here  70.1  55.2\nns, 95 % interval: VMCS 7\n"
    figures.SAMPLE.write_text(f"log\n{times}")
    assert printed()["README.md"].endswith(f"\n{times}")
    assert printed()["perf/README.md"].endswith("\nns, 95 % interval: 3\n")


def test_without_a_record_nothing_is_printed(record):
    assert figures.files({}) == {}


def test_a_page_that_is_printed_already_is_printed_on(record):
    record.pop("printed")()
    page = "made\n<!-- figures: begin -->\n<!-- figures: end -->\n"
    assert figures.files({"README.md": page})["README.md"].startswith("made\n")


def test_no_page_has_two_figures_for_one_thing():
    for rows in (figures.README, figures.PERF):
        assert len({words for words, *_ in rows}) == len({tuple(place) for _, *place in rows}) \
            == len(rows)
    # the sample above it has the exit's time; and outside of the table none is given
    assert not any(table == "one exit" for _, table, _ in figures.README)
    for path in (PERF / "README.md", PERF.parent / "README.md"):
        page = figures.BLOCK.sub("", path.read_text())
        page = re.sub(r"^```.*?^```", "", page, flags=re.M | re.S)
        assert not re.search(r"\d \[\d|\d(?:\.\d+)? (?:and|to) \d+(?:\.\d+)? ns\b", page), path


def test_every_row_of_a_page_is_in_the_record():
    """Where the baselines were taken whole: a row that is renamed is noticed here."""
    found = json.loads((PERF / "baselines/figures.json").read_text())
    names = {(row["table"], row["name"]) for row in found["rows"]}
    assert [place for _, *place in figures.PERF if tuple(place) not in names] == []
    assert {"cpu_model_name", "compiler", "load_avg_1min", "date"} <= found["machine"].keys()


@pytest.mark.host("capstone", "pyperf")
def test_the_baseline_of_tier_0_is_one_command(tmp_path):
    done = subprocess.run([sys.executable, PERF / "baseline.py", "-o", tmp_path, "--tier", "0",
                           "--only", "measure"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"measure +\d+ s, load \d+\.\d before it, status 0\n", done.stdout)
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json", "measure.json"}
