# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `stale`: which entry breaks by the rules, the divergence, the shortest program."""

import functools
import itertools
import json
import os
import re
import sys

import needed
import pytest
import replay
import rules
from command import kvm_vmx

from kvm_vmx import Machine, cli
from kvm_vmx.lessons import mistakes, shrink, stale
from kvm_vmx.lessons.record import NothingShown

hypothesis = needed.module("hypothesis")


def plan_of(record):
    """(case, field, what hides it, another field, wrong bit), from what the student is given."""
    names = list(record.given["groups"])
    return record.case, *names, record.given["wrong_bit"]


def by_the_rules(record):
    """The answer, from what the student is given."""
    given, (case, victim, *_) = record.given, plan_of(record)
    model = replay.Model(case, victim, given["first"], given["wrong_bit"])
    for step in given["steps"]:
        assert model.page == step["page"] or step["do"] != "enter"
        if step["do"] != "enter":
            model.step(step["do"], step["field"], step["page"].get(step["field"]))
            continue
        if not model.fresh:
            assert model.clean == step["clean"]
        found = model.enter()
        if found:
            (name,) = found
            group = rules.TABLE[name]["clean_field"] if name in rules.TABLE else "MSR_BITMAP"
            return {"entry": model.entries, "field": name, "group": group,
                    "bit": rules.BIT_OF[group], "page": model.left[name],
                    "copy": model.copy[name], "guest": model.copy[name]}
    raise AssertionError("no entry breaks")


def trying(letters, fails, seed):
    return shrink.by_trying(letters, fails), "found by trying"


@pytest.fixture
def quick(monkeypatch):
    """Reproducers without hypothesis."""
    monkeypatch.setattr(stale, "shortest", trying)


@pytest.mark.soak
def test_the_answers_follow_the_rules(quick, soak):
    cases = set()
    for seed in range(1000 if soak else 40):
        record = stale.run(seed)
        answer = dict(record.values)
        shortest = answer.pop("shortest")
        assert answer == by_the_rules(record), seed
        assert replay.model_fails(plan_of(record), shortest)
        cases.add(record.case)
    assert cases == set(stale.CASES)


@pytest.mark.parametrize("case", stale.CASES)
def test_no_shorter_program_breaks(quick, case):
    record = stale.run(1, case)
    plan, found = plan_of(record), record.values["shortest"]
    halves = ["clear", "store"] if case == "early" else ["wrong"]
    letters = ["enter", *halves, "move", plan[2], plan[3]]
    assert len(found) == (4 if case == "early" else 3)
    for length in range(len(found)):
        for program in itertools.product(letters, repeat=length):
            assert not replay.model_fails(plan, program), program


@pytest.mark.parametrize("case", stale.CASES)
def test_hypothesis_finds_what_trying_finds(case):
    record = stale.run(2, case)
    assert any("found by hypothesis" in line for line in record.answer)
    plan = mistakes.planned(2, case)
    tried = shrink.by_trying(plan.letters, lambda program: replay.model_fails(
        plan_of(record), program))
    assert record.values["shortest"] == tried


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("case", stale.CASES)
def test_the_divergence_is_real(quick, case, seed):
    """The same steps again: L1's memory, L0's copy and the guest's memory, read by the test."""
    record = stale.run(seed, case)
    entries, _ = replay.replayed(record)
    answer = record.values
    name, number = answer["field"], answer["entry"]
    assert number > 1
    for entry in entries[:number - 1]:
        assert all(len(set(sides)) == 1 for sides in entry.values())
    broken = entries[number - 1]
    assert broken[name] == (answer["page"], answer["copy"], answer["guest"])
    assert answer["page"] != answer["copy"] == answer["guest"]
    assert all(len(set(sides)) == 1 for other, sides in broken.items() if other != name)


@pytest.mark.parametrize("case", stale.CASES)
def test_an_l0_that_trusts_no_bit_shows_nothing(quick, case):
    entries, _ = replay.replayed(stale.run(1, case), cache_policy="never")
    assert all(len(set(sides)) == 1 for entry in entries for sides in entry.values())


@pytest.mark.parametrize("case", [case for case in stale.CASES if case != "bitmap"])
def test_the_lint_names_the_same_field(quick, case):
    record = stale.run(4, case)
    _, lints = replay.replayed(record, lints=True)
    (lint,) = [lint for lint in lints if lint.name == "stale_field"]
    assert (lint.field, lint.group) == (record.values["field"], record.values["group"])
    assert (lint.found, lint.kept) == (record.values["page"], record.values["copy"])


@pytest.mark.parametrize("sets", [False, True])
def test_the_lanes_mark_the_field_at_its_entry(quick, sets, monkeypatch):
    replay.an_l0(monkeypatch, sets)
    for seed in range(10):
        record = stale.run(seed)
        bad = [(step.caption, row[0].text) for step in record.solved.steps for row in step.rows
               if any(cell.kind == "bad" for cell in row)]
        read = "L0 reads and sets all bits" if sets else "L0 reads"
        first = (f"entry {record.values['entry']}: {read}, the guest runs",
                 record.values["field"])
        assert bad and bad[0] == first
        hidden = [cell for step in record.picture.steps for row in step.rows for cell in row]
        assert not any(cell.kind == "bad" for cell in hidden)
        assert any(cell.text == "?" for cell in hidden)


@pytest.mark.parametrize("sets", [False, True])
def test_an_entry_has_three_beats(quick, sets, monkeypatch):
    """As in lesson clean: found, read, set by KVM; and what L0 does of it comes from the run."""
    replay.an_l0(monkeypatch, sets)
    for case in stale.CASES:
        record = stale.run(3, case)
        said = " ".join(record.run)
        assert ("sets all bits itself" in said) == sets
        assert "vmx_vcpu_run() sets all sixteen, which is a store of KVM's own" in said
        steps = record.solved.steps
        at = [n for n, step in enumerate(steps) if step.caption.endswith(" finds")]
        assert len(at) == sum(step["do"] == "enter" for step in record.given["steps"])
        for n in at:
            found, read, behind = steps[n:n + 3]
            assert ("and sets all bits" in read.caption) == sets
            assert behind.caption.endswith("by vmx_vcpu_run()")
            bits = [[row[2].text for row in step.rows] for step in (found, read, behind)]
            assert bits[1] == (["1"] * len(bits[0]) if sets else bits[0])
            assert set(bits[2]) == {"1"}
            # before L0 has read, its copy and what the guest saw are as they were
            if n:
                assert [[cell.text for cell in row[4:]] for row in found.rows] == [
                    [cell.text for cell in row[4:]] for row in steps[n - 1].rows]


def test_the_cases_are_not_one_run_five_times(quick):
    """By a name or by the seed, a case is its own run; named, the seed's own is the same one."""
    for seed in (1, 2, 3):
        records = [stale.run(seed, case) for case in stale.CASES]
        assert len({str(record.given["steps"]) for record in records}) == len(stale.CASES)
        own = stale.run(seed)
        assert own.given == records[list(stale.CASES).index(own.case)].given


def test_what_makes_l0_read_the_bitmap_is_said_before_it_is_needed(quick):
    for seed in range(3):
        record = stale.run(seed, "bitmap")
        (line,) = [line for line in record.run if "reads the MSR bitmap again" in line]
        groups = re.findall(r"[A-Z]+_[A-Z0-9]+", line)
        assert {rules.BIT_OF[group] for group in groups} == {
            bit for bit in range(16) if replay.BITMAP_BITS >> bit & 1}
        assert not any("reads the MSR bitmap again" in line for line in stale.run(seed, "and").run)


def test_a_case_by_its_name(quick):
    for case in stale.CASES:
        record = stale.run(7, case)
        assert record.case == case and record.values["page"] != record.values["guest"]


def test_without_hypothesis_one_line_is_another(tmp_path):
    """What is printed is the same otherwise; nothing is left behind in either way."""
    done = kvm_vmx("lesson", "stale", "-c", "--json", cwd=tmp_path, without=["hypothesis"])
    assert done.returncode == 0 and done.stderr == ""
    without = json.loads(done.stdout)
    with_it = json.loads(kvm_vmx("lesson", "stale", "-c", "--json", cwd=tmp_path).stdout)
    *before, said = without.pop("explanation")
    *same, also = with_it.pop("explanation")
    assert without == with_it and before == same
    phrase = "found by trying all, the shortest first"
    assert said == also.replace("found by hypothesis", phrase) != also
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [
    *(["stale", "--case", case] for case in stale.CASES), ["stale", "--json", "-c"],
    ["all", "--html", "course"]])
def test_nothing_that_breaks_is_one_line(options, monkeypatch, capsys, tmp_path):
    """As with a port that has been mended: here L0 trusts no bit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stale, "Machine", functools.partial(Machine, cache_policy="never"))
    assert cli.main(["lesson", *options]) == 1
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    # a course has its other lessons all the same
    assert out.startswith("14 lessons in ") if options[0] == "all" else out == ""
    assert "no entry goes on with an old" in err and "undo that, build" in err


@pytest.mark.soak
@pytest.mark.parametrize("found", [
    shrink.by_trying, lambda letters, fails: shrink.by_hypothesis(letters, fails, 1)])
def test_no_program_that_fails_is_said(found, soak):
    """Of one letter there are so few that all of them are tried; of two, hypothesis tries some."""
    with pytest.raises(NothingShown, match="no program"):
        found(["enter", "move"] if soak else ["enter"], lambda program: False)


@pytest.mark.parametrize("lacks", ["_get_local_constants", "_local_constants", "providers", ""])
def test_no_version_of_hypothesis_has_to_read_sources(lacks, monkeypatch):
    """What keeps it from reading them is left undone where one has other parts, as 6.100 has."""
    from hypothesis.internal import conjecture
    from hypothesis.internal.conjecture import providers

    if lacks == "providers":
        monkeypatch.setitem(sys.modules, providers.__name__, None)
        monkeypatch.delattr(conjecture, "providers")
    elif lacks:
        monkeypatch.delattr(providers, lacks)
    before = dict(vars(providers))
    whole = not lacks and {"_get_local_constants", "_local_constants"} <= before.keys()
    with shrink.no_sources():
        assert (vars(providers) != before) is whole
    assert vars(providers) == before
