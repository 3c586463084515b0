# SPDX-License-Identifier: GPL-2.0-only
"""The lesson hotplug: its answers against a model of v4.19's two callbacks and of VMCLEAR."""

import pytest

from kvm_vmx import Machine
from kvm_vmx.lessons import hotplug

EFAULT, EBUSY = 14, 16


class Bug(Exception):
    """The kernel meets a list that nobody has made."""


class Busy(Exception):
    """No VM: VMX cannot be enabled on each CPU."""


class Model:
    """Three CPUs: which has its page, where VMX is on, where each vCPU's VMCS is active."""

    def __init__(self, enlightened):
        self.enlightened = enlightened
        self.page, self.online = [True, True, False], [True, True, False]
        self.vmx, self.cleared = [False] * 3, [0] * 3
        self.active = []                # of each vCPU; None after a VMCLEAR
        self.there_is_a_vm, self.log = False, 0

    def enable(self, cpu):
        """hardware_enable(); hardware_enable_nolock() logs its failure."""
        if self.enlightened and not self.page[cpu]:
            self.log += 1
        else:
            self.vmx[cpu] = True
        return self.vmx[cpu]

    def vm(self):
        if not all([self.enable(cpu) for cpu in range(3) if self.online[cpu]]):
            raise Busy
        self.there_is_a_vm, self.active = True, [0, 1]

    def destroy(self):
        self.there_is_a_vm, self.active, self.vmx = False, [], [False] * 3

    def move(self, vcpu, cpu):
        """vmx_vcpu_load(): VMCLEAR where it is active, unless that is here."""
        was = self.active[vcpu]
        if was not in (None, cpu):
            self.cleared[was] += 1
        if not self.vmx[cpu]:
            raise Bug
        self.active[vcpu] = cpu

    def up(self, short):
        """CPUHP_AP_KVM_STARTING comes before CPUHP_AP_ONLINE_DYN."""
        self.online[2] = True
        if self.there_is_a_vm:
            self.enable(2)
        self.page[2] = self.page[2] or not short

    def down(self):
        """vmclear_local_loaded_vmcss(), VMXOFF; the page is kept."""
        for vcpu, cpu in enumerate(self.active):
            if cpu == 2:
                self.cleared[2] += 1
                self.active[vcpu] = None
        self.vmx[2] = self.online[2] = False


def expected(given):
    model, moved, error = Model(given["enlightened_vmcs"]), "runs", 0
    for what, *how in [*given["before"], *given["coming"]]:
        getattr(model, what)(*how)
    page, vmx = model.page[2], model.vmx[2]
    try:
        for what, *how in given["after"]:
            getattr(model, what)(*how)
    except Bug:
        moved = "kernel BUG"
    except Busy:
        moved, error = "no VM", -EBUSY
    return {"page": page, "vmx": vmx, "log": model.log, "moved": moved, "create_vm": error,
            "vmclear": model.cleared}


def test_answers(soak):
    seen = set()
    for seed in range(1000 if soak else 30):
        record = hotplug.run(seed)
        assert record.values == expected(record.given), seed
        seen.add(record.case)
    assert seen == set(hotplug.CASES) or not soak


@pytest.mark.parametrize("case, values", [
    ("new", (True, False, 1, "kernel BUG")), ("again", (True, True, 1, "runs")),
    ("short", (True, False, 2, "kernel BUG")), ("idle", (True, False, 0, "runs")),
    ("bare", (False, False, 1, "no VM")), ("plain", (True, True, 0, "runs"))])
def test_each_case(case, values):
    record = hotplug.run(1, case)
    assert tuple(record.values[name] for name in ("page", "vmx", "log", "moved")) == values


def known(record):
    """The steps of the picture that are not asked for."""
    return [step for step in record.picture.steps if step.rows[0][-1].text != "?"]


def test_the_grid():
    """VMCLEAR on the CPU that is left, then VMLAUNCH; VMRESUME alone where the vCPU stays."""
    record = hotplug.run(1, "new")
    at = {0: 0, 1: 1}
    for step in known(record)[2:]:
        vcpu, cpu = int(step.caption.split()[1]), int(step.caption.split()[-1])
        done = {int(row[0].text[-1]): row[-1].text for row in step.rows if row[-1].text}
        assert done == ({cpu: "10 VMRESUME"} if at[vcpu] == cpu else
                        {at[vcpu]: "VMCLEAR", cpu: "VMLAUNCH, 9 VMRESUME"})
        at[vcpu] = cpu


def test_the_solved_grid():
    """KVM's callback, where it succeeds, comes before Hyper-V's, and on the way down behind it."""
    record = hotplug.run(1, "again")
    before = len(known(record))
    more = record.solved.steps[before:]
    assert record.solved.steps[:before] == known(record)
    assert len(record.solved.steps) == len(record.picture.steps)
    page = "WRMSR 0x40000073"
    assert [step.rows[2][-1].text for step in more] == [
        page, page, f"VMXON, {page}", "VMLAUNCH, 9 VMRESUME", f"{page}, VMCLEAR, VMXOFF", ""]
    assert [step.rows[2][3].text for step in more] == ["off", "off", "on", "on", "off", "off"]


def test_what_hardware_enable_returns_without_a_page():
    """-EFAULT with enlightened VMCS, and it has nothing against a CPU without it."""
    for enlightened, result in ((True, -EFAULT), (False, 0)):
        with Machine(cpus=1, possible_cpus=2) as machine:
            kvm = machine.insmod(enlightened_vmcs=enlightened)
            machine.fail("vmalloc", 1)
            machine.online(1)
            assert machine.assist_page(1) is None
            with machine.cpu(1):
                assert kvm.port.hardware_enable() == result
