# SPDX-License-Identifier: GPL-2.0-only
"""Numbers with names, ExitReason and Field: the kernel's, and taken and given wherever one is."""

import copy
import json
import os
import pathlib
import pickle
import re

import pytest

from kvm_vmx import ExitReason, ExitSummary, Field, fields
from kvm_vmx.machine.guests import CPUID_LOOP

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
ENCODINGS = {row["vmcs_field"]: int(row["encoding"], 16)
             for row in json.loads((DATA / "vmcs_encodings_4.19.json").read_text())}


@pytest.fixture
def vcpu(face):
    with face(cpus=2) as machine:
        yield machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()


def test_field_is_the_kernel_s_enumeration_of_encodings():
    assert {field.name: int(field) for field in Field} == ENCODINGS
    assert Field.GUEST_RIP == 0x681E and isinstance(Field.GUEST_RIP, int)


def test_every_row_of_the_field_table_is_a_field():
    assert {row["vmcs_field"]: int(row["encoding"], 16) for row in fields()}.items() <= {
        field.name: int(field) for field in Field}.items()


def test_exit_reason_is_the_kernel_s_list():
    tree = os.environ.get("KVM_VMX_TREE_4_19")
    if not tree:
        pytest.skip("no Linux v4.19: give it in KVM_VMX_TREE_4_19")
    text = (pathlib.Path(tree) / "arch/x86/include/uapi/asm/vmx.h").read_text()
    kernel = re.findall(r"#define EXIT_REASON_(\w+)\s+(\d+)", text)
    assert {reason.name: int(reason) for reason in ExitReason} == {
        name: int(number) for name, number in kernel}


@pytest.mark.parametrize("kind", [Field, ExitReason])
def test_a_name_is_a_number_in_every_way(kind):
    for member in kind:
        assert kind.of(member.name) is kind.of(int(member)) is kind.of(member) is member
        assert pickle.loads(pickle.dumps(member)) is copy.deepcopy(member) is member
        assert hash(member) == hash(int(member)) and f"{member:#x}" == hex(member)
        assert repr(member) == f"{kind.__name__}.{member.name}"
        assert json.loads(json.dumps({member: member})) == {str(int(member)): int(member)}
    assert kind.of(0x7FFE) == 0x7FFE and type(kind.of(0x7FFE)) is int


@pytest.mark.parametrize("wrong, near", [
    ("GUEST_RPI", "GUEST_RIP"), ("guest_rip", "GUEST_RIP"), ("HOST_CR33", "HOST_CR3"),
    ("EPT_PTR", "EPT_POINTER"), ("zzz", "kvm_vmx.Field"), ("", "kvm_vmx.Field")])
def test_a_wrong_name_gets_the_nearest_ones(vcpu, wrong, near):
    cpu = vcpu.vm.module.machine.cpu(1)
    for kind, attempt in (
            (ValueError, lambda: cpu.vmread(wrong)), (ValueError, lambda: cpu.vmwrite(wrong, 1)),
            (KeyError, lambda: vcpu.vmcs[wrong]), (KeyError, lambda: vcpu.evmcs[wrong])):
        with pytest.raises(kind, match=re.escape(repr(wrong))) as caught:
            attempt()
        assert near in str(caught.value)


def test_a_summary_counts_by_reason(vcpu):
    vcpu.run(exits=1)       # its page is mapped
    summary = vcpu.run(exits=10)
    assert summary.reasons == {10: 10} == {ExitReason.CPUID: 10}
    assert [reason.name for reason in summary.reasons] == ["CPUID"]
    assert "reasons={ExitReason.CPUID: 10}" in repr(summary)
    assert pickle.loads(pickle.dumps(summary)) == summary == ExitSummary(
        10, "INTR", reasons={10: 10})


def test_the_views_take_a_field_by_name_number_or_member(vcpu):
    vcpu.run(exits=10)
    for view in (vcpu.vmcs, vcpu.evmcs):
        assert view["GUEST_RIP"] == view[Field.GUEST_RIP] == view[0x681E] == 0x1005
        assert Field.GUEST_RIP in view and Field.POSTED_INTR_NV not in view and 3 not in view
        assert list(view) == [row["vmcs_field"] for row in fields()]
        for field in (Field.POSTED_INTR_NV, "POSTED_INTR_NV", 3):
            with pytest.raises(KeyError, match="no place in an enlightened VMCS"):
                view[field]


def test_a_vmread_takes_a_field_by_name_number_or_member(face):
    with face(cpus=1) as machine:
        vcpu = machine.insmod(enlightened_vmcs=False).create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=1)
        vcpu.trace_exits()
        vcpu.run(exits=10)
        cpu = machine.cpu(0)
        assert vcpu.vmcs["GUEST_RIP"] == 0x1005     # its VMCS is current now
        machine.start_trace()
        for field in ("GUEST_RIP", Field.GUEST_RIP, 0x681E):
            assert cpu.vmwrite(field, 0x1000).ok and cpu.vmread(field).value == 0x1000
        assert [one.operands[0] for one in machine.trace] == [Field.GUEST_RIP] * 6
        assert str(machine.trace[-1]) == "cpu 0: vmread 0x681e = 0x1000"
        assert {repr(one.operands[0]) for one in machine.trace} == {"Field.GUEST_RIP"}
        for log in (vcpu.exit_log, cpu.exit_log):
            assert {repr(record[0]) for record in log} == {"ExitReason.CPUID"}
