# SPDX-License-Identifier: GPL-2.0-only
"""The lesson bug: each erratum's divergence is real, its line the marked one, its answer right."""

import json
import pathlib
import re

import pytest
from command import kvm_vmx_json

from kvm_vmx import KernelBug, Machine
from kvm_vmx.lessons.bug_cases import ENCLS_SLOT
from kvm_vmx.lessons.command import as_json
from kvm_vmx.lessons import bug, bug_cases, errata
from kvm_vmx.lessons.sources import resolve
from kvm_vmx.lessons.terminal import show
from kvm_vmx.machine.guests import CPUID_LOOP, HALT

ROOT = pathlib.Path(__file__).parents[2]
ROWS = {row["vmcs_field"]: row
        for row in json.loads((ROOT / "tests/data/evmcs_fields_4.19.json").read_text())}
GUEST = 2 << 20
STACK = GUEST - 3 * 4096                # below PML4, PDPT and one PD
PERF_ON_ENTRY_AND_EXIT = {0x484: 0x0000F3FF000011FF, 0x490: 0x0000F3FF000011FB,
                          0x483: 0x003FFFFF00036DFF, 0x48F: 0x003FFFFF00036DFB}
ENCLS_EXITING, ENCLS_EXITING_BITMAP = 1 << 15, 0x202E
# Of the answer: field, clean group, CPU, entry on it, KVM's value, L0's; by what the seed asks for.
EXPECTED = {
    "holes": lambda g: ("revision_id", "", 0, g["first"] + 1, g["value"], 1),
    "perf_global_ctrl": lambda g: ("revision_id", "", 0, g["first"] + 1, g["host"], 1),
    "host_rsp": lambda g: ("HOST_RSP", "HOST_POINTER", 0, g["first"] + 1, -g["depth"], 0),
    "clean_after_failure": lambda g: (
        "GUEST_RSP", "GUEST_BASIC", 0, g["first"] + 2, g["rsp"], STACK),
    "memset_size": lambda g: (
        *next((name, row["clean_field"]) for name, row in ROWS.items()
              if int(row["encoding"], 16) == g["encoding"] and row["offset"] >= g["size"]),
        0, 1, 0, g["byte"] * 0x0101010101010101),
    "assist_not_zeroed": lambda g: ("enlighten_vmentry", "", g["cpu"], 1, 0, g["byte"]),
    "encls": lambda g: ("ENCLS_EXITING_BITMAP", "", g["cpu"], 1, (1 << 64) - 1, 0),
    "stale_assist": lambda g: (
        "current_nested_vmcs", "", g["cpu"], g["first"] + 1, *addresses(g["cpu"], g["first"])),
}


def addresses(cpu, first):
    """Of the VMCS that KVM loads, and of the one that the page still names."""
    with Machine(cpus=3) as machine:
        kvm = machine.insmod()
        gone = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=cpu)
        gone.run(exits=first)
        stale = gone.vmcs_gpa
        machine.offline(cpu)
        kvm.rmmod()
        machine.online(cpu)
        kvm = machine.insmod(enlightened_vmcs=False)
        return kvm.create_vm(code=HALT, memory=64 << 10).create_vcpu(cpu=cpu).vmcs_gpa, stale


def check(seed, case=None):
    record = bug.run(seed, case)
    assert record.secret and record.values["erratum"] == record.case
    values = tuple(record.values[name] for name in ("field", "group", "cpu", "entry", "kvm", "l0"))
    assert values == EXPECTED[record.case](record.given), (seed, record.case)
    assert values[-1] != values[-2]
    assert any(ours != theirs for (_, ours), (_, theirs)
               in zip(record.given["seen"], record.given["expected"]))
    return record.case


def test_answers(soak):
    assert {check(seed) for seed in range(1000 if soak else 40)} == set(bug.CASES)


@pytest.mark.parametrize("case", bug.CASES)
def test_each_case(case):
    assert check(7, case) == case


def field_of(blob, name):
    """A field's value in an eVMCS or in L0's copy of one."""
    row = ROWS[name]
    return int.from_bytes(blob[row["offset"]:row["offset"] + row["size"]], "little")


def runs(vcpu, exits=4, **options):
    """Does the vCPU make its exits?"""
    summary = vcpu.run(exits=exits, **options)
    return (summary.exits, summary.reason) == (exits, "INTR")


# What each case claims, seen in the machine itself: KVM's page, L0's copy, the guest.

def boot(case):
    """The machine that a case needs."""
    return Machine(**{
        "holes": {"cpus": 2}, "host_rsp": {"cpus": 1}, "stale_assist": {"cpus": 2},
        "perf_global_ctrl": {"cpus": 2, "msrs": PERF_ON_ENTRY_AND_EXIT,
                             "cpuid": {0xA: (8 << 8 | 2, 0, 0, 0)}},
        "clean_after_failure": {"cpus": 1, "cache_policy": "commit_on_success"},
        "memset_size": {"cpus": 1, "memory": 16 << 20, "msrs": {
            0x480: 1 << 55 | 1 << 54 | 6 << 50 | 640 << 32 | 0x11E57ED0}},
        "assist_not_zeroed": {"cpus": 1, "possible_cpus": 2, "memory": 16 << 20},
        "encls": {"cpus": 1, "msrs": {0x48B: (0x000118FE | ENCLS_EXITING) << 32}},
    }[case])


def vcpu_of(machine, enlightened=True, cpu=0, code=CPUID_LOOP):
    vm = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=code)
    return vm.create_vcpu(cpu=cpu)


def fill(machine, byte):
    start = (machine.allocations["pages"] + 1) * 4096
    machine.memory.write(start, bytes([byte]) * (machine.memory.size - start))


@pytest.mark.parametrize("case", ["holes", "perf_global_ctrl"])
def test_revision_diverges(case):
    """The page says another revision than L0's copy, and no other CPU may enter with it."""
    with boot(case) as machine:
        vcpu = vcpu_of(machine)
        assert runs(vcpu)
        if case == "holes":
            with machine.cpu(0):
                machine.module.port.vmcs_write64(0x2808, 77)
        else:
            machine.perf_guest_events(host=77, guest=5)
        assert runs(vcpu)
        assert machine.memory.read(vcpu.vmcs_gpa, 4)[0] == 77
        assert machine.cpu(0).evmcs_copy[:4] == b"\1\0\0\0"
        vcpu.cpu = 1
        failed = machine.counters["exits"]
        assert vcpu.run(exits=1).reason == "FAIL_ENTRY" and machine.counters["exits"] == failed
        assert machine.cpu(1).active_evmcs is None


def test_host_rsp_diverges():
    with boot("host_rsp") as machine:
        vcpu = vcpu_of(machine)
        assert runs(vcpu)
        with pytest.raises(KernelBug, match="stale host state"):
            vcpu.run(exits=1, stack_depth=128)
        page = machine.memory.read(machine.cpu(0).active_evmcs, 1024)
        copy = machine.cpu(0).evmcs_copy
        assert field_of(copy, "HOST_RSP") - field_of(page, "HOST_RSP") == 128
        # the rest of its group is what KVM wrote
        for name, row in ROWS.items():
            if row["clean_field"] == "HOST_POINTER" and name != "HOST_RSP":
                assert field_of(copy, name) == field_of(page, name)


def test_the_guest_gets_an_old_stack_pointer():
    for enlightened in (True, False):
        with boot("clean_after_failure") as machine:
            vcpu = vcpu_of(machine, enlightened)
            assert runs(vcpu)
            good = vcpu.sregs
            vcpu.regs["rsp"] = 0x6000
            vcpu.sregs = {**good, "tr": {**good["tr"], "type": 2}}
            assert vcpu.run(exits=1).reason == "FAIL_ENTRY"
            vcpu.sregs = good
            assert vcpu.regs["rsp"] == 0x6000
            assert runs(vcpu)
            assert vcpu.regs["rsp"] == (STACK if enlightened else 0x6000)


def test_l0_takes_what_was_in_the_memory():
    with boot("memset_size") as machine:
        fill(machine, 0xA5)
        vcpu = vcpu_of(machine)
        assert runs(vcpu, 1)
        for name in ("GUEST_BNDCFGS", "XSS_EXIT_BITMAP"):
            assert ROWS[name]["offset"] >= 640
            assert field_of(machine.cpu(0).evmcs_copy, name) == 0xA5A5A5A5A5A5A5A5


def test_a_plain_entry_looks_for_an_evmcs():
    with boot("assist_not_zeroed") as machine:
        fill(machine, 0xA5)
        machine.online(1)
        assert machine.assist_page(1)[40] == 0xA5
        vcpu = vcpu_of(machine, enlightened=False, cpu=1)
        machine.start_trace()
        with pytest.raises(KernelBug):
            vcpu.run(exits=1)
        entry = next(record for record in machine.trace if record.instruction == "vmlaunch")
        assert entry.outcome.vector == 6


def test_the_encls_bitmap_is_lost():
    """With the control on, L0 has a bitmap of 0, where a plain VMCS has what KVM wrote."""
    found = []
    for enlightened in (True, False):
        with boot("encls") as machine:
            vcpu = vcpu_of(machine, enlightened)
            assert runs(vcpu)
            with machine.cpu(0):
                assert machine.module.port.vmcs_read32(0x401E) & ENCLS_EXITING
            page = machine.memory.read(vcpu.vmcs_gpa, 1024)
            found.append(int.from_bytes(page[ENCLS_SLOT:ENCLS_SLOT + 8], "little") if enlightened
                         else machine.cpu(0).vmread(ENCLS_EXITING_BITMAP).value)
    assert found == [0, (1 << 64) - 1]


def test_l0_enters_with_a_vmcs_that_is_gone():
    with boot("stale_assist") as machine:
        gone = vcpu_of(machine, cpu=1)
        assert runs(gone)
        stale = gone.vmcs_gpa
        machine.offline(1)
        machine.module.rmmod()
        machine.online(1)
        vm = machine.insmod(enlightened_vmcs=False).create_vm(code=HALT, memory=64 << 10)
        vcpu = vm.create_vcpu(cpu=1)
        assert vcpu.vmcs_gpa != stale
        assert vcpu.run(exits=1).reason != "HLT"
        assert machine.cpu(1).active_evmcs == stale


# The line, and where its words come from.

@pytest.mark.parametrize("case", bug.CASES)
def test_the_line_is_the_one_with_the_mark(case):
    """The mark of the erratum stands at most four lines above; host_rsp's is the assembly's."""
    values = bug.run(1, case).values
    assert values["function"] in errata.load()[case].functions and values["upstream"]
    lines = (ROOT / values["file"]).read_text().splitlines()
    assert re.search(rf"def .*\b{values['function']}\(", "\n".join(lines[:values["line"]]))
    if case == "host_rsp":
        text = (ROOT / "include/asm/vmx_insn.h").read_text()
        assert "erratum: host_rsp" in text and "host_rsp" in lines[values["line"] - 1]
    else:
        near = "\n".join(lines[values["line"] - 5:values["line"]])
        assert f"erratum: {case})" in near


def test_the_page_of_errata_is_printed_from_the_table(request):
    path = ROOT / "docs/errata.md"
    if request.config.getoption("--golden"):
        path.write_text(errata.page())
    assert path.read_text() == errata.page()


@pytest.mark.parametrize("case", bug.CASES)
def test_nothing_gives_the_answer_away(case, capsys):
    record = bug.run(3, case)
    lines = resolve(record.kernel)
    show(record, lines, check=False)
    page = capsys.readouterr().out + json.dumps(as_json(record, lines, False, [], 0))
    for word in (case, record.values["function"], record.values["upstream"]):
        assert "".join(word.split()) not in "".join(page.split())
    answered = as_json(record, lines, True, [], 0)
    assert answered["case"] == case and answered["lines"][0]["port_line"] == record.values["line"]


def test_the_list_does_not_name_the_cases():
    listed = {lesson["name"]: lesson["cases"] for lesson in kvm_vmx_json("lesson")["lessons"]}
    assert listed["bug"] == [] and listed["hotplug"]


def test_a_port_that_is_mended_is_told_so():
    """Without a divergence the lesson says so instead of naming one."""
    same = [("a step", "1 exit")]
    found = bug_cases.Found(same, same, "GUEST_RSP", 0, 3, 16, 16)
    says = bug.told(errata.load()["holes"], resolve(bug.LINES["holes"])[0], found)
    assert any("has been mended" in line for line in says) and "GUEST_RSP" not in " ".join(says)
