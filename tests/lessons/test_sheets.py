# SPDX-License-Identifier: GPL-2.0-only
"""Sheets: what a student gets, what a key knows, and that the package alone answers none."""

import csv
import io
import json
import os
import stat

import pytest

from kvm_vmx import cli
from kvm_vmx.lessons import NAMES, load, sheets

# Of every day, so that what a test says does not depend on chance.
SECRET = "5e" * 32
QUICK = ("table", "bitmap", "detect", "levels")
SLOW = {"exit", "key", "reload", "hotplug", "bug", "cost", "stale", "clean"}


@pytest.fixture
def key(tmp_path):
    """A key's path."""
    (tmp_path / "course.key").write_text(json.dumps(
        {"schema": sheets.KEY, "secret": SECRET, "sheets": {}}))
    return tmp_path / "course.key"


def made(key, lesson, who, *options):
    """A sheet as it is handed out: path, content."""
    path = key.with_name(f"{lesson}-{who}.json")
    assert cli.main(["lesson", lesson, "--sheet", str(path), "--assign", who, "--key", str(key),
                     *options]) == 0
    return path, json.loads(path.read_text())


@pytest.fixture
def graded(said_json):
    """graded(key, path, ...): the marks."""
    return lambda key, *paths: said_json("grade", *paths, "--key", key)["sheets"]


def fill(path, answers):
    """Hand a sheet in."""
    sheet = json.loads(path.read_text())
    sheet["answers"] = answers
    path.write_text(json.dumps(sheet))


def test_a_sheet_holds_the_task_and_nothing_of_the_answer(key, tmp_path, capsys):
    for lesson in QUICK:
        page = tmp_path / "page.html"
        path, sheet = made(key, lesson, "ann", "--html", str(page))
        secret = sheets.Key(str(key))
        seed, (one,) = secret.seed(lesson, "ann"), [
            one for one in secret.sheets.values() if one["lesson"] == lesson]
        assert set(sheet["answers"]) == set(one["answers"])
        assert set(sheet["answers"].values()) == {""} and sheet["question"]
        for text in (path.read_text(), page.read_text(), capsys.readouterr().out):
            for word in (seed, seed + 1, SECRET):
                assert str(word) not in text and f"{word:x}" not in text if isinstance(
                    word, int) else word not in text
            assert "not executed" not in text and "--seed" not in text
        assert sheet["sheet"] in page.read_text() and "<details" not in page.read_text()
        # another one's sheet is another run, and the same one's the same
        assert made(key, lesson, "ben")[1]["sheet"] != sheet["sheet"]
        assert made(key, lesson, "ann")[1] == sheet


def test_a_key_judges_its_sheets_alone(key, graded, tmp_path):
    path, _ = made(key, "bitmap", "ann")
    (one,) = sheets.Key(str(key)).sheets.values()
    fill(path, one["answers"])
    mark, = graded(key, path)
    assert (mark["right"], mark["total"], mark["assign"]) == (3, 3, "ann")
    fill(path, {"byte": hex(one["answers"]["byte"]), "bit": one["answers"]["bit"] + 1, "moon": 1})
    mark, = graded(key, path)
    assert (mark["right"], mark["wrong"], mark["missing"], mark["unknown"]) == (
        1, ["bit"], ["exits"], ["moon"])
    # a sheet's lesson is the key's word, not the student's
    sheet = json.loads(path.read_text())
    path.write_text(json.dumps(sheet | {"lesson": "moon", "for": "ben"}))
    assert graded(key, path)[0]["lesson"] == "bitmap"
    other = tmp_path / "other.key"
    assert cli.main(["grade", "--new", "--key", str(other)]) == 0
    assert stat.S_IMODE(os.stat(other).st_mode) == 0o600
    assert cli.main(["grade", str(path), "--key", str(other)]) == 1


@pytest.mark.parametrize("text, words", [
    ("", "no JSON"), ("[]", "no kvm_vmx.sheet/1"), ("[" * 100_000, "no JSON"),
    ('{"schema": "kvm_vmx.sheet/1"}', "no sheet of this number"),
    ('{"schema": "kvm_vmx.sheet/1", "sheet": ["a"]}', "no sheet of this number"),
    ('{"schema": "kvm_vmx.sheet/1", "sheet": "NUMBER", "answers": 7}', "its answers are no object"),
    ('{"schema": "kvm_vmx.sheet/1", "sheet": "NUMBER"}', "its answers are no object")])
def test_whatever_is_handed_in_is_told_and_the_rest_judged(key, tmp_path, capsys, text, words):
    path, sheet = made(key, "bitmap", "ann")
    (one,) = sheets.Key(str(key)).sheets.values()
    fill(path, one["answers"])
    odd = tmp_path / "odd.json"
    odd.write_text(text.replace("NUMBER", sheet["sheet"]))
    capsys.readouterr()
    assert cli.main(["grade", str(odd), str(path), "/nowhere.json", "--key", str(key),
                     "--csv"]) == 1
    out, err = capsys.readouterr()
    first, second, third = csv.DictReader(io.StringIO(out))
    assert err == "" and words in first["trouble"]
    assert (second["right"], second["total"], second["trouble"]) == ("3", "3", "")
    assert "give a sheet" in third["trouble"]


def test_an_answer_is_right_by_kind_and_value():
    assert sheets.same("0x10", 16) and sheets.same([1, "2"], [1, 2]) and sheets.same(None, None)
    assert not any(sheets.same(a, b) for a, b in [
        (True, 1), (1, True), ("one", 1), ([1], [1, 2]), (1.0, 1), ({}, 0), ("", None)])


@pytest.mark.parametrize("options, words", [
    (["lesson", "key", "--sheet", "x.json"], "a sheet takes all three"),
    (["lesson", "key", "--key", "{key}"], "a sheet takes all three"),
    (["lesson", "key", "--sheet", "{new}", "--assign", "a", "--key", "{key}", "-c"], "has no -c"),
    (["lesson", "key", "--sheet", "{new}", "--assign", "a", "--key", "/nowhere"], "give a key"),
    (["lesson", "all", "--html", "{new}", "--assign", "a"], "takes no --assign"),
    (["grade", "--key", "{key}"], "no sheet to judge"),
    (["grade", "--new", "--key", "{key}"], "give the name of a new file"),
    (["grade", "x", "--new", "--key", "{new}"], "give --new or sheets"),
    (["grade", "x", "--key", "{odd}"], "a key without a secret"),
    (["grade", "x", "--key", "{key}", "--json", "--csv"], "give one of them")])
def test_bad_input_is_one_line(key, tmp_path, capsys, options, words):
    (tmp_path / "odd").write_text('{"schema": "kvm_vmx.key/1", "secret": 7}')
    names = {"key": key, "new": tmp_path / "new", "odd": tmp_path / "odd"}
    assert cli.main([option.format(**names) for option in options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and words in err
    assert not (tmp_path / "new").exists()


def cheat(lesson, sheet, seed, said_json):
    """A script of five lines: the answers of the package, for a seed that it guesses."""
    answers = said_json("lesson", lesson, "-c", "--seed", seed)["answer"]
    return {name: answers[name] for name in sheet["answers"]}


def test_a_cheats_script_scores_no_more_than_chance(key, graded, said_json):
    """Whatever seed it takes from a sheet, it gets what a neighbour's answers would get, and no
    sheet is right as a whole."""
    right = total = neighbours = 0
    for lesson in QUICK:
        paths = []
        for who in ("1", "2", "3"):
            path, sheet = made(key, lesson, who)
            guess = int(who) if who != "3" else int(sheet["sheet"][:15], 16)
            fill(path, cheat(lesson, sheet, guess, said_json))
            paths.append(path)
        marks = graded(key, *paths)
        assert all(mark["right"] < mark["total"] for mark in marks)
        right += sum(mark["right"] for mark in marks)
        total += sum(mark["total"] for mark in marks)
        answers = [one["answers"] for one in sheets.Key(str(key)).sheets.values()
                   if one["lesson"] == lesson]
        neighbours += sum(sheets.same(a[name], b[name]) for a, b in zip(answers, answers[1:]
                                                                        + answers[:1])
                          for name in a)
    assert right <= max(neighbours, total * .25), (right, neighbours, total)


@pytest.mark.soak
def test_answers_differ_from_sheet_to_sheet(soak):
    """At least 20 of 40, and no single answer is the same on all; of some of the quick ones without
    a soak."""
    few = set(NAMES) - SLOW | {"reload", "hotplug", "bug"}
    for lesson in NAMES if soak else sorted(few - {"history"})[::4]:
        different, seen = set(), {}
        for seed in range(1, 41):
            run = sheets.graded(load(lesson).run(seed))
            different.add(json.dumps(run))
            for name, value in run.items():
                seen.setdefault(name, set()).add(json.dumps(value))
            alike = [name for name, values in seen.items() if len(values) == 1]
            if len(different) >= 20 and not alike and not soak:
                break           # the other seeds take nothing away
        assert (len(different) >= 20, alike) == (True, []), lesson
