# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx run --trace: a Chrome trace by the rules of that format, and the run that it tells."""

import collections
import json

import pytest
from command import kvm_vmx

from kvm_vmx import Machine
from kvm_vmx.run.tracing import FEW, MOST, recorded, traced_exits, write_up
from kvm_vmx.machine.lints import ConformanceError, from_record
from kvm_vmx.machine.vcpu import Vcpu

EXITS = 30
LOOP = bytes.fromhex("b800000000" "0fa2" "ebf7")
INSIDE = 3      # instructions of L2 from exit to exit; the first time there is no jump
METADATA = {"process_name": "name", "process_sort_index": "sort_index", "thread_name": "name",
            "thread_sort_index": "sort_index"}


def check(trace):
    """The rules of the trace-event format (JSON object form) for the kinds of event used here."""
    assert set(trace) >= {"traceEvents", "displayTimeUnit"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    named, used, ends, last = set(), set(), collections.defaultdict(list), 0
    arrows = collections.defaultdict(list)
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["name"], str) and event["name"]
        assert isinstance(event.get("args", {}), dict)
        if event["ph"] == "M":
            assert set(event["args"]) == {METADATA[event["name"]]}
            named.add((event["pid"], event.get("tid")))
            continue
        assert event["ph"] in ("X", "C", "s", "f")
        assert isinstance(event["ts"], int) and event["ts"] >= last
        last = event["ts"]
        if event["ph"] in "sf":
            arrows[event["id"]].append(event)
            continue
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())
            used.add((event["pid"], None))
            continue
        assert isinstance(event["dur"], int) and event["dur"] >= 0
        lane = (event["pid"], event["tid"])
        used.add(lane)
        # a slice lies in the one that is open on its lane, or behind it
        open_slices = ends[lane]
        while open_slices and open_slices[-1] <= event["ts"]:
            open_slices.pop()
        assert not open_slices or event["ts"] + event["dur"] <= open_slices[-1]
        open_slices.append(event["ts"] + event["dur"])
    assert used <= named and {(pid, None) for pid, _ in used} <= named
    # an arrow has one end and one tip, not before it, each in a slice of its lane
    for start, end in arrows.values():
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"] and start["name"] == end["name"]
        for one in (start, end):
            assert any(event["ph"] == "X" and event["ts"] <= one["ts"] <= event["ts"] + event["dur"]
                       and (event["pid"], event["tid"]) == (one["pid"], one["tid"])
                       for event in trace["traceEvents"])


def lanes(trace, mode):
    """{lane's name: its slices} of one mode."""
    (pid,) = [event["pid"] for event in trace["traceEvents"]
              if event["name"] == "process_name" and event["args"]["name"] == mode]
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"]
             if event["name"] == "thread_name" and event["pid"] == pid}
    found = {name: [] for name in names.values()}
    for event in trace["traceEvents"]:
        if event["ph"] == "X" and event["pid"] == pid:
            found[names[event["tid"]]].append(event)
    return found


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "run.json"
    done = kvm_vmx("run", "--exits", EXITS, "--trace", path)
    assert done.returncode == 0 and done.stderr == ""
    assert f"{path}: loading, the first {EXITS} exits and unloading" in done.stdout
    return json.loads(path.read_text())


def test_it_keeps_the_rules_of_the_format(trace):
    check(trace)
    about = trace["otherData"]
    assert about["schema"] == "kvm_vmx.trace/1" and about["clock"].startswith("logical: ")
    assert about["instructions_lost"] == 0


@pytest.mark.parametrize("mode", ["VMCS", "eVMCS"])
def test_the_lanes(trace, mode):
    found = lanes(trace, mode)
    assert list(found) == ["user space", "L0 (Hyper-V)", "L1 CPU 0", "L1 CPU 1", "L2 (the guest)"]
    phases = found["user space"]
    assert [event["name"] for event in phases] == [
        "load kvm-intel", "create VM and vCPU", "run", "unload kvm-intel"]
    assert all(a["ts"] + a["dur"] == b["ts"] for a, b in zip(phases, phases[1:]))
    one, other = found["L1 CPU 0"], found["L1 CPU 1"]
    assert sum(event["args"]["instructions"] for event in phases) == len(one) + len(other)
    assert {event["name"] for event in other} >= {"VMXON", "VMXOFF"}
    guest = found["L2 (the guest)"]
    assert [(event["name"], event["dur"]) for event in guest] == [
        ("until CPUID", INSIDE - 1)] + [("until CPUID", INSIDE)] * (EXITS - 1)
    entries = [event for event in one if event["name"] in ("VMLAUNCH", "VMRESUME")]
    assert [event["name"] for event in entries] == ["VMLAUNCH"] + ["VMRESUME"] * (EXITS - 1)
    # an entry: L0 enters, L2 runs, L0 exits, all within L1's instruction
    work = {event["ts"]: event for event in found["L0 (Hyper-V)"]}
    for entry, inside in zip(entries, guest, strict=True):
        start, end = entry["ts"], entry["ts"] + entry["dur"]
        assert work[start]["name"] == "VM entry" and work[end - 1]["name"] == "VM exit: CPUID"
        assert (inside["ts"], inside["ts"] + inside["dur"]) == (start + 1, end - 1)
    assert len(found["L0 (Hyper-V)"]) == len(one) + len(other) + EXITS
    run = phases[2]
    assert all(run["ts"] <= event["ts"] < run["ts"] + run["dur"] for event in entries)


def test_what_the_modes_do_in_an_exit(trace):
    counts = {}
    for mode in ("VMCS", "eVMCS"):
        start, end = [event["ts"] for event in lanes(trace, mode)["L1 CPU 0"]
                      if event["name"] == "VMRESUME"][-2:]
        counts[mode] = collections.Counter(
            event["name"].split()[0] for event in lanes(trace, mode)["L1 CPU 0"]
            if start < event["ts"] <= end)
    assert counts == {"VMCS": {"VMREAD": 7, "VMWRITE": 1, "VMRESUME": 1}, "eVMCS": {"VMRESUME": 1}}
    names = {event["name"] for event in lanes(trace, "VMCS")["L1 CPU 0"]}
    assert {"VMREAD VM_EXIT_REASON", "VMWRITE GUEST_RIP"} <= names
    assert not any("VMREAD" in event["name"] for event in lanes(trace, "eVMCS")["L1 CPU 0"])
    for pid, first, steady in (1, 0, 0), (2, 600, 12):
        reread = [event["args"]["bytes"] for event in trace["traceEvents"]
                  if event["ph"] == "C" and event["pid"] == pid]
        assert len(reread) == EXITS and reread[0] >= first and set(reread[1:]) == {steady}


def test_it_is_the_same_by_call_and_by_trap(tmp_path, trace):
    path = tmp_path / "trap.json"
    done = kvm_vmx("run", "--exits", EXITS, "--trace", path, "--insn", "trap", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["schema"] == "kvm_vmx.run/2"
    assert str(path) in done.stderr

    def told(trace):
        return [(event["name"], event.get("ts")) for event in trace["traceEvents"]]
    assert told(json.loads(path.read_text())) == told(trace)


def test_its_size_is_bounded_and_said(tmp_path):
    path = tmp_path / "run.json"
    done = kvm_vmx("run", "--exits", 5_000, "--trace", path)
    assert f"the first {MOST:,} exits" in done.stdout
    trace = json.loads(path.read_text())
    check(trace)
    assert len(lanes(trace, "eVMCS")["L2 (the guest)"]) == MOST
    assert trace["otherData"]["exits_asked_for"] == 5_000


def test_a_guest_that_ends_and_many_cpus(tmp_path):
    guest, path = tmp_path / "halt.bin", tmp_path / "run.json"
    guest.write_bytes(b"\xf4")
    done = kvm_vmx("run", "--guest", guest, "--cpus", 70, "--trace", path)
    assert done.returncode == 0 and "the first 1 exits" in done.stdout
    trace = json.loads(path.read_text())
    check(trace)
    assert trace["otherData"]["instructions_lost"] == 0
    for mode in ("VMCS", "eVMCS"):
        found = lanes(trace, mode)
        assert len(found) == 73
        assert [event["name"] for event in found["L2 (the guest)"]] == ["until HLT"]


def test_a_strict_run_is_traced_as_far_as_it_went(monkeypatch):
    run, lint = Vcpu.run, from_record("stale_field", 0, None)

    def stopped(vcpu, exits):
        run(vcpu, exits=exits)
        raise ConformanceError(lint)

    monkeypatch.setattr(Vcpu, "run", stopped)
    with Machine(cpus=1) as machine:
        phases = recorded(machine, "evmcs", LOOP, 2 << 20, 10, "hyperv")
    assert [name for name, _ in phases] == ["load kvm-intel", "create VM and vCPU", "run"]
    check(write_up({"evmcs": phases}, 1, 10))
    assert traced_exits({"evmcs": phases}) == 10


def test_what_the_ring_could_not_hold_is_counted():
    with Machine(cpus=1) as machine:
        phases = recorded(machine, "vmcs", LOOP, 2 << 20, 10, "hyperv")
    assert write_up({"vmcs": phases}, 1, 10)["otherData"]["instructions_lost"] == 0
    name, records = phases[2]
    phases[2] = name, records[:5] + records[9:]
    assert write_up({"vmcs": phases}, 1, 10)["otherData"]["instructions_lost"] == 4
    assert max(len(records) for _, records in phases) < FEW


@pytest.mark.parametrize("name", ["/nowhere/run.json", "/", ""])
def test_a_bad_name_is_one_line_before_the_run(name):
    done = kvm_vmx("run", "--exits", 10**12, "--trace", name)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "give the name of a file" in done.stderr


@pytest.mark.host("single-step")
def test_the_walk_has_functions_arrows_and_what_traps_nowhere(tmp_path):
    """Behind the run: under VMCS an arrow for each access and each entry, under eVMCS for entries
    alone, and as many loads and stores instead, with the clean bits' store at each exit."""
    done = kvm_vmx("run", "--exits", 6, "--trace", tmp_path / "t.json")
    assert done.returncode == 0, done.stderr
    trace = json.loads((tmp_path / "t.json").read_text())
    check(trace)
    arrows = {mode: [event for event in trace["traceEvents"] if event["ph"] == "s"
                     and event["pid"] == n] for n, mode in ((3, "VMCS"), (4, "eVMCS"))}
    plain, light = (lanes(trace, f"{mode}, step by step") for mode in ("VMCS", "eVMCS"))
    exits = sum(event["name"] == "VMRESUME" for event in arrows["VMCS"]) - 1
    assert exits > 3 and sum(event["name"] == "VMRESUME" for event in arrows["eVMCS"]) == exits + 1
    assert len(arrows["VMCS"]) == 8 * exits + exits + 1 and len(arrows["eVMCS"]) == exits + 1
    page = light["loads and stores of the eVMCS"]
    assert len(page) == 9 * exits and plain["loads and stores of the eVMCS"] == []
    assert sum("hv_clean_fields" in event["name"] for event in page) == exits
    for found in (plain, light):
        names = {event["name"] for event in found["KVM's functions"]}
        assert {"vmx_vcpu_run", "vcpu_enter_guest", "skip_emulated_instruction"} <= names
