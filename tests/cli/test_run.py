# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx run: its JSON, its page, its steady state, its guests."""

import re

import pytest
import schemed
from command import kvm_vmx, kvm_vmx_json

from kvm_vmx import host

USING_EVMCS = "KVM: vmx: using Hyper-V Enlightened VMCS"
M = {"exits", "instructions", "per_exit", "traps", "traps_per_exit", "groups_reread_per_entry",
     "bytes_reread_per_entry", "ns_per_exit", "ns_interval", "enable_evmcs", "reasons", "ended",
     "registers", "memory_sha256", "serial"}
INSTRUCTIONS = {"vmread", "vmwrite", "vmptrld", "vmclear", "vmlaunch", "vmresume"}


@pytest.fixture(scope="module")
def report():
    return kvm_vmx_json("run", "--exits", 20_000)


def test_schema(report):
    assert set(report) == {"schema", "modes", "timing", "verdict", "log", "by_call"}
    assert report["schema"] == "kvm_vmx.run/2"
    assert set(report["modes"]) == {"vmcs", "evmcs"}
    for mode in report["modes"].values():
        assert set(mode) == M
        assert set(mode["instructions"]) == set(mode["per_exit"])
        assert INSTRUCTIONS <= set(mode["per_exit"])


def test_steady_state_of_the_cpuid_loop(report):
    vmcs, evmcs = report["modes"]["vmcs"], report["modes"]["evmcs"]
    for mode, reads, writes in (vmcs, 7, 1), (evmcs, 0, 0):
        per_exit = mode["per_exit"]
        assert (per_exit["vmread"], per_exit["vmwrite"], per_exit["vmresume"]) == (reads, writes, 1)
        assert per_exit["exits"] == 1
        assert all(isinstance(value, int) for value in per_exit.values())
        assert not any(per_exit[name] for name in ("vmptrld", "vmclear", "vmlaunch", "wrmsr"))
    assert vmcs["bytes_reread_per_entry"] == vmcs["groups_reread_per_entry"] == 0
    # guest_rip and tpr_threshold: the two that every entry reads and every exit may change
    assert evmcs["bytes_reread_per_entry"] == 12


def test_the_key_the_exits_and_the_time(report):
    assert [mode["enable_evmcs"] for mode in report["modes"].values()] == [False, True]
    for mode in report["modes"].values():
        assert mode["exits"] == mode["instructions"]["exits"] == 20_000
        if report["timing"]["measurable"]:
            low, high = mode["ns_interval"]
            assert 0 < low <= mode["ns_per_exit"] <= high
        else:
            assert mode["ns_per_exit"] is mode["ns_interval"] is None



def test_the_log_says_when_evmcs_is_used(report):
    assert sum(USING_EVMCS in line for line in report["log"]) == 1


def test_the_page_is_the_log_and_then_the_table():
    done = kvm_vmx("run", "--exits", 3_000)
    assert (done.returncode, done.stderr) == (0, "")
    log, table, *_ = done.stdout.split("\n\n")
    assert USING_EVMCS in log
    rows = {line[:26].strip(): line[26:].split() for line in table.splitlines()}
    assert rows["exits"] == ["3,000", "3,000"]
    assert re.search(r"^vmread +[\d,]+ +7 +[\d,]+ +0$", table, re.M)
    assert re.search(r"^enable_evmcs +off +on$", table, re.M)
    assert re.search(r"^ns, measured here +(-|[\d.,]+) +(-|[\d.,]+)$", table, re.M)
    assert max(map(len, table.splitlines())) <= 100


def test_json_keeps_log_and_verdict_off_standard_output():
    done = kvm_vmx("run", "--exits", 100, "--json")
    assert schemed.kept_text(done.stdout)["modes"]["evmcs"]["exits"] == 100
    assert USING_EVMCS in done.stderr


@pytest.mark.parametrize("policy", ["never", "random", "random(7)", "commit_on_success"])
def test_no_result_depends_on_the_cache_policy(policy):
    report = kvm_vmx_json("run", "--exits", 500, "--cache-policy", policy)
    assert report["modes"]["evmcs"]["per_exit"]["vmread"] == 0
    assert report["modes"]["vmcs"]["per_exit"]["vmread"] == 7


def test_the_other_profile_runs_as_well():
    report = kvm_vmx_json("run", "--exits", 500, "--profile", "tlfs-strict")
    assert report["modes"]["evmcs"]["enable_evmcs"] is True


def test_lints_are_reported_and_a_strict_run_stops():
    done = kvm_vmx("run", "--exits", 200, "--lints", "--profile", "ice-lake")
    assert "\nR64: controls are offered whose fields an eVMCS has no place for\n" in done.stdout
    done = kvm_vmx("run", "--exits", 200, "--lints")
    assert "L1 broke no rule" in done.stdout or "HOST_RSP" in done.stdout
    report = kvm_vmx_json("run", "--exits", 200, "--lints")
    assert report["lints"] == [] or "HOST_RSP" in done.stdout
    done = kvm_vmx("run", "--exits", 200, "--strict")
    assert done.returncode == 0 or "Falls short: R39" in done.stdout


@pytest.mark.parametrize("exits", [1, 2, 9, 10, 11])
def test_few_exits_are_run_exactly(exits):
    report = kvm_vmx_json("run", "--exits", exits)
    assert [mode["exits"] for mode in report["modes"].values()] == [exits, exits]


GUESTS = {
    "hlt": (b"\xf4", "HLT"),                       # hlt
    "ud2": (b"\x0f\x0b", "SHUTDOWN"),              # #UD without an IDT: a triple fault
    "cpuid, hlt": (b"\x0f\xa2\xf4", "HLT"),
}


@pytest.mark.parametrize("code, reason", GUESTS.values(), ids=GUESTS)
def test_a_guest_that_ends_early_reports_fewer_exits(tmp_path, code, reason):
    guest = tmp_path / "guest.bin"
    guest.write_bytes(code)
    done = kvm_vmx("run", "--guest", guest, "--exits", 500)
    assert done.returncode == 0
    assert f"The guest ended early: {reason}." in done.stdout
    report = kvm_vmx_json("run", "--guest", guest, "--exits", 500)
    counts = {mode["exits"] for mode in report["modes"].values()}
    assert len(counts) == 1 and 0 < counts.pop() < 10


def test_more_cpus_change_nothing(report):
    wide = kvm_vmx_json("run", "--exits", 500, "--cpus", 64)
    for mode in "vmcs", "evmcs":
        assert wide["modes"][mode]["per_exit"] == report["modes"][mode]["per_exit"]


@pytest.mark.both("cpuid-faulting")
def test_what_stays_a_call_is_said_in_the_log_and_in_the_table():
    page = kvm_vmx("run", "--exits", 200, "--insn", "trap").stdout
    found = kvm_vmx_json("run", "--exits", 200, "--insn", "trap")
    stay = sorted({"mov_to_cr", *(name for name in ("cpuid", "vmcall")
                                  if not host.has(f"{name}-faulting"))})
    line = f"opcodes trap; by call: {', '.join(stay)}"
    assert line in page.splitlines() and line in found["log"] and found["by_call"] == stay
    for mode in found["modes"].values():
        executed = {name for name, count in mode["instructions"].items()
                    if count and name in mode["traps"]} | {"mov_to_cr"}
        # the row of each says so, and only of those: the counts beside it show it
        for name in executed:
            assert (f"\n{name}, by call " in page) == (name in stay) != (f"\n{name}  " in page)
            assert (mode["traps"].get(name, 0) == 0) == (name in stay)


def test_by_call_nothing_is_said_to_stay_a_call():
    done = kvm_vmx("run", "--exits", 200, "--insn", "call")
    assert "by call" not in done.stdout and "trap" not in done.stdout
