# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx run --trace in SQL, by Perfetto's own trace processor: the same as its JSON says."""

import collections
import csv
import io
import json
import subprocess

import pytest
from command import kvm_vmx

from kvm_vmx import host

pytestmark = pytest.mark.host("trace-processor")
EXITS = 12
SLICES = """
select process.name, thread.name, slice.name, count(*)
from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
join process using (upid) group by 1, 2, 3
"""
# An arrow's two ends, and on which lanes they are.
ARROWS = """
select process.name, a.name, b.name, count(*) from flow
join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id
join thread_track ta on a.track_id = ta.id join thread on ta.utid = thread.utid
join process using (upid) group by 1, 2, 3
"""
DURATIONS = """
select slice.name, min(slice.dur), max(slice.dur) from slice group by 1
"""
COUNTERS = "select process.name, count(*), sum(counter.value) from counter " \
    "join process_counter_track on counter.track_id = process_counter_track.id " \
    "join process using (upid) group by 1"
# What it could not take in, by its own count.
TROUBLE = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A trace as a file, and what it has as JSON."""
    path = tmp_path_factory.mktemp("perfetto") / "run.json"
    done = kvm_vmx("run", "--exits", EXITS, "--trace", path)
    assert done.returncode == 0, done.stderr
    return path, json.loads(path.read_text())


def ask(path, query):
    """The rows of one query, as text; the first line of what is printed names the columns."""
    (path.parent / "query.sql").write_text(query)
    done = subprocess.run(
        [host.find("trace-processor"), "-q", str(path.parent / "query.sql"), str(path)],
        capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [tuple(row) for row in csv.reader(io.StringIO(done.stdout)) if row][1:]


def named(trace):
    """({pid: process}, {(pid, tid): thread}) as the metadata has them."""
    found = {"process_name": {}, "thread_name": {}}
    for event in trace["traceEvents"]:
        if event["ph"] == "M" and event["name"] in found:
            at = (event["pid"] if event["name"] == "process_name"
                  else (event["pid"], event["tid"]))
            found[event["name"]][at] = event["args"]["name"]
    return found["process_name"], found["thread_name"]


def test_it_takes_in_all_and_complains_of_nothing(traced):
    assert ask(traced[0], TROUBLE) == []


def test_each_slice_is_on_its_lane(traced):
    path, trace = traced
    processes, threads = named(trace)
    wanted = collections.Counter(
        (processes[event["pid"]], threads[event["pid"], event["tid"]], event["name"])
        for event in trace["traceEvents"] if event["ph"] == "X")
    assert {row[:3]: int(row[3]) for row in ask(path, SLICES)} == wanted
    lengths = collections.defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            lengths[event["name"]].append(1000 * event["dur"])
    assert {name: (int(least), int(most)) for name, least, most in ask(path, DURATIONS)} == {
        name: (min(found), max(found)) for name, found in lengths.items()}


@pytest.mark.host("single-step")
def test_kernel_functions_are_slices_and_arrows_lead_to_l0(traced):
    """By SQL alone: what the eVMCS half has of functions, loads and stores, and of arrows."""
    path, trace = traced
    functions = {(mode, name) for mode, lane, name, _ in ask(path, SLICES)
                 if lane == "KVM's functions"}
    for mode in ("VMCS, step by step", "eVMCS, step by step"):
        assert {(mode, "vmx_vcpu_run"), (mode, "vcpu_enter_guest")} <= functions
    page = {mode for mode, lane, *_ in ask(path, SLICES) if lane == "loads and stores of the eVMCS"}
    assert page == {"eVMCS, step by step"}
    arrows = collections.Counter()
    for mode, out, _, count in ask(path, ARROWS):
        arrows[mode, out.split()[0]] += int(count)
    entries = arrows["eVMCS, step by step", "VMRESUME"]
    assert entries > 3 and arrows["eVMCS, step by step", "VMREAD"] == 0
    # from the first exit to the last entry, seven and one an exit
    assert arrows["VMCS, step by step", "VMREAD"] == 7 * (entries - 1)
    assert arrows["VMCS, step by step", "VMWRITE"] == entries - 1
    assert sum(arrows.values()) == sum(event["ph"] == "s" for event in trace["traceEvents"])


def test_the_bytes_that_are_read_again_are_counters(traced):
    path, trace = traced
    processes, _ = named(trace)
    wanted = collections.defaultdict(lambda: [0, 0])
    for event in trace["traceEvents"]:
        if event["ph"] == "C":
            for value in event["args"].values():
                wanted[processes[event["pid"]]][0] += 1
                wanted[processes[event["pid"]]][1] += value
    assert {name: [int(count), float(total)] for name, count, total in ask(path, COUNTERS)} == {
        name: [count, float(total)] for name, (count, total) in wanted.items()}
