# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `clean`: its answers by the rules, and what it says of a student's functions."""

import functools
import inspect
import random
import sys

import pytest
import replay
import rules

from kvm_vmx.lessons import clean, student
from kvm_vmx.lessons.evmcs import Bench

RIGHT = """
def clean_mask(writes, table):
    mask = 0xffff
    for field in writes:
        mask = 0xffff if field == "enter" else mask & ~table.get(field, 0)
    return mask
"""


def expected(given):
    """The answer, from what the student is given."""
    fields = [*rules.LOADED, *(rules.LOADED_ELSEWHERE if given["moved"] else ()),
              *(write["field"] for write in given["writes"])]
    bits = rules.clean_after(fields)
    dirty = [name for name, bit in rules.BIT_OF.items() if not bits >> bit & 1]
    # a vCPU that has moved enters by VMLAUNCH, at which no bit counts
    read = list(rules.BIT_OF) if given["moved"] else dirty
    return {"clean": bits, "dirty": sorted(dirty, key=rules.BIT_OF.get), "groups": len(read),
            "bytes": rules.LIVE + sum(rules.group_bytes()[name] for name in read)}


@pytest.mark.soak
def test_the_answers_follow_the_rules(soak):
    for seed in range(1000 if soak else 60):
        record = clean.run(seed)
        assert record.values == expected(record.given), seed


def test_an_accessor_that_forgets_its_and_makes_the_answers_wrong(monkeypatch):
    write = Bench.write

    def forgets(bench, field, value=None):
        before = bench.clean
        write(bench, field, value)
        bench.clean = before

    monkeypatch.setattr(Bench, "write", forgets)
    records = [clean.run(seed) for seed in range(20)]
    wrong = [record.values != expected(record.given) for record in records]
    assert sum(wrong) > 15


def test_the_programs_have_every_kind_of_write_and_move():
    rounds = [round for seed in range(200) for round in clean.program(random.Random(seed))]
    written = {field for _, writes in rounds for field, _ in writes}
    groups = {rules.TABLE[field]["clean_field"] for field in written}
    assert groups == {"NONE", "ALL", *rules.BIT_OF} - {"ENLIGHTENMENTSCONTROL"}
    assert not any(rules.ENCODINGS[field] >> 10 & 3 == 1 for field in written)
    assert {moves for moves, _ in rounds} == {True, False}


def test_the_table_of_groups_is_that_of_the_layout():
    given = clean.run(1).given
    assert given["always"] == rules.LIVE
    assert {row["group"]: (row["bit"], row["bytes"]) for row in given["groups"]} == {
        name: (bit, rules.group_bytes()[name]) for name, bit in rules.BIT_OF.items()}


BEATS = 3


def test_an_entry_has_three_beats():
    """The bits as the writes have left them; as L0 leaves them; all of them 1, by KVM's store."""
    for seed in range(10):
        record = clean.run(seed)
        steps, entries = record.solved.steps, 0
        for n, step in enumerate(steps):
            if not step.caption.startswith("entry "):
                continue
            entries += 1
            assert step.caption.endswith((": VMLAUNCH finds", ": VMRESUME finds"))
            read, behind = steps[n + 1:n + BEATS]
            assert texts(step, 2) == texts(steps[n - 1], 2)
            assert read.caption.startswith("L0 reads") and behind.caption.startswith("vmx_vcpu_run")
            assert texts(read, 2) == (["1"] * 16 if replay.l0_sets_all() else texts(step, 2))
            assert texts(behind, 2) == ["1"] * 16
        assert entries == int(record.given["entry"].split()[1])


@pytest.mark.parametrize("sets", [False, True])
def test_whose_store_it_is_comes_from_the_run(sets, monkeypatch):
    """An L0 that leaves the bits as it finds them, and one that sets them: what is said follows,
    and what is asked for stays the same."""
    replay.an_l0(monkeypatch, sets)
    clean.weights.cache_clear()
    try:
        record = clean.run(3)
    finally:
        clean.weights.cache_clear()
    told = " ".join(record.about)
    assert ("sets all bits itself" in told) == sets and ("leaves the bits alone" in told) != sets
    assert "vmx_vcpu_run() sets all sixteen, which is a store of KVM's own" in told
    assert (texts(record.solved.steps[-2], 2) == ["1"] * 16) == sets
    assert record.values == expected(record.given)


def texts(step, column):
    return [row[column].text for row in step.rows]


def test_the_picture_hides_what_is_asked_for_and_the_other_shows_it():
    seen_apart = False
    for seed in range(20):
        record = clean.run(seed)
        hidden, solved = record.picture.steps, record.solved.steps
        asked = len(record.given["writes"]) + 1 + BEATS
        assert len(hidden) == len(solved)
        for n, (dark, lit) in enumerate(zip(hidden, solved)):
            assert lit.caption.startswith(dark.caption)
            dim = n >= len(hidden) - asked
            assert (texts(dark, 2) == ["?"] * 16) == dim and "?" not in texts(lit, 2)
            if not dim:
                assert texts(dark, 2) == texts(lit, 2)
        before, entry, behind = solved[-BEATS:]
        read = "{groups} groups, {bytes} bytes".format(**record.values)
        assert entry.caption.endswith(read) and "groups," not in hidden[-2].caption
        bits = int("".join(reversed(texts(before, 2))), 2)
        assert bits == record.values["clean"] and texts(behind, 2) == ["1"] * 16
        # what the page has of the fields written anew, L0 has after the entry, and not before
        pages = [text.rpartition(" ")[2] for text in texts(entry, 3)]
        assert pages == texts(entry, 4)
        seen_apart = seen_apart or pages != texts(before, 4)
    assert seen_apart


def test_sequences_are_made_for_real():
    sequences = clean.sequences(random.Random(3))
    assert any(not writes for writes in sequences)
    for writes, mask in clean.made(sequences):
        last = max((n for n, field in enumerate(writes) if field == clean.ENTER), default=-1)
        assert mask == rules.clean_after(writes[last + 1:]), writes


def judged(tmp_path, text):
    """What --write says of a function, without the lesson: (lines, does it pass)."""
    path = tmp_path / "mine.py"
    path.write_text(text)
    return clean.grade(str(path), 1)


@pytest.fixture
def hasty(monkeypatch):
    """A call that does not end is stopped sooner than after the 2 s that are its time."""
    assert inspect.signature(student.call).parameters["seconds"].default == 2
    monkeypatch.setattr(student, "call", functools.partial(student.call, seconds=.2))


def test_a_right_function_passes(said, said_json, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(RIGHT)
    assert "32 of 32 inputs are right." in said("lesson", "clean", "--write", path)
    graded = said_json("lesson", "clean", "--write", path)["function"]
    assert graded == {"passes": True, "says": ["32 of 32 inputs are right."]}


@pytest.mark.parametrize(("text", "line"), [
    (RIGHT.replace('0xffff if field == "enter" else ', ""), "the run says 0xffff"),
    (RIGHT.replace("table.get(field, 0)", "table[field]"), "raises KeyError in line 5"),
    ("def clean_mask(writes, table):\n    while True: pass", "does not end: stopped after 0.2 s"),
    ("def clean_mask(writes, table:", "is no Python"),
    ("x = 1 / 0", "cannot be loaded: ZeroDivisionError in line 1"),
    ("def mask(writes, table): return 0", "has no function clean_mask()"),
    ("import os\ndef clean_mask(writes, table): os._exit(0)", "ended its process"),
    ("def clean_mask(writes, table): return 'rubbish'", "gives 'rubbish', the run says"),
    ("def clean_mask(writes, table): return None", "gives None, the run says"),
    ("def clean_mask(writes, table): return {1, 2}", "raises TypeError"),
])
def test_a_wrong_function_gets_clear_lines(request, tmp_path, text, line):
    if "does not end" in line:
        request.getfixturevalue("hasty")
    says, passes = judged(tmp_path, text)
    assert not passes
    assert any(line in said for said in says), says
    assert len(says) <= 11 and all("\n" not in said for said in says)


def test_a_function_that_prints_is_judged_by_what_it_returns(tmp_path):
    noisy = RIGHT.replace("    return", "    print('[\"value\", 0]'); print(b'\\xff' * 9999)\n"
                          "    __import__('os').write(1, b'[\"value\", 1]\\n')\n    return")
    says, passes = judged(tmp_path, noisy)
    assert passes, says


def test_the_time_that_python_takes_to_start_is_not_the_functions(tmp_path, monkeypatch):
    """A busy machine starts slowly; the limit is for the student's code."""
    slow, path = tmp_path / "python", tmp_path / "mine.py"
    slow.write_text(f'#!/bin/sh\nsleep 1.5\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    path.write_text(RIGHT)
    monkeypatch.setattr(sys, "executable", str(slow))
    results, stopped = student.call(str(path), "clean_mask", [([], {})], seconds=1, in_all=1)
    assert (results, stopped) == ([("value", 0xFFFF)], "")


def test_the_lesson_goes_on_after_a_wrong_function(told, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def clean_mask(writes, table): return 0")
    done = told("lesson", "clean", "--write", path)
    assert done.returncode == 1 and done.stderr == ""
    assert "gives 0x0000, the run says 0xffff" in done.stdout
    assert "The lines it explains" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
