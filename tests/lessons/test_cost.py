# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `cost`: the mail's arithmetic, and counts that follow from the loop alone."""

import pytest

from kvm_vmx.lessons import cost

RIGHT = """
def cycles(exits, traps, enlightened):
    return round(exits * 8304 + (0 if enlightened else traps * 1323.25))
"""


def expected(given):
    """The answer, from what the student is given."""
    exits = given["loop"].count("cpuid") * given["rounds"]
    return {"access": (18890 - 8304) / 8, "exits": exits, "vmcs": 18890 * exits,
            "evmcs": 8304 * exits}


@pytest.mark.soak
def test_the_answers_follow_from_the_mail_and_the_loop(soak):
    seen = set()
    for seed in range(1000 if soak else 25):
        record = cost.run(seed)
        assert record.values == expected(record.given), seed
        seen.add(record.values["exits"])
    assert len(seen) > 8


def test_the_other_loop_is_hidden():
    record = cost.run(3)
    told, hidden = record.picture.steps
    assert told == record.solved.steps[0]
    assert all(cell.text == "?" for row in hidden.rows for cell in row[1:])


@pytest.mark.parametrize("wrong, code", [
    (False, RIGHT), (True, RIGHT.replace("8304", "18890")), (True, RIGHT.replace("0 if", "1 if"))])
def test_a_students_function(told, tmp_path, wrong, code):
    (tmp_path / "mine.py").write_text(code)
    done = told("lesson", "cost", "--write", tmp_path / "mine.py")
    assert done.returncode == (1 if wrong else 0)
    assert ("12 of 12 inputs are right" in done.stdout) != wrong
