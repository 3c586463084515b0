# SPDX-License-Identifier: GPL-2.0-only
"""The lesson reload: its answers against the rules of VM entry, on a machine of the test's own."""

import json
import pathlib

import pytest

from kvm_vmx import Machine
from kvm_vmx.lessons import reload
from kvm_vmx.machine.guests import CPUID_LOOP, HALT

VMX_BASIC = 0x480
ENLIGHTEN_VMENTRY, CURRENT_NESTED_VMCS = 40, 48     # offsets in the assist page
EPT_POINTER = next(row["offset"] for row in json.loads(
    (pathlib.Path(__file__).parents[1] / "data/evmcs_fields_4.19.json").read_text())
    if row["vmcs_field"] == "EPT_POINTER")
INVALID_CONTROLS = 7                        # VM-instruction error of the SDM


def word(machine, gpa, length=4):
    return int.from_bytes(machine.memory.read(gpa, length), "little")


def load(machine, enlightened, code, cpus, size=2 << 20):
    vm = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=code, memory=size)
    return [vm.create_vcpu(cpu=cpu) for cpu in cpus]


def enlightened_round(machine, given):
    """A load with enlightened VMCS whose vCPUs have run."""
    for vcpu in load(machine, True, CPUID_LOOP, given["before"]):
        vcpu.run(exits=5)


def reloaded(machine, given, enlightened):
    """The next load; the vCPU that is asked for."""
    vcpus = load(machine, enlightened, HALT, given["after"], given["guest_memory"])
    return vcpus[given["vcpu"]]


def before_the_entry(given, case, enlightened):
    """The machine with one page that rmmod missed, about to run the vCPU that is asked for; what
    an entry there must come to."""
    with Machine(cpus=given["cpus"]) as machine:
        cpu, page = given["cpu"], machine.assist_page_gpa(given["cpu"])
        enlightened_round(machine, given)
        machine.module.rmmod()
        reloaded(machine, given, False).run(exits=1)
        machine.module.rmmod()
        enlightened_round(machine, given)
        stale = machine.memory.read(page + ENLIGHTEN_VMENTRY, 16)
        if case == "offline":
            machine.offline(cpu)
            machine.module.rmmod()
            machine.online(cpu)
        else:
            machine.module.rmmod()
            machine.memory.write(page + ENLIGHTEN_VMENTRY, stale)
        assert machine.memory.read(page + ENLIGHTEN_VMENTRY, 16) == stale and stale[0] == 1
        vcpu = reloaded(machine, given, enlightened)
        return expected(machine, vcpu, word(machine, page + CURRENT_NESTED_VMCS, 8), enlightened)


def expected(machine, vcpu, pointer, enlightened):
    """(pointer, VMCS that VMLAUNCH takes, outcome, error, KVM's exit reason or None: any).

    Enlightened, evmcs_load() has the last word. Otherwise L0 takes the eVMCS at pointer: only
    with revision 1 or VMX_BASIC's (R26), only with an EPT pointer that is one; what L1
    made current with VMPTRLD it first writes back to its page."""
    if enlightened:
        return pointer, vcpu.vmcs_gpa, "VMsucceed", None, "HLT"
    revisions = (1, machine.cpu(0).rdmsr(VMX_BASIC).value & 0x7FFFFFFF)
    if word(machine, pointer) not in revisions:
        return pointer, None, "VMfailInvalid", None, "FAIL_ENTRY"
    if pointer == vcpu.vmcs_gpa:
        return pointer, pointer, "VMsucceed", None, "HLT"
    # EPT is on in whatever KVM sets up; a pointer of 0 is one of a page walk that there is not
    if word(machine, pointer + EPT_POINTER, 8) == 0:
        return pointer, pointer, "VMfailValid", INVALID_CONTROLS, "FAIL_ENTRY"
    return pointer, pointer, "VMsucceed", None, None


def check(seed, case=None):
    """One seed; how its entry ended."""
    record = reload.run(seed, case)
    given, values = record.given, record.values
    pointer, entered, outcome, error, kvm = before_the_entry(given, record.case, False)
    assert given["pointer"] == pointer
    assert (values["entered"], values["outcome"], values["error"]) == (entered, outcome, error)
    assert kvm is None or values["kvm"] == kvm
    _, entered, _, _, kvm = before_the_entry(given, record.case, True)
    assert (values["entered_enlightened"], values["kvm_enlightened"]) == (entered, kvm)
    assert values["reset"] == len(set(given["before"]))
    return outcome, values["entered"] == given["vmcs"]


def test_answers(soak):
    outcomes = {check(seed) for seed in range(1000 if soak else 8)}
    if soak:
        assert outcomes == {("VMfailInvalid", False), ("VMfailValid", False), ("VMsucceed", False),
                            ("VMsucceed", True)}


@pytest.mark.parametrize("case, seed, outcome", [
    ("offline", 1, "VMfailValid"), ("offline", 2, "VMsucceed"), ("written", 5, "VMfailInvalid")])
def test_how_the_entry_ends_depends_on_the_page(case, seed, outcome):
    assert check(seed, case)[0] == outcome


def test_the_pages_of_the_picture():
    """Both words are zero on each CPU after a good rmmod, and one pair is left after the other."""
    record = reload.run(1)
    steps = {step.caption: [[cell.text for cell in row] for row in step.rows]
             for step in record.picture.steps}
    assert all(row[1:4] == ["off", "0", "0x0"] for row in steps["rmmod"])
    missed = [row for row in steps["rmmod, one page missed"] if row[2] != "0"]
    assert [row[0] for row in missed] == [f"cpu {record.given['cpu']}"]
    assert missed[0][3] == f"{record.given['pointer']:#x}" and missed[0][4] == "no vCPU"


def test_the_solved_picture_has_the_last_run():
    for seed in range(1, 5):
        record = reload.run(seed)
        *before, last = record.solved.steps
        assert before == record.picture.steps[:-1]
        assert {cell.text for row in record.picture.steps[-1].rows for cell in row[1:]} == {"?"}
        active = last.rows[record.given["cpu"]][-1].text
        entered = record.values["entered"]
        assert active == ("none" if entered is None else f"{entered:#x}")
