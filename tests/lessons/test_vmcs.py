# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `vmcs`: what its mistakes lead to, by the area that the SDM gives each field."""

from types import SimpleNamespace

import pytest

from kvm_vmx.lessons import vmcs

CONTROL_ERROR, HOST_ERROR, INVALID_GUEST_STATE = 7, 8, 0x80000021


def expected(field, given):
    """SDM volume 3C, 27.2 and 27.3: controls, then the host's state, then the guest's."""
    if field.startswith("HOST_"):
        return HOST_ERROR, 0
    if field == "VM_EXIT_CONTROLS" and given[field]:
        return HOST_ERROR, 0            # the bits are good: a 64-bit host cannot return in 32 bits
    if field.startswith("GUEST_") or field == "VMCS_LINK_POINTER":
        return 0, INVALID_GUEST_STATE
    return CONTROL_ERROR, 0


@pytest.mark.soak
def test_a_mistake_leads_where_its_area_says(soak):
    seen = set()
    for seed in range(1000 if soak else 60):
        record = vmcs.run(seed)
        field, error, reason = record.values.values()
        assert (error, reason) == expected(field, record.given["fields"]), (seed, field)
        seen.add((field, error))
    assert len(seen) > (24 if soak else 15)


def test_each_mistake_is_refused_with_any_value_that_may_come():
    """SDM volume 3C, 27.3.1.4: of a guest's RIP bits 63 to 48 are looked at, so 1 << 47 enters."""
    for bit in range(47, 63):
        dice = SimpleNamespace(randrange=lambda low, high: bit if high == 63 else low,
                               choice=lambda values: values[0])
        state = dict.fromkeys(("VM_EXIT_CONTROLS",), 0)
        values = {name: value for name, value in vmcs.mistakes(state, dice)}
        assert len({values["GUEST_RIP"] >> at & 1 for at in range(48, 64)}) == 2
        for name in ("HOST_RIP", "HOST_TR_BASE"):
            assert len({values[name] >> at & 1 for at in range(47, 64)}) == 2


def test_the_value_that_mends_it_is_told_and_enters():
    for seed in range(20):
        record = vmcs.run(seed)
        assert f"{record.values['field']} = 0x" in record.answer[2]
        assert record.answer[2].endswith("exit reason 12.")


def test_the_table_has_all_that_was_written_and_does_not_tell_the_mistake():
    record = vmcs.run(4)
    rows = record.picture.steps[-1].rows
    assert {row[0].text: int(row[2].text, 16) for row in rows} == record.given["fields"]
    assert {cell.kind for row in rows for cell in row} <= {"", "hot"}
    (told,) = [row for row in record.solved.steps[-1].rows if row[2].kind == "bad"]
    assert told[0].text == record.values["field"]


VMLAUNCH = """
def vmlaunch(wrong):
    host = any(name.startswith("HOST_") for name in wrong)
    guest = [name for name in wrong if name.startswith("GUEST_") or name == "VMCS_LINK_POINTER"]
    if len(guest) + sum(name.startswith("HOST_") for name in wrong) < len(wrong):
        return 7
    return 8 if host else 0x80000021 if guest else 0
"""


def test_a_file_that_goes_by_the_order_is_right(said_json, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(VMLAUNCH)
    for seed in range(1, 5):
        found = said_json("lesson", "vmcs", "--write", path, "--seed", seed)
        assert found["function"]["passes"], found["function"]


@pytest.mark.parametrize("code, words", [
    ("def vmlaunch(wrong): return 8 if wrong else 0", "the run says 0x0007"),
    (VMLAUNCH.replace(' or name == "VMCS_LINK_POINTER"', ""), "VMCS_LINK_POINTER"),
    ("def vmlaunch(fields, value): return 7", "vmlaunch"),
    ("def vmlaunch(wrong): raise KeyError(7)", "raises KeyError"),
    ("def vmlaunch(wrong): return True", "gives True"),
])
def test_a_file_that_is_wrong_is_told_of_its_first_input(told, tmp_path, code, words):
    path = tmp_path / "mine.py"
    path.write_text(code)
    done = told("lesson", "vmcs", "--write", path)
    assert done.returncode == 1 and done.stderr == "" and words in done.stdout


def test_what_is_judged_has_all_that_may_come(monkeypatch):
    """Nothing wrong, each area, and several at once; what is expected is what the rules say."""
    judged = []
    monkeypatch.setattr(vmcs, "judge", lambda *given: judged.append(given))
    space = {}
    exec(VMLAUNCH, space)
    for seed in range(40):
        vmcs.grade("mine.py", seed)
    for _, function, parameters, cases, _ in judged:
        assert (function, parameters) == ("vmlaunch", ("wrong",))
        for (wrong,), says, _ in cases:
            assert says == space["vmlaunch"](wrong), wrong
        assert {says for _, says, _ in cases} == {0, CONTROL_ERROR, HOST_ERROR,
                                                  INVALID_GUEST_STATE}
