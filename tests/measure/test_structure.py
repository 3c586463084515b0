# SPDX-License-Identifier: GPL-2.0-only
"""Tier 0: the static key in the text of the builds, and the loops that are timed."""

import collections
import json
import pathlib
import re
import subprocess

import pytest

from kvm_vmx import Machine
from kvm_vmx.measure import structure, machine_code
from kvm_vmx.measure.loops import ACCESSORS, GROUPS, STORES, loaded, module
from kvm_vmx.measure.report import Report

pytestmark = pytest.mark.host("capstone")
ROOT = pathlib.Path(__file__).parents[2]
BRANCHES = json.loads((ROOT / "tests/data/static_branches_4.19.json").read_text())
SOURCE = (ROOT / "kvm_vmx/l1/vmx.pyx").read_text().split("\n")
OUT_OF_LINE = [f"call_vmcs_{kind}{width}" for kind in ("read", "write")
               for width in ("16", "32", "64", "l")] + ["call_vmcs_set_bits",
                                                        "call_vmcs_clear_bits"]
PROBES = ["probe_write_guest_rsp", "probe_write_guest_rip", "probe_read_guest_rip",
          "probe_read_exit_reason"]


@pytest.fixture
def machine():
    with Machine(cpus=1, insn="call") as machine:
        # the text of a build keeps the form in which it was loaded last
        for config in ("before", "no-hyperv", "hyperv"):
            machine.insmod(enlightened_vmcs=False, config=config).rmmod()
        yield machine


@pytest.fixture(params=[False, True], ids=["off", "on"])
def world(machine, request):
    with loaded(machine, "hyperv", request.param) as world:
        yield world


def test_every_entry_of_the_jump_table_in_both_states(world):
    found = structure.sites(world.machine)
    assert len(found) > 100
    assert structure.bad_sites(found, world.kvm.enable_evmcs) == []
    assert len(structure.bad_sites(found, not world.kvm.enable_evmcs)) == len(found)


def test_a_site_is_one_instruction_of_its_function(world):
    mnemonic = "jmp" if world.kvm.enable_evmcs else "nop"
    for site in structure.sites(world.machine):
        one = machine_code.decode(site["address"])
        assert (one.mnemonic, one.size) == (mnemonic, 5)
        assert one.target == (site["target"] if mnemonic == "jmp" else None)


@pytest.mark.parametrize("name", [accessor.name for accessor in ACCESSORS if accessor.reads])
def test_where_a_vmread_goes_nothing_else_is_stored(machine, name):
    with loaded(machine, "hyperv", False):
        turn = machine_code.loop(module("hyperv").__file__, f"bench_{name}")
    at_stack = [one for one in turn if one.memory and "[rsp" in one.operands]
    assert [one.mnemonic for one in at_stack][0] == "lea"
    assert any(one.mnemonic.startswith("mov") for one in at_stack)
    assert not any(one.memory[2] for one in at_stack)


@pytest.mark.parametrize("name", OUT_OF_LINE + PROBES)
def test_an_accessor_has_one_site(world, name):
    assert [site["function"] for site in structure.sites(world.machine)].count(name) == 1


def uses():
    """static_branch_unlikely(&enable_evmcs) by function of the port's source."""
    found, function = collections.Counter(), None
    for line in SOURCE:
        if match := re.match(r"cdef [^=:]*?(\w+)\(", line):
            function = match[1]
        found[function] += line.count("static_branch_unlikely(&enable_evmcs)")
    return {name: count for name, count in found.items() if count}


def test_branches_of_the_source_are_those_of_v4_19():
    assert uses() == {name: keys["enable_evmcs"] for name, keys in BRANCHES.items()
                      if "enable_evmcs" in keys}


def origins(file, addresses):
    """The lines of vmx.pyx that each address was compiled from, innermost first, by the
    compiler's own line table; the heads of the functions around them are left out."""
    names = [f"{address:#x}" for address in addresses]
    out = subprocess.run(["addr2line", "-i", "-a", "-e", file, *names],
                         capture_output=True, text=True, check=True).stdout
    chains = []
    for line in out.splitlines():
        if line.startswith("0x"):
            chains.append([])
        elif match := re.search(r"kvm_vmx/l1/vmx\.pyx:(\d+)", line):
            origin = SOURCE[int(match[1]) - 1]
            if not origin.startswith("cdef "):
                chains[-1].append(origin.strip())
    return chains


@pytest.fixture
def chains(machine):
    """(function, origins) of each site of the port itself."""
    with loaded(machine, "hyperv", True) as world:
        base = machine_code.load_base(world.kvm.path)
        sites = [site for site in structure.sites(machine)
                 if not site["function"].startswith(("bench_", "probe_", "call_"))]
        addresses = [site["address"] - base for site in sites]
        yield [(site["function"], chain)
               for site, chain in zip(sites, origins(world.kvm.path, addresses), strict=True)]


def test_every_site_comes_from_a_branch_of_the_source(chains):
    """Inlined or not, the line that it was compiled from tests the key."""
    assert len(chains) > 100
    for function, chain in chains:
        assert "static_branch_unlikely(&enable_evmcs)" in chain[0], (function, chain)


def test_sites_of_an_exit_are_those_of_v4_19(chains):
    """vmx_vcpu_run() tests the key itself twice; each other site there is one access."""
    here = [chain for function, chain in chains if function == "vmx_vcpu_run"]
    direct = [chain[0] for chain in here if len(chain) == 1]
    assert len(direct) == BRANCHES["vmx_vcpu_run"]["enable_evmcs"]
    assert sum("evmcs_rsp" in line for line in direct) == 1
    accesses = " ".join(chain[1] for chain in here if len(chain) > 1)
    for field in ("GUEST_RSP", "GUEST_RIP", "HOST_CR3", "HOST_CR4", "PLE_WINDOW",
                  "VM_EXIT_REASON", "IDT_VECTORING_INFO_FIELD", "VM_EXIT_INTR_INFO"):
        assert field in accesses


@pytest.mark.parametrize("accessor", [accessor.name for accessor in ACCESSORS])
def test_key_off_an_accessor_is_the_tree_before_and_one_nop(machine, accessor):
    new, nops = structure.loop_text("hyperv", accessor)
    old, fewer = structure.loop_text("before", accessor)
    assert new and new == old
    assert nops - fewer == 1


@pytest.mark.parametrize("name", PROBES)
def test_v4_19_keeps_the_nop_without_config_hyperv(machine, name):
    """enable_evmcs is defined outside the #if; only the tree before the patch has no NOP."""
    ways = {config: structure.way_text(config, name)
            for config in ("hyperv", "no-hyperv", "before")}
    assert ways["hyperv"] == ways["no-hyperv"]
    assert ways["before"][0] == ways["hyperv"][0]
    assert ways["hyperv"][1] - ways["before"][1] == 1


def test_vmcs_load_differs_by_one_nop(machine):
    new, nops = structure.way_text("hyperv", "probe_vmcs_load")
    old, fewer = structure.way_text("before", "probe_vmcs_load")
    assert len(new) > 5 and sorted(new) == sorted(old)
    assert nops - fewer == 1


def test_what_v4_19_adds_to_vmx_vcpu_run_is_listed(machine):
    added = structure.extra_instructions("vmx_vcpu_run")
    sites = [site for site in with_sites(machine) if site["function"] == "vmx_vcpu_run"]
    assert added["nop"] == len(sites)
    assert sum(added.values()) - added["nop"] <= 8


def with_sites(machine):
    with loaded(machine, "hyperv", False):
        return structure.sites(machine)


@pytest.mark.parametrize("accessor", [accessor.name for accessor in ACCESSORS])
def test_an_accessor_is_what_c_compiles_to(world, accessor):
    ours = structure.loop_text("hyperv", accessor)
    assert ours[0] and ours == structure.loop_text("hyperv", f"c_{accessor}")
    assert ours == structure.loop_text("hyperv", f"again_{accessor}")


@pytest.mark.parametrize("accessor", ACCESSORS, ids=lambda accessor: accessor.name)
def test_a_timed_loop_executes_what_it_claims(world, accessor):
    on = world.kvm.enable_evmcs
    assert structure.wrong_operations(accessor, on) == []
    assert structure.wrong_operations(accessor, on, "c_") == []
    assert structure.wrong_operations(accessor, on, "again_") == []
    assert structure.wrong_operations(accessor, not on) != []


def test_the_store_loops_execute_what_they_claim(world):
    assert structure.wrong_stores(world.kvm.enable_evmcs) == []


def test_a_copy_is_a_loop_of_its_own(machine):
    file = module("hyperv").__file__
    starts = [machine_code.loop(file, f"bench_{place}{accessor.name}")[0].address
              for accessor in ACCESSORS for place in ("", "c_", "again_")]
    assert len(set(starts)) == len(starts) == 3 * len(ACCESSORS)
    first = [machine_code.loop(file, f"bench_{place}read64")[0].address % 64
             for place in ("c_", "again_")]
    assert first[0] == first[1]


def test_the_stores_differ_by_their_place_in_a_cache_line(machine):
    file = module("hyperv").__file__
    start = {name: machine_code.loop(file, f"bench_{name}")[0].address % 64 for name in STORES}
    assert start["store"] == start["store_again"] == start["store_key"]
    assert (start["store_moved"] - start["store"]) % 64 == 32


def test_bytes_by_clean_group_are_the_specification_s(machine):
    """The sums over the members of each group, with the padding inside HOST_GRP1."""
    report = Report()
    structure.entry(report, machine)
    found = {row.name: row.value for row in report.in_table("bytes re-read by clean group")}
    assert found.pop("always") == 96
    assert found == {
        "IO_BITMAP": 16, "MSR_BITMAP": 8, "CONTROL_GRP2": 24, "CONTROL_GRP1": 12,
        "CONTROL_PROC": 4, "CONTROL_EVENT": 12, "CONTROL_ENTRY": 4, "CONTROL_EXCPN": 4,
        "CRDR": 64, "CONTROL_XLAT": 10, "GUEST_BASIC": 20, "GUEST_GRP1": 104, "GUEST_GRP2": 168,
        "HOST_POINTER": 48, "HOST_GRP1": 82 + 2, "ENLIGHTENMENTSCONTROL": 24}
    assert list(GROUPS.values()) == list(found)


@pytest.mark.parametrize("part", structure.PARTS)
def test_every_claim_of_tier_0_holds(part):
    report = Report()
    structure.run(report, [part])
    assert report.claims
    assert [claim for claim in report.claims if not claim.holds] == []
