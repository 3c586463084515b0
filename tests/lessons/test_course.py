# SPDX-License-Identifier: GPL-2.0-only
"""The course as pages: what stands in them, what is withheld, what goes wrong in one line."""

import base64
import copy
import functools
import hashlib
import html.parser
import json
import os
import re

import pytest
from command import kvm_vmx

from kvm_vmx import cli
from kvm_vmx.lessons import NAMES, load
from kvm_vmx.lessons.page import glossary_page, index_page, lesson_page
from kvm_vmx.lessons.record import Cell
from kvm_vmx.lessons.sources import resolve

SEED = 4
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.fixture(scope="module")
def taught():
    """Each lesson's run and lines."""
    records = {name: load(name).run(SEED) for name in NAMES}
    return {name: (record, resolve(record.kernel)) for name, record in records.items()}


@pytest.fixture(scope="module")
def made(taught):
    """made(name, check): a lesson's page, made once; a reader has read it once, too."""
    return functools.cache(lambda name, check, **options: lesson_page(
        *taught[name], check, **options))


class Reader(html.parser.HTMLParser):
    """What of a page a reader sees without opening a fold, its tags, and its links."""

    VOID = {"meta", "input", "br", "link", "img", "col"}

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.links, self.seen, self.scripts = [], [], [], [], []
        self.places = set()
        self.feed(text)
        assert self.open == [] and self.wrong == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("src", "href", "action", "data", "srcset")
                       if name in values]
        assert not any(name.startswith("on") for name in values)
        self.places.add(values.get("id"))
        if tag == "script":
            self.scripts.append(values.get("type"))
        if tag not in self.VOID:
            self.open.append((tag, "open" in values))

    def handle_endtag(self, tag):
        if self.open.pop()[0] != tag:
            self.wrong.append(tag)

    def handle_data(self, text):
        folded = any(tag in ("script", "style") or tag == "details" and not is_open
                     for tag, is_open in self.open)
        if not folded:
            self.seen.append(text)

    @functools.cached_property
    def text(self):
        """What is seen, in one line."""
        return " ".join(" ".join(self.seen).split())


read = functools.lru_cache(100)(Reader)


def embedded(text):
    """The data that a page's script works on."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>',
                                text, re.S)[1])


def check_closed(text, links=()):
    """A page that holds all it needs: no other address, one script, known by its hash."""
    page = read(text)
    words = {link for link in page.links if link.startswith("glossary.html#")}
    assert set(page.links) - words == set(links) and (links or not words)
    without = re.sub(r"'sha256-[^']*'", "", text.replace(NAMESPACE, ""))    # base64 has slashes
    assert not re.search(r"https?:|//\w|url\(|@import|<link|<img|<iframe|fetch\(|XMLHttp", without)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
               for script in scripts]
    assert policy == "; ".join(["default-src 'none'", "style-src 'unsafe-inline'",
                                *(f"script-src {one}" for one in allowed)])
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    return page


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", [False, True])
def test_a_page_holds_all_it_needs(made, name, check):
    text = made(name, check)
    page = check_closed(text)
    assert page.scripts == ["application/json", None]
    at = NAMES.index(name)
    near = {f"{other}.html" for other in (*NAMES[max(at - 1, 0):at], *NAMES[at + 1:at + 2])}
    page = check_closed(made(name, check, course=True), {"index.html", *near})
    places = read(glossary_page())
    assert {link.partition("#")[2] for link in page.links if "#" in link} <= places.places


@pytest.mark.parametrize("name", NAMES)
def test_the_run_is_embedded_as_it_was_recorded(taught, made, name):
    record, _ = taught[name]
    for check in (False, True):
        found = embedded(made(name, check))
        pictures = [record.picture, *([record.solved] if check and record.solved else [])]
        assert found["columns"] == record.picture.columns
        assert len(found["runs"]) == len(pictures)
        for run, picture in zip(found["runs"], pictures):
            assert [(step["caption"], [[cell[:2] for cell in row] for row in step["rows"]])
                    for step in run["steps"]] == [
                (step.caption, [[[cell.text, cell.kind] for cell in row] for row in step.rows])
                for step in picture.steps]
            assert run["figures"]
            assert all(len(one["steps"]) == len(picture.steps) for one in run["figures"])


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_withheld_or_folded(taught, made, name):
    record, lines = taught[name]
    shut, answered = made(name, False), made(name, True)
    told = [" ".join(html.escape(text).split()) for text in record.answer]
    assert all(" ".join(text.split()) in " ".join(html.unescape(answered).split())
               for text in record.answer)
    assert not any(text in " ".join(page.split()) for text in told
                   for page in (shut, read(answered).text, json.dumps(embedded(answered))))
    assert "<details>" in answered and "<details" not in shut
    assert "Work it out first" in shut and "Work it out first" not in answered
    secret = [line.port_text for line in lines] if record.secret else []
    assert not any(html.escape(text) in shut for text in secret)
    assert not record.secret or f"case {record.case}" not in read(answered).text


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_says(taught, made, name):
    record, lines = taught[name]
    text = read(made(name, False)).text
    for part in (*record.about, *record.run, record.question, record.leaves_out):
        assert " ".join(part.split()) in text
    assert f"kvm-vmx lesson {name} --seed {SEED}" in text
    if not record.secret:
        for line in lines:
            place = f"{line.port_file}:{line.port_line}"
            assert place in text and line.kernel_file in text
            assert f"{place}, not executed here" not in text
            answered = read(made(name, True)).text
            assert (f"{place}, not executed here" in answered) == (not line.executed)


def test_text_cannot_break_out(taught):
    evil = "</script><script>alert(1)</script><!-- <b>&\u2028"
    record = copy.deepcopy(taught["detect"][0])
    record.title = record.question = record.about[0] = record.run[0] = record.change[0] = evil
    record.picture.columns[0] = evil
    for step in record.picture.steps:
        step.caption = evil
        step.rows[0][0] = Cell(evil, "bad")
    text = lesson_page(record, [], True)
    page = check_closed(text)
    assert page.scripts == ["application/json", None]
    assert embedded(text)["runs"][0]["steps"][0]["caption"] == evil
    assert "<b>&" not in text


def test_the_index(taught):
    records = [record for record, _ in taught.values()]
    for check in (False, True):
        page = check_closed(index_page(records, check),
                            {f"{name}.html" for name in ("glossary", *NAMES)})
        assert all(record.title in page.text and record.question in page.text
                   for record in records)
        assert ("withheld" in page.text) == (not check)
        assert page.scripts == []


def test_the_whole_course(tmp_path, course):
    """By the command: the same bytes for the same seed, every link leads somewhere."""
    done = kvm_vmx("lesson", "all", "--html", tmp_path / "a/b", "-c")
    assert done.returncode == 0 and done.stderr == ""
    assert str(tmp_path / "a/b/index.html") in done.stdout
    pages = {path.name: path.read_text() for path in (tmp_path / "a/b").iterdir()}
    assert set(pages) == {"index.html", "glossary.html", *(f"{name}.html" for name in NAMES)}
    assert pages == {path.name: path.read_text() for path in course.iterdir()}
    for text in pages.values():
        assert {link.partition("#")[0] for link in Reader(text).links} <= set(pages)


def test_one_page_by_the_command(tmp_path, capsys):
    path = tmp_path / "page.html"
    line = ["lesson", "key", "--html", str(path), "--seed", str(SEED)]
    assert cli.main([*line, "-c", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lesson"] == "key" and found["answer"]
    assert [step["caption"] for step in found["steps"]] == [
        step["caption"] for step in embedded(path.read_text())["runs"][0]["steps"]]
    assert "<details" in path.read_text()
    assert cli.main(line) == 0
    assert capsys.readouterr().out == f"{path}: open it in a browser.\n"
    assert "<details" not in path.read_text()


@pytest.mark.parametrize("options, words", [
    (["all"], "give the directory for them with --html DIR"),
    (["all", "--html", "{file}"], "give the name of a directory"),
    (["all", "--html", "{file}/in"], "give the name of a directory"),
    (["all", "--html", "{full}"], "cannot write {full}/index.html"),
    (["all", "--html", "{new}", "--case", "none"], "takes no --case"),
    (["all", "--html", "{new}", "--write", "x.py"], "takes no --write"),
    (["all", "--html", "{new}", "--seed", "-1"], "give a whole number"),
    (["all", "--html", "{new}", "--tree", "/nowhere"], "no such tree"),
    (["detect", "--html", "{folder}"], "cannot write {folder}"),
    (["detect", "--html", "/nowhere/page.html"], "cannot write /nowhere/page.html"),
    (["detect", "--html", "{file}/page.html"], "cannot write {file}/page.html"),
    (["detect", "--html", "/dev/full"], "No space left on device"),
    (["detect", "--html", ""], "give the name of a file"),
    (["all", "--html", ""], "with --html DIR"),
])
def test_bad_input_is_one_line(tmp_path, capsys, options, words):
    names = {"file": tmp_path / "file", "folder": tmp_path, "new": tmp_path / "new",
             "full": tmp_path / "full"}
    names["file"].write_text("")
    (names["full"] / "index.html").mkdir(parents=True)
    status = cli.main(["lesson", *(option.format(**names) for option in options)])
    out, err = capsys.readouterr()
    assert status == 2 and out == ""
    assert len(err.splitlines()) == 1 and words.format(**names) in err
    assert names["file"].read_text() == "" and not any(names["folder"].glob("new/*"))


def test_a_pipe_that_nobody_reads_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = kvm_vmx("lesson", "detect", "--html", tmp_path / "pipe")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
