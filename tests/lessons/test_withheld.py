# SPDX-License-Identifier: GPL-2.0-only
"""Without -c nothing tells the answer: not the terminal, the page, its source, or the JSON."""

import copy
import functools
import html
import json
import pathlib
import re

import pytest
import schemed

from kvm_vmx.lessons.command import as_json
from kvm_vmx.lessons import NAMES, load
from kvm_vmx.lessons.page import index_page, lesson_page
from kvm_vmx.lessons.record import Cell
from kvm_vmx.lessons.sources import resolve
from kvm_vmx.lessons.terminal import show

ROOT = pathlib.Path(__file__).parents[2]
SEEDS = [(name, seed, None) for name in NAMES for seed in (1, 2, 3)]
CASES = [(name, 5, case) for name in NAMES for case in load(name).CASES]
SECRET = ("detect", "bug")
# What of an answer stands in what a student is given, as the question is which of these it is.
KNOWN = {
    "assist": {"current_nested_vmcs"}, "reload": {"entered", "entered_enlightened"},
    "stale": {"field", "group", "page", "copy", "guest", "shortest"}, "clean": {"dirty"},
    # the value that was written, and the symptom: what is there instead
    "bug": {"kvm", "l0"},
    "vmcs": {"field", "exit_reason"}, "exit": {"field"}, "cost": {"access"}, "bitmap": {"byte"},
}
# The choices that the question leaves: words of the course, on pages where they are not the answer.
WORDS = {"HLT", "FAIL_ENTRY", "kernel BUG", "runs", "no VM", "VMsucceed", "VMfailValid",
         "VMfailInvalid"}


def runs(soak):
    """A run of each lesson and of each case; of a soak, more seeds."""
    return (SEEDS if soak else SEEDS[::3]) + CASES


def pytest_generate_tests(metafunc):
    """Each run, or each whose case is the answer."""
    every = runs(metafunc.config.getoption("--soak"))
    secret = [run for run in every if run[0] in SECRET]
    for name, chosen in (("run", every), ("secret_run", secret)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen, ids=str)


@functools.cache
def ran(name, seed, case):
    """Each run once."""
    return load(name).run(seed, case)


def published(record, capsys):
    """All that is made of a record without -c: {what: text}."""
    lines = resolve(record.kernel)
    capsys.readouterr()
    show(record, lines, check=False)
    return {"terminal": capsys.readouterr().out,
            "json": json.dumps(as_json(record, lines, False)),
            "page": lesson_page(record, lines, False), "index": index_page([record], False)}


@pytest.fixture(scope="module")
def once():
    """What is made of each run, made once."""
    return {}


def of_run(run, once, capsys):
    """Likewise, of one of the runs."""
    if run not in once:
        once[run] = published(ran(*run), capsys)
    return once[run]


def without(record):
    """The same run with other answers, another solved picture and other lines executed."""
    other = copy.copy(record)
    other.answer, other.values = ["something else"], {"something": "else"}
    if record.solved:
        other.solved = copy.deepcopy(record.solved)
        for step in other.solved.steps:
            step.caption, step.rows = "else", [[Cell("else", "bad")] * len(row)
                                               for row in step.rows]
        other.solved.table, other.solved.slots = None, []
    if not record.secret:
        other.kernel = [(function, word, False) for function, word, *_ in record.kernel]
    if record.named(check=False) is None:
        other.case = "else"
    return other


@pytest.mark.soak
def test_nothing_is_made_of_the_answer(run, once, capsys):
    """With another answer in the record, all that is published stays the same, byte for byte."""
    record = ran(*run)
    assert of_run(run, once, capsys) == published(without(record), capsys)


def tokens(value):
    """What would tell a value: the spellings of a number, a word; small numbers tell nothing."""
    if isinstance(value, list):
        return {token for one in value for token in tokens(one)}
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int):
        return {f"{value:#x}", f"{value:#06x}", f"{value:x}", str(value)} if value > 255 else set()
    return {value} if len(value) > 2 and value not in WORDS else set()


def found(token, text):
    """Does a token stand in a text as a word of its own?"""
    return re.search(rf"(?<![\w.#-]){re.escape(token)}(?![\w-])", text)


def told(record, texts):
    """The texts without what may have any number in it: style, script, drawing's places, the other
    fields' dots, source lines, and the list of what a program is given."""
    page = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", texts["page"], flags=re.S)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    shapes = [shape for run in data["runs"] for one in run["figures"]
              for shapes in [one["still"] or [], *one["steps"]] for shape in shapes]
    kept = {name: value for name, value in json.loads(texts["json"]).items()
            if name not in ("given", "lines", "seed")}
    terminal = texts["terminal"].partition("The lines it explains")[0]
    seen = re.sub(r'<dl class="line">.*?</dl>|<svg.*?</svg>', "", page, flags=re.S)
    seen = re.sub(r'<script type="application/json".*?</script>', "", seen, flags=re.S)
    return {
        "terminal": terminal, "json": json.dumps(kept),
        "page": html.unescape(re.sub(r"<[^>]*>", " ", seen)),
        "data": json.dumps([data["columns"], [run["steps"] for run in data["runs"]]]),
        "attributes": " ".join(re.findall(r'(?:title|aria-label)="([^"]*)"', page)),
        "shapes": " ".join(text for shape in shapes for text in map(str, shape[2:]))}


@pytest.mark.soak
def test_no_graded_answer_stands_anywhere(run, once, capsys):
    record = ran(*run)
    secret = {token for name, value in record.values.items()
              if name not in KNOWN.get(record.name, ()) for token in tokens(value)}
    leaks = [(where, token) for where, text in told(record, of_run(run, once, capsys)).items()
             for token in secret if found(token, text)]
    assert leaks == []


@pytest.mark.soak
def test_a_case_that_is_the_answer_is_not_named(secret_run, capsys):
    """Nor by what is proposed instead of it."""
    record = ran(*secret_run)
    texts, case = published(record, capsys), record.case
    assert f"case {case}" not in " ".join(texts.values())
    assert schemed.kept_text(texts["json"])["case"] is None
    assert "not executed" not in " ".join(texts.values())


def test_the_table_has_no_dot_for_what_is_asked(capsys):
    """Neither its name nor its slot, pointed at or in the source."""
    for run in (("table", seed, None) for seed in (1, 2, 3)):
        record = ran(*run)
        name = next(row[0].text for row in record.picture.steps[-1].rows
                    if row[1].text == f"{record.given['encoding']:#06x}")
        page = published(record, capsys)["page"]
        tips = re.findall(r'data-tip="([^"]*)"', page)
        assert len(tips) == 125 and not any(name in tip.split()[:1] for tip in tips)
        assert not any(f"slot {record.values['slot']:#05x}," in tip for tip in tips)
        answered = lesson_page(record, resolve(record.kernel), True)
        assert f"{name} {record.given['encoding']:#010x}: slot" in answered


def test_the_golden_texts_are_of_nobodys_variant():
    """They have answers: not of the seed that is run unasked, nor of one that the course names."""
    seeds = set()
    for path in (pathlib.Path(__file__).with_name("golden")).glob("*.txt"):
        seeds |= set(re.findall(r"The run \(seed (\d+)", path.read_text()))
    (seed,) = seeds             # the text of lesson key has no numbers
    assert int(seed) > 1000
    documents = [path.read_text() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]
    assert documents and not any(seed in text for text in documents)


@pytest.mark.soak
def test_what_is_proposed_is_not_on_the_screen(run):
    """No command under "Change this" makes the run again that was just made."""
    name, seed, case = run
    record = ran(*run)
    lines = [line for line in record.change if line.startswith(f"kvm-vmx lesson {name}")]
    for line in lines:
        if "--write" in line:
            continue
        options = dict(re.findall(r"--(seed|case) (\S+)", line))
        assert options, line
        again = ran(name, int(options.get("seed", 1)), options.get("case"))
        assert (again.seed, again.case) != (record.seed, record.case), line


@pytest.mark.soak
def test_no_answer_speaks_of_what_is_installed(soak):
    for record in (ran(*run) for run in runs(soak)):
        assert not any("install" in line for line in record.answer)
