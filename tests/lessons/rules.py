# SPDX-License-Identifier: GPL-2.0-only
"""Clean fields by the rules, from the tables of v4.19: masks, groups, bytes, write-back."""

import json
import pathlib

from kvm_vmx.machine.fields import CLEAN_FIELDS as CLEAN_FIELDS

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


def data(name):
    return json.loads((DATA / name).read_text())


TABLE = {row["vmcs_field"]: row for row in data("evmcs_fields_4.19.json")}
ENCODINGS = {row["vmcs_field"]: int(row["encoding"], 16) for row in TABLE.values()}
MASKS = {name: int(row["clean_mask"], 16) for name, row in TABLE.items()}
BIT_OF = {row["clean_field"]: MASKS[name].bit_length() - 1 for name, row in TABLE.items()
          if row["clean_field"] not in ("NONE", "ALL")} | {"ENLIGHTENMENTSCONTROL": 15}
ALL_CLEAN = 0xFFFF
# Read at each entry whatever the bits say: GUEST_RIP and TPR_THRESHOLD.
LIVE = sum(TABLE[name]["size"] for name in ("GUEST_RIP", "TPR_THRESHOLD"))
WRITTEN_BACK = set(data("write_back.json")["written_back"])
# The members of group 15, which no VMCS field stands for.
SYNTHETIC = {"hv_vp_id", "hv_vm_id", "partition_assist_page"}
# What vcpu_load() writes: always, and on a CPU where the vCPU was not before.
LOADED, LOADED_ELSEWHERE = ("TSC_OFFSET",), (
    "HOST_TR_BASE", "HOST_GDTR_BASE", "HOST_IA32_SYSENTER_ESP")


def group_bytes():
    """Bytes of each group: its members, and the holes between those that stand in one row."""
    group_of = {row["evmcs_field"]: row["clean_field"] for row in TABLE.values()}
    group_of |= dict.fromkeys(SYNTHETIC, "ENLIGHTENMENTSCONTROL")
    sizes, last, end = dict.fromkeys(BIT_OF, 0), None, 0
    for member in sorted(data("evmcs_layout_4.19.json"), key=lambda member: member["offset"]):
        if "pad" in member["name"]:
            continue
        group = group_of.get(member["name"])
        if group in sizes:
            hole = member["offset"] - end if group == last else 0
            sizes[group] += member["size"] + hole
        last, end = group, member["offset"] + member["size"]
    return sizes


def clean_after(fields, clean=ALL_CLEAN):
    """The sixteen bits after writes; a field that the table lacks takes none away."""
    for name in fields:
        clean &= ~MASKS.get(name, 0)
    return clean
