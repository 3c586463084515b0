# SPDX-License-Identifier: GPL-2.0-only
"""The site: made by one command, no link in it is dead, and a browser fetches nothing for it."""

import html
import html.parser
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import needed
import pytest
import tomllib
from command import PACKAGE

import kvm_vmx
from kvm_vmx.l0.profile_reader import POLICIES

pytestmark = pytest.mark.long
ROOT = pathlib.Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
# What fetches at once, and not where somebody clicks.
FETCHES = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src",
           "video": "src", "audio": "src", "object": "data", "embed": "src", "use": "href"}
PAGES = ("index", "notebook-exit", "tutorial-read", "reference", "policies")
FOR_PEOPLE = {"canonical", "next", "prev", "alternate"}


class Page(html.parser.HTMLParser):
    """The ids of a page, where its links lead, and what it fetches."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched, self.text = set(), [], [], text
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get(FETCHES.get(tag)) and given.get("rel") not in FOR_PEOPLE:
            self.fetched.append(given[FETCHES[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory, caplog_of_mkdocs):
    """{path: Page} of every page, as `mkdocs build` makes it in an empty folder."""
    needed.capability("mkdocs", "nbclient", "ipykernel")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    assert caplog_of_mkdocs == []
    pages = {path.relative_to(folder).as_posix(): Page(path.read_text(encoding="utf-8"))
             for path in folder.rglob("*.html")}
    assert len(pages) > 40
    return folder, pages


@pytest.fixture(scope="module")
def caplog_of_mkdocs():
    """What mkdocs complains of."""
    said = []

    class Kept(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())
    kept = Kept(logging.WARNING)
    logging.getLogger("mkdocs").addHandler(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PACKAGE))
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        yield said
    logging.getLogger("mkdocs").removeHandler(kept)


@pytest.mark.needs("hyperv")
def test_no_link_is_dead_and_none_leads_into_a_machine(site):
    folder, pages = site
    dead = []
    for name, page in pages.items():
        for link in page.links + page.fetched:
            there = urllib.parse.urlparse(link)
            if there.scheme in ("http", "https", "mailto", "data"):
                continue
            path = (folder / name).parent / urllib.parse.unquote(there.path) if there.path \
                else folder / name
            if name == "404.html" and there.path.startswith("/"):
                path = folder / there.path.lstrip("/")
            where = os.path.relpath(path, folder)
            if path.is_dir():
                where = os.path.normpath(f"{where}/index.html")
            if there.scheme or where.startswith("..") or not (folder / where).exists():
                dead.append(f"{name}: {link}")
            elif there.fragment and where in pages and there.fragment not in pages[where].ids:
                # the theme's own: a tab of the drawer, a place that a script makes
                if not there.fragment.startswith("__"):
                    dead.append(f"{name}: {link}: no such place")
    assert dead == []


@pytest.mark.needs("hyperv")
def test_nothing_is_fetched_from_elsewhere(site):
    folder, pages = site
    elsewhere = re.compile(r"^(?:https?:)?//")
    assert [(name, link) for name, page in pages.items() for link in page.fetched
            if elsewhere.match(link)] == []
    styles = [path for path in folder.rglob("*.css")]
    assert styles and [path for path in styles if re.search(
        r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8"))] == []


@pytest.mark.needs("hyperv")
def test_no_page_knows_where_it_was_made(site):
    _, pages = site
    assert [name for name, page in pages.items()
            if str(ROOT) in page.text or os.path.expanduser("~/.") in page.text] == []


@pytest.mark.soak
@pytest.mark.needs("hyperv")
def test_a_browser_fetches_nothing(site, tmp_path, soak):
    """By day, by night, on a telephone; no error, no page wider than the window."""
    needed.capability("browser")
    from browser import Browser

    folder, _ = site
    browser = Browser(tmp_path / "profile")
    try:
        for scheme, width in (("light", 1280), ("dark", 400)):
            browser.media(scheme)
            browser.size(width)
            for name in PAGES if soak else PAGES[:2]:
                browser.open(folder / f"{name}.html")
                asked = [url for url in browser.requests
                         if not url.startswith(("file:", "data:", "blob:"))]
                assert asked == [] and browser.errors == []
                assert browser.evaluate("document.documentElement.scrollWidth") <= width
                paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 100) == (scheme == "dark")
    finally:
        browser.close()


@pytest.mark.needs("hyperv")
def test_the_pages_that_are_printed_have_all_of_it(site):
    _, pages = site
    reference = pages["reference.html"]
    assert {name.lower() for name in kvm_vmx.__all__} <= reference.ids
    # of Machine's options, as Python is written
    assert "Unpack" in reference.text and "class 'Options'" not in reference.text
    for name in ("insmod", "start_trace", "vmresume", "exit_log", "clean_fields", "CPUID_LOOP"):
        assert name in reference.text
    assert all(name in pages["policies.html"].text for name in POLICIES)
    rules = tomllib.loads((ROOT / "kvm_vmx/conform/rules.toml").read_text())
    assert {name.lower() for name in rules} <= pages["rules.html"].ids
    assert "course-pages/index.html" in pages and "eVMCS at" in pages["notebook-exit.html"].text
    assert "<svg" in pages["notebook-exit.html"].text
    first = pages["index.html"].text.partition("<article")[2]
    assert first.index("pictures/exit.svg") < first.index("See it in one minute")


def test_without_an_extra_it_says_so_in_a_line(tmp_path):
    needed.capability("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(tmp_path / "site")], cwd=ROOT,
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "NO_MKDOCS_2_WARNING": "1",
             "KVM_VMX_WITHOUT": "ipykernel"})
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "KVM_VMX_WITHOUT says so" in line
    assert not (tmp_path / "site").exists()


def test_the_picture_is_what_two_traces_say():
    import picture

    assert (ROOT / "docs/pictures/exit.svg").read_text() == picture.svg(), \
        "run python dev/picture.py"


def test_the_picture_of_the_comparison_is_the_record():
    import picture_path

    record = json.loads((ROOT / "tests/data/compared_4.19.json").read_text())["statements"]
    shown = (ROOT / "docs/pictures/compare.svg").read_text()
    assert shown == picture_path.svg(record), "run dev/regenerate.py --tree TREE"
    # a bar each of README's parts, with the share of its row
    for line in (ROOT / "README.md").read_text().splitlines():
        if found := re.match(r"\| (?!what)([^*|]+?)(?:,[^|]*)? \|.*\| (\d+), (\d+), (\d+) \|",
                             line):
            alike, adapted, out = map(int, found.groups()[1:])
            assert f">{html.escape(found[1])}</text>" in shown
            assert f">{100 * alike // (alike + adapted + out)} %<" in shown, found[1]


def test_the_glossary_can_be_linked():
    """A term a heading, in order, each with its source, and each rule that it names is one."""
    parts = re.split(r"^## (.*)$", GLOSSARY, flags=re.M)
    terms, texts = parts[1::2], parts[2::2]
    assert len(terms) > 30 and terms == sorted(terms, key=str.lower)
    assert {"L0", "L1", "L2", "VP", "GPA", "eVMCS", "clean field", "VM entry", "VMfailValid",
            "assist page", "enlightened", "static key"} <= set(terms)
    assert [term for term, text in zip(terms, texts) if not re.search(r"\*.+\*\s*$", text)] == []
    rules = tomllib.loads((ROOT / "kvm_vmx/conform/rules.toml").read_text())
    assert set(re.findall(r"\b[RK]\d+\b", GLOSSARY)) <= set(rules)
