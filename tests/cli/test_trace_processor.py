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
select process.name, from_thread.name, a.name, to_thread.name, count(*) from flow
join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id
join thread_track ta on a.track_id = ta.id join thread from_thread on ta.utid = from_thread.utid
join thread_track tb on b.track_id = tb.id join thread to_thread on tb.utid = to_thread.utid
join process on process.upid = from_thread.upid and process.upid = to_thread.upid
group by 1, 2, 3, 4
"""
# A load or a store, and the function in whose slice it is.
IN_FUNCTIONS = """
select access.name, function.name, count(*) from slice access
join thread_track at on access.track_id = at.id join thread lane on at.utid = lane.utid
join thread functions on functions.upid = lane.upid and functions.name = "KVM's functions"
join thread_track ft on ft.utid = functions.utid join slice function on function.track_id = ft.id
where lane.name = 'loads and stores of the eVMCS'
and function.ts <= access.ts and access.ts + access.dur <= function.ts + function.dur group by 1, 2
"""
# Which function of v4.19's vmx.c wants what of a CPUID's exit; the RIP that the skip has left in
# vcpu->arch is stored before the next entry.
WANTED = {
    ("load VM_EXIT_REASON", "vmx_vcpu_run"), ("load IDT_VECTORING_INFO_FIELD", "vmx_vcpu_run"),
    ("load VM_EXIT_INTR_INFO", "vmx_handle_external_intr"), ("load GUEST_RIP", "vmx_cache_reg"),
    ("load GUEST_RFLAGS", "vmx_get_rflags"), ("store GUEST_RIP", "vmx_vcpu_run"),
    ("load VM_EXIT_INSTRUCTION_LEN", "skip_emulated_instruction"),
    ("load GUEST_INTERRUPTIBILITY_INFO", "vmx_set_interrupt_shadow"),
    ("store hv_clean_fields", "vmx_vcpu_run"),
}
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
    for mode, out, name, to, count in ask(path, ARROWS):
        assert (out, to) == ("L1 CPU 0", "L0 (Hyper-V)")
        arrows[mode, name.split()[0]] += int(count)
    entries = arrows["eVMCS, step by step", "VMRESUME"]
    # from the first exit to the last entry, nine an exit under VMCS and one under eVMCS
    assert entries > 3 and arrows == {
        ("VMCS, step by step", "VMREAD"): 7 * (entries - 1),
        ("VMCS, step by step", "VMWRITE"): entries - 1,
        ("VMCS, step by step", "VMRESUME"): entries, ("eVMCS, step by step", "VMRESUME"): entries}
    assert sum(arrows.values()) == sum(event["ph"] == "s" for event in trace["traceEvents"])
    # and instead of eight of them, loads and stores in the functions that want them
    assert {(what, function): int(count) for what, function, count in ask(path, IN_FUNCTIONS)} == \
        dict.fromkeys(WANTED, entries - 1)


def test_an_arrow_from_nowhere_is_complained_of(traced, tmp_path):
    """So that no complaint about a trace says something."""
    trace = json.loads(json.dumps(traced[1]))
    next(event for event in trace["traceEvents"] if event["ph"] == "s")["tid"] = 99
    (tmp_path / "wrong.json").write_text(json.dumps(trace))
    assert ask(tmp_path / "wrong.json", TROUBLE) == [("flow_no_enclosing_slice", "1")]


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
