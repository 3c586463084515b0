# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `assist`: pages, VMPTRLDs and VMCLEARs by a model of v4.19's vmx_vcpu_load()."""

import pytest

from kvm_vmx.lessons import assist, kinds_cpus

EXITS = 10                      # of each run


class Model:
    """Each CPU's current_vmcs, assist page and L0's active eVMCS, each vCPU's loaded_vmcs->cpu."""

    def __init__(self, given, enlightened):
        cpus = range(given["cpus"])
        self.enlightened, self.vmcs = enlightened, given["evmcs"]
        self.current, self.active = dict.fromkeys(cpus), dict.fromkeys(cpus)
        self.page = {cpu: (0, 0) for cpu in cpus}
        self.loaded_on = [None] * given["vcpus"]
        self.vmptrld = self.vmclear = 0
        for vcpu in range(given["vcpus"]):      # vmx_create_vcpu() loads each on its CPU, the first
            self.load(vcpu, 0)
        self.vmptrld = self.vmclear = 0

    def clear(self, vcpu):
        """loaded_vmcs_clear(): VMCLEAR on the CPU where it was loaded; the page stays."""
        cpu, vmcs = self.loaded_on[vcpu], self.vmcs[vcpu]
        if cpu is None:
            return
        if self.current[cpu] == vmcs:
            self.current[cpu] = None
        if self.active[cpu] == vmcs:
            self.active[cpu] = None
        self.vmclear += 1

    def load(self, vcpu, cpu):
        """vmx_vcpu_load(): clear it where it was; vmcs_load() unless it is current here."""
        if self.loaded_on[vcpu] != cpu:
            self.clear(vcpu)
            self.loaded_on[vcpu] = cpu
        if self.current[cpu] == self.vmcs[vcpu]:
            return
        self.current[cpu] = self.vmcs[vcpu]
        if self.enlightened:
            self.page[cpu] = 1, self.vmcs[vcpu]
        else:
            self.vmptrld += 1

    def run(self, vcpu, cpu):
        """A KVM_RUN: at the entry L0 takes what the page names as active."""
        self.load(vcpu, cpu)
        if self.enlightened:
            self.active[cpu] = self.page[cpu][1]


def after(given, enlightened):
    """The model behind all moves."""
    model = Model(given, enlightened)
    for vcpu, cpu in given["moves"]:
        model.run(vcpu, cpu)
    return model


def expected(given):
    """The answer, from the moves that the student is given."""
    enlightened, plain = after(given, True), after(given, False)
    return {"current_nested_vmcs": enlightened.page[given["cpu"]][1], "vmptrld": 0,
            "vmclear": enlightened.vmclear, "vmptrld_plain": plain.vmptrld}


@pytest.mark.soak
def test_the_answers_follow_vmx_vcpu_load(soak):
    untouched = kept = 0
    for seed in range(1000 if soak else 60):
        record = assist.run(seed)
        assert record.values == expected(record.given), seed
        given, model = record.given, after(record.given, True)
        plain, exits = after(given, False), EXITS * len(given["moves"])
        assert (f"0 VMPTRLD and {model.vmclear} VMCLEAR under eVMCS, {plain.vmptrld} and "
                f"{plain.vmclear} under VMCS, for {exits} and {exits} exits") in record.answer[1]
        word, pointer = model.page[given["cpu"]]
        active = model.active[given["cpu"]]
        assert record.answer[0] == (
            f"enlighten_vmentry {word}, current_nested_vmcs {pointer:#x}; L0's active one is "
            f"{'none' if active is None else hex(active)}.")
        gone = [f"cpu {cpu}'s page still names {gpa:#x}, which has gone elsewhere"
                for cpu, (_, gpa) in model.page.items()
                if gpa and model.loaded_on[given["evmcs"].index(gpa)] != cpu]
        assert any(line in record.answer[2] for line in gone) or not gone and (
            "each page names a VMCS that is on its CPU still" in record.answer[2]), seed
        untouched += word == 0
        kept += word == 1 and active is None
    assert untouched and kept


def rows(model):
    """A step of the picture, without the MSR."""
    return [[f"cpu {cpu}", str(word), f"{pointer:#x}",
             "none" if model.active[cpu] is None else f"{model.active[cpu]:#x}"]
            for cpu, (word, pointer) in model.page.items()]


def test_every_step_of_the_picture():
    for seed in range(30):
        given, steps = (record := assist.run(seed)).given, iter(record.solved.steps)
        shown = [[cell.text for cell in row] for row in next(steps).rows]
        pages = [row.pop(1) for row in shown]
        assert shown == [[f"cpu {n}", "0", "0x0", "none"] for n in range(given["cpus"])]
        # enabled, and each in a frame of its own
        assert len({int(page, 16) >> 12 for page in pages}) == given["cpus"]
        assert all(int(page, 16) & 0xFFF == 1 for page in pages)
        model = Model(given, True)
        for move in [None, *given["moves"]]:
            if move:
                model.run(*move)
            shown = [[cell.text for cell in row] for row in next(steps).rows]
            assert [row.pop(1) for row in shown] == pages
            assert shown == rows(model), (seed, move)
        assert next(steps, None) is None


def test_an_arrow_to_what_is_not_active_is_dashed():
    """Of each step of the picture: the pages that name what L0 has not active on their CPU."""
    dashed = 0
    for seed in range(10):
        record = assist.run(seed)
        figure = kinds_cpus.pages(record.solved)
        for step, shapes in zip(record.solved.steps, figure.steps):
            stale = sum(row[3].text != "0x0" and row[3].text != row[4].text for row in step.rows)
            found = sum(shape[1].get("class") == "arrow shut" for shape in shapes)
            assert found == stale
            dashed += found
    assert dashed


def test_the_last_moves_are_hidden():
    for seed in range(20):
        record = assist.run(seed)
        *known, one, other = record.picture.steps
        assert known == record.solved.steps[:-2]
        assert all(cell.text == "?" for step in (one, other) for row in step.rows
                   for cell in row[1:])


def test_the_moves_leave_and_return():
    """Some vCPU comes back to a CPU, some run finds its VMCS current there already."""
    back = still = 0
    for seed in range(60):
        given = assist.run(seed).given
        model = Model(given, True)
        for vcpu, cpu in given["moves"]:
            still += model.current[cpu] == given["evmcs"][vcpu]
            back += model.page[cpu][1] == given["evmcs"][vcpu] and model.current[cpu] is None
            model.run(vcpu, cpu)
    assert still and back
