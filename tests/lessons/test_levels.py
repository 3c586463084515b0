# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `levels`: its counts by what a crossing is, and its verdict on a function."""

import needed
import pytest

from kvm_vmx.lessons import levels

# A CPUID exit of v4.19: VMREADs and VMWRITEs that KVM makes before it enters again.
ACCESSES = 7 + 1
RIGHT = """
def crossings(program, enlightened):
    return 4 + sum(4 if enlightened else 20 for one in program if one == "cpuid")
"""


def expected(given):
    """The answer, from what the student is given."""
    cpuids = given["program"].count("cpuid")
    stays = " ".join(given["program"]).split("cpuid")
    longest = max(len(stay.split()) + (n + 1 < len(stays)) for n, stay in enumerate(stays))
    return {"exits": cpuids + 1, "vmcs": 4 + (4 + 2 * ACCESSES) * cpuids, "evmcs": 4 + 4 * cpuids,
            "longest": longest}


@pytest.mark.soak
def test_the_answers_are_exit_entry_and_accesses(soak):
    for seed in range(1000 if soak else 12):
        record = levels.run(seed)
        assert record.values == expected(record.given), seed


def test_the_names_are_what_the_bytes_are():
    capstone = needed.module("capstone")
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for name, code in levels.CODE.items():
        (insn,) = decoder.disasm(bytes.fromhex(code), 0)
        assert insn.mnemonic == name and insn.size == len(bytes.fromhex(code))


def test_each_crossing_changes_the_level_and_none_skips_l0():
    record = levels.run(5)
    path = [[row[0].text for row in step.rows if row[1].kind == "good"]
            for step in record.solved.steps]
    assert all(len(place) == 1 for place in path) and len(path) == record.values["vmcs"] + 1
    for (here,), (there,) in zip(path, path[1:]):
        assert (here == "L0") != (there == "L0")
    assert record.picture.steps[-1].rows[0][1].text == "?"


@pytest.mark.parametrize("wrong, code", [
    (False, RIGHT), (True, RIGHT.replace("20", "18")), (True, RIGHT.replace("4 +", "2 +"))])
def test_a_students_function(told, tmp_path, wrong, code):
    (tmp_path / "mine.py").write_text(code)
    done = told("lesson", "levels", "--write", tmp_path / "mine.py")
    assert done.returncode == (1 if wrong else 0)
    assert ("24 of 24 inputs are right" in done.stdout) != wrong
