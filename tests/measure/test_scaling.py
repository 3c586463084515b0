# SPDX-License-Identifier: GPL-2.0-only
"""measure scale: what is counted is asserted, a leak or a bend is noticed, the curves are drawn."""

import re
import xml.etree.ElementTree as xml

import pytest

from kvm_vmx import host
from kvm_vmx.measure import scaling
from kvm_vmx.measure.curves import curve
from kvm_vmx.measure.page import page
from kvm_vmx.measure.report import COUNTED, MEASURED, Report, Measurement
from kvm_vmx.measure.store import save


def say(text):
    pass


@pytest.fixture(scope="module")
def counted():
    report = Report()
    scaling.run(report, say)
    return report


def test_every_count_holds_up_to_the_largest(counted):
    assert [claim.verdict for claim in counted.claims] == ["holds"] * 7
    assert {row.kind for row in counted.rows} == {COUNTED}
    for table, last in (("an exit by vCPUs on a CPU, eVMCS", "1,000"), ("insmod by CPUs", "4,096"),
                        ("a lifetime of a VM, by lifetimes before it", "1,000")):
        rows = counted.in_table(table)
        assert rows[0].name == "1" and rows[-1].name == last


def test_an_exit_is_the_mails_loop(counted):
    """7 VMREADs, 1 VMWRITE and the VMRESUME, or the VMRESUME alone, with however many vCPUs."""
    for mode, many in (("VMCS", 9), ("eVMCS", 1)):
        rows = counted.in_table(f"an exit by vCPUs on a CPU, {mode}")
        assert {row.value for row in rows} == {many}


def test_what_is_kept_by_a_vm_is_noticed(monkeypatch):
    kept = []

    def live(module):
        vm = module.create_vm(code=scaling.CPUID_LOOP, memory=scaling.MEMORY)
        vm.create_vcpu(cpu=0).run(exits=2)
        kept.append(vm)

    monkeypatch.setattr(scaling, "live", live)
    report = Report()
    scaling.lifetimes(report, 100, timed=False)
    assert report.claims[0].verdict == "missed"


def test_a_load_that_bends_is_noticed(monkeypatch):
    monkeypatch.setattr(scaling, "CPUS", (1, 8, 64))
    # of each machine the load, then the two stretches of exits
    bent = [1, 0, 0, 8 ** 2, 0, 0, 64 ** 2, 0, 0]
    monkeypatch.setattr(scaling, "executed", lambda machine, call: (call(), bent.pop(0))[1])
    report = Report()
    scaling.count_loads(report)
    assert report.claims[0].verdict == "missed" and "off the line" in report.claims[0].figure
    assert report.claims[1].verdict == "holds"
    assert report.claims[2].verdict == "open"     # no exit executed anything


def test_the_times_have_their_rows_and_curves(monkeypatch, tmp_path):
    """In brief: the shape, not the times."""
    for name, value in (("VCPUS", (1, 3)), ("CPUS", (1, 5)), ("THREADS", (1, 3)),
                        ("LIFETIMES", (1, 10)), ("ROUNDS", 2), ("THREAD_EXITS", 400)):
        monkeypatch.setattr(scaling, name, value)
    report = Report()
    scaling.run(report, say)
    scaling.run_timed(report, say)
    assert len({(row.table, row.name) for row in report.rows}) == len(report.rows)
    tables = dict.fromkeys(row.table for row in report.rows if row.kind == MEASURED)
    assert list(tables) == [
        "a lifetime of a VM: its time", "resident memory by lifetimes of VMs",
        "one exit by vCPUs on a CPU", "insmod by CPUs of the machine",
        "one exit by CPUs of the machine", "one exit by threads"]
    assert all(row.value > 0 for row in report.rows)
    text = page(report)
    root = xml.fromstring(re.sub(r"<!DOCTYPE html>|<meta [^>]*>", "", text))
    assert len(root.findall(".//{http://www.w3.org/2000/svg}svg")) == len(tables)
    if host.has("pyperf"):
        save(report, str(tmp_path / "scale.json"))
    assert not re.search(r"(?:src|href)=|<script|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text


def test_what_is_linear_is_a_straight_line_where_both_axes_are_logarithmic():
    rows = [Measurement("t", f"{n}", 3.0 * n, "ms", MEASURED, low=2.5 * n, high=4.0 * n)
            for n in (1, 10, 100, 1_000)]
    svg = xml.fromstring(curve("CPUs", True)(rows))
    name = "{http://www.w3.org/2000/svg}"
    points = [tuple(map(float, point.split(","))) for point in
              svg.find(f"{name}polyline").get("points").split()]
    slopes = {round(b[1] - a[1], 0) for a, b in zip(points, points[1:])}
    assert len(slopes) == 1 and slopes.pop() < 0
    assert len(svg.findall(f"{name}path")) == len(svg.findall(f"{name}circle")) == 4


def test_what_is_flat_is_a_level_line_on_the_page():
    rows = [Measurement("t", f"{n}", 56.4, "ns", MEASURED) for n in (1, 10)]
    svg = xml.fromstring(curve("vCPUs")(rows))
    points = svg.find("{http://www.w3.org/2000/svg}polyline").get("points").split()
    assert len({point.split(",")[1] for point in points}) == 1
    assert svg.find(".//{http://www.w3.org/2000/svg}title").text == "1 vCPUs: 56.40 ns"
