# SPDX-License-Identifier: GPL-2.0-only
"""Tier 1: instructions by callgrind; ratios, differences and bounds, no absolute counts."""

import hashlib
import pathlib
import pickle
import sys

import pytest

import kvm_vmx
from kvm_vmx import building
from kvm_vmx.measure import counts
from kvm_vmx.measure.loops import ACCESSORS, GROUPS, RSP_WAYS
from kvm_vmx.measure.report import Report

pytestmark = [pytest.mark.host("valgrind"), pytest.mark.long]


def counted_of():
    """A digest of all that the counts are of: the modules, what starts them, and the port's C, of
    which its other builds are made."""
    root = pathlib.Path(kvm_vmx.__file__).parent
    digest = hashlib.sha256(sys.version.encode() + repr(counts.VALGRIND).encode())
    for path in sorted([*root.rglob("*.so"), *root.rglob("*.py"), building.sources()[0]]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def found(request):
    """The counts, which are the same each time, so that they are kept while the modules are."""
    if not hasattr(request.config, "cache"):
        return counts.profiles()
    kept = request.config.cache.mkdir("counts") / counted_of()
    if not kept.exists():
        profiles = counts.profiles()
        for old in kept.parent.iterdir():
            old.unlink()
        kept.write_bytes(pickle.dumps([(name, profile.turns, dict(profile))
                                       for name, profile in profiles.items()]))
        return profiles
    found = {}
    for name, turns, profile in pickle.loads(kept.read_bytes()):
        found[name] = counts.InstructionProfile(profile)
        found[name].turns = turns
    return found


@pytest.mark.parametrize("accessor", [accessor.name for accessor in ACCESSORS])
def test_the_key_off_is_one_instruction_an_access(found, accessor):
    assert found[f"hyperv off: {accessor}"].total - found[f"before off: {accessor}"].total == 1


@pytest.mark.parametrize("accessor", [accessor.name for accessor in ACCESSORS])
@pytest.mark.parametrize("state", ["off", "on"])
def test_an_accessor_executes_what_c_executes(found, accessor, state):
    ours, c = (found[f"hyperv {state}: {name}"] for name in (accessor, f"c_{accessor}"))
    assert ours.total == c.total


def test_the_key_costs_less_than_a_flag(found):
    store, key, flag = (found[f"hyperv off: {name}"].total
                        for name in ("store", "store_key", "store_flag"))
    assert key - store == 1 and flag - store > 1


def test_a_write_under_evmcs_is_a_few_instructions(found):
    """The kernel's: two loads of the pointer, the store, the AND, and the jump of the label."""
    store = found["hyperv on: store"].total
    assert found["hyperv on: writel"].total - store == 5
    assert found["hyperv on: write_rip"].total - store == 4
    assert found["hyperv on: writel"].total * 4 < found["hyperv off: writel"].total


def test_the_key_off_is_at_most_16_instructions_an_exit(found):
    more = found["hyperv off: exit"].total - found["before off: exit"].total
    assert 10 <= more <= 16


def test_the_nops_of_an_exit_are_its_sites(found):
    """7 reads, 1 write, and the two tests of vmx_vcpu_run() itself."""
    after, before = (found[f"{config} off: exit"] for config in ("hyperv", "before"))
    nops = counts.mnemonics(after)["nop"] - counts.mnemonics(before)["nop"]
    assert after.a_turn(nops) == 7 + 1 + 2


# Executed instructions of the port that stand behind the form's key: an access is one of them, a
# change of bits two. An exit under VMCS has 7 reads and 1 write, and in both modes one entry.
FORMS = {"clear_bits": 2, "set_bits": 2}


@pytest.mark.parametrize("accessor", [accessor.name for accessor in ACCESSORS])
def test_by_call_the_opcodes_cost_an_access_the_nop_of_their_key(found, accessor):
    """Against a build without them. Under eVMCS there is no access by instruction."""
    assert counts.added_by_form(found, f"hyperv off: {accessor}") == {"nop": FORMS.get(accessor, 1)}
    assert counts.added_by_form(found, f"hyperv on: {accessor}") == {}


@pytest.mark.parametrize("state, nops", [("off", 7 + 1 + 1), ("on", 1)])
def test_by_call_the_opcodes_cost_an_exit_the_nops_of_their_key(found, state, nops):
    added = counts.added_by_form(found, f"hyperv {state}: exit")
    # of the rest the compiler may make less, never more
    assert added.pop("nop") == nops and sum(added.values()) <= 0


def test_rsp_is_noted_by_as_many_instructions_as_each_way_has(found):
    """Under eVMCS: test, jump, MOV, jump; jump, MOV; MOV."""
    test, again, key, poke = (found[f"hyperv on: {name}"].total for name in RSP_WAYS)
    assert (again - test, key - test, poke - test) == (0, -2, -3)


def test_a_flip_changes_the_protection_once_and_back(found):
    """Two calls for hundreds of sites."""
    assert found["hyperv off: flip_key"].calls("mprotect") == 2 * 2


def test_every_count_is_whole(found):
    assert {name: profile.total for name, profile in found.items()
            if profile.total != int(profile.total)} == {}


@pytest.mark.parametrize("state", ["off", "on"])
def test_an_exit_takes_no_lock_and_calls_no_allocator(found, state):
    profile = found[f"hyperv {state}: exit"]
    assert counts.locked(profile) == []
    assert not {"malloc", "free", "calloc", "realloc"} & set(profile.by_function())
    assert "vmx_vcpu_run" in profile.by_function()


def test_an_exit_runs_in_the_package_s_own_modules(found):
    for state in ("off", "on"):
        rooms = {name.split("/")[0] for name in found[f"hyperv {state}: exit"].by_object()}
        assert {"l0", "l1"} <= rooms <= {"l0", "l1", "linux", "measure"}


def test_enlightened_exits_execute_fewer_instructions(found):
    # by a number and not by a ratio: a shorter exit under VMCS is no fault
    assert found["hyperv on: exit"].total + 100 < found["hyperv off: exit"].total


def test_a_clean_entry_is_the_cheapest(found):
    clean = found["hyperv on: entry none"].total
    assert all(found[f"hyperv on: entry {name}"].total > clean for name in GROUPS.values())


def test_an_entry_costs_more_with_each_dirty_group(found):
    steps = [found[f"hyperv on: entry first {n}"].total for n in range(1, len(GROUPS) + 1)]
    assert steps == sorted(steps)


def test_a_report_of_every_part(found):
    report = Report()
    for part in counts.PARTS.values():
        part(report, found)
    assert len(report.rows) > 80 and {row.kind for row in report.rows} == {"counted"}
    assert report.missed == []
    remarks = [claim for claim in report.claims if claim.verdict == "remark"]
    # what L1 executes by itself is more than the bound: no L0 could meet it
    l1 = report.find("instructions an exit, eVMCS, by side", "L1").value
    assert [claim.text for claim in remarks] == [
        "eVMCS: one exit executes at most 350 instructions"] * (l1 > 350)
    assert all(f"L1 alone has {l1:,.0f}" in claim.cannot for claim in remarks)
