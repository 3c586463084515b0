# SPDX-License-Identifier: GPL-2.0-only
"""What an accessor with a constant field compiles to, read from the text of this process.

Both ways out of the one static-branch site are followed to their RET: the NOP falls into
VMREAD or VMWRITE (a call in the form looked at here), the JMP goes to the enlightened VMCS.
"""

import json
import pathlib

import needed
import pytest
import text

from kvm_vmx import Machine
from kvm_vmx.machine.fields import CLEAN_FIELDS

x86 = needed.module("capstone.x86_const")
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
TABLE = {row["vmcs_field"]: row
         for row in json.loads((DATA / "evmcs_fields_4.19.json").read_text())}


@pytest.fixture(scope="module", autouse=True)
def decoder_with_operands():
    text.decoder().detail = True
    yield
    text.decoder().detail = False


@pytest.fixture(scope="module")
def sites():
    """{function: its site of enable_evmcs}, from a process with the key on."""
    with Machine(cpus=1, insn="call") as machine:
        machine.insmod(enlightened_vmcs=True)
        found = [site for site in machine.keys() if site["function"].startswith("probe_")]
        yield {site["function"]: site for site in found if site["key"] == "enable_evmcs"}


def walk(address):
    """The instructions from address to RET, through jumps; a branch that may go on is kept."""
    found = []
    while len(found) < 100:
        insn = text.decode(text.read(address, 15), address)
        address += insn.size
        if insn.id == x86.X86_INS_JMP:
            address = insn.operands[0].imm
            continue
        found.append(insn)
        if insn.id == x86.X86_INS_RET:
            return found
    raise AssertionError("no RET")


def enlightened(site):
    """The far side of a site without what the function saves, restores or pads."""
    idle = {x86.X86_INS_NOP, x86.X86_INS_PUSH, x86.X86_INS_POP, x86.X86_INS_RET}
    return [insn for insn in walk(site["target"]) if insn.id not in idle]


def memory(insn):
    """The memory operand, or None."""
    operands = [op for op in insn.operands if op.type == x86.X86_OP_MEM]
    return operands[0].mem if operands else None


def loads_of_current_vmcs(insns):
    """The loads through %gs; all of one variable, none of a register or a table."""
    found = [insn for insn in insns if memory(insn) and memory(insn).segment == x86.X86_REG_GS]
    assert all(insn.id == x86.X86_INS_MOV and insn.operands[0].type == x86.X86_OP_REG
               for insn in found)
    assert len({memory(insn).disp for insn in found}) == 1
    return found


def others(insns, of):
    return [insn for insn in insns if insn not in of]


def offset(field):
    return TABLE[field]["offset"]


def test_a_write_with_a_clean_group_is_a_load_a_store_and_one_and(sites):
    """GUEST_RSP. this_cpu_read() is volatile in v4.19 and current_evmcs is read for the value
    and again for the clean fields: two loads of %gs, and the AND last, as the C says."""
    insns = enlightened(sites["probe_write_guest_rsp"])
    loads = loads_of_current_vmcs(insns)
    assert len(loads) == 2
    store, clear = others(insns, loads)
    assert store.id == x86.X86_INS_MOV and store.operands[0].type == x86.X86_OP_MEM
    assert memory(store).disp == offset("GUEST_RSP") and store.operands[0].size == 8
    assert clear.id == x86.X86_INS_AND and memory(clear).disp == CLEAN_FIELDS
    assert clear.operands[0].size == 4
    mask = int(TABLE["GUEST_RSP"]["clean_mask"], 16)
    assert clear.operands[1].imm & 0xFFFFFFFF == ~mask & 0xFFFFFFFF
    assert [insn.id for insn in insns].count(x86.X86_INS_AND) == 1


def test_a_write_without_a_group_has_no_and(sites):
    """GUEST_RIP: the mask is all ones, so gcc drops the AND and keeps the volatile load."""
    insns = enlightened(sites["probe_write_guest_rip"])
    loads = loads_of_current_vmcs(insns)
    assert 1 <= len(loads) <= 2
    (store,) = others(insns, loads)
    assert store.id == x86.X86_INS_MOV and store.operands[0].type == x86.X86_OP_MEM
    assert memory(store).disp == offset("GUEST_RIP") and store.operands[0].size == 8


@pytest.mark.parametrize("function, field, size", [
    ("probe_read_guest_rip", "GUEST_RIP", 8),
    ("probe_read_exit_reason", "VM_EXIT_REASON", 4),
])
def test_a_read_is_two_loads(sites, function, field, size):
    first, second = enlightened(sites[function])
    assert loads_of_current_vmcs([first, second]) == [first]
    assert second.id == x86.X86_INS_MOV and second.operands[0].type == x86.X86_OP_REG
    assert memory(second).disp == offset(field) and second.operands[1].size == size
    assert memory(second).base == first.operands[0].reg


@pytest.mark.parametrize("function", [
    "probe_write_guest_rsp", "probe_write_guest_rip", "probe_read_guest_rip",
    "probe_read_exit_reason",
])
def test_no_side_branches_and_only_the_plain_one_calls(sites, function):
    """No call, no comparison and no table look-up on the enlightened side."""
    plain, quick = walk(sites[function]["address"] + 5), enlightened(sites[function])
    assert not any(insn.group(x86.X86_GRP_CALL) or insn.group(x86.X86_GRP_JUMP) for insn in quick)
    assert len([insn for insn in plain if insn.group(x86.X86_GRP_CALL)]) == 1


def test_both_sides_read_the_same_area_at_different_places(sites):
    """The plain side asks %gs for the processor, the other for current_vmcs."""
    site = sites["probe_read_guest_rip"]
    quick = loads_of_current_vmcs(enlightened(site))
    plain = [insn for insn in walk(site["address"] + 5)
             if memory(insn) and memory(insn).segment == x86.X86_REG_GS]
    assert len(plain) == 1 and memory(plain[0]).disp != memory(quick[0]).disp
