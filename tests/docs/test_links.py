# SPDX-License-Identifier: GPL-2.0-only
"""The pages as they stand in the repository, where no site is built: no link of theirs is dead.

test_site.py asks the same of the site. An anchor is a heading's by both: a code host and the site
make the same of it.
"""

import pathlib
import re
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(
    path for folder in ("dev", "docs", "examples", "include", "kvm_vmx", "perf", "share", "tests")
    for path in (ROOT / folder).rglob("*.md"))])
CODE = re.compile(r"^(```|~~~).*?^\1|``.*?``|`[^`\n]*`", re.M | re.S)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)"
                  r"|<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)", re.M)


def links(text):
    """Where a page's links and pictures lead, but for what stands in code."""
    return [next(filter(None, found)) for found in LINK.findall(CODE.sub("`", text))]


def anchors(text):
    """What can stand behind a # for this page, on a code host and on the site alike."""
    seen, found = [], set(re.findall(r"<\w+ [^>]*?\b(?:id|name)=[\"']([^\"']+)", text))
    for heading in re.findall(r"^#+ (.*?) *#*$", re.sub(r"^```.*?^```", "", text,
                                                       flags=re.M | re.S), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        host = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", shown).strip())
        if host == site and host not in seen:       # a second one gets a number, by each its own
            found.add(host)
        seen.append(host)
    return found


def dead(page, text):
    """What of its links leads nowhere."""
    for link in links(text):
        there = urllib.parse.urlparse(link)
        if there.scheme:
            continue
        target = page.parent / urllib.parse.unquote(there.path) if there.path else page
        if there.path.startswith("/") or not target.exists() or \
                not target.resolve().is_relative_to(ROOT):
            yield f"{link}: no such file"
        elif there.fragment and (target.suffix != ".md" or there.fragment not in anchors(
                text if target == page else target.read_text(encoding="utf-8"))):
            yield f"{link}: no such place"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page):
    assert list(dead(page, page.read_text(encoding="utf-8"))) == []


def test_all_pages_are_looked_at():
    assert {ROOT / "README.md", ROOT / "docs/errata.md", ROOT / "perf/README.md",
            ROOT / "examples/nested_tests/README.md"} <= set(PAGES)
    assert sum(len(links(page.read_text(encoding="utf-8"))) for page in PAGES) > 100


def test_the_site_leads_to_every_page_of_docs():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": ([\w-]+\.md)$", nav, re.M)
    assert len(named) == len(set(named)) and {path.name for path in ROOT.glob("docs/*.md")} <= set(
        named)


@pytest.mark.parametrize("text, wrong", [
    ("[a](LICENSE)", []), ("[a](none.md)", ["none.md: no such file"]),
    ("`[a](none.md)`", []), ("```\n[a](none.md)\n```", []), ("[a](https://x.org/none)", []),
    ("[a]: none.md", ["none.md: no such file"]), ("![a](x.svg)", ["x.svg: no such file"]),
    ('<a href="none.html">a</a>', ["none.html: no such file"]),
    ("[a](/README.md)", ["/README.md: no such file"]), ("[a](../x.md)", ["../x.md: no such file"]),
    ("## The `b` c\n[a](#the-b-c)", []), ("## b\n[a](#c)", ["#c: no such place"]),
    ("## b: (0x7)\n[a](#b-0x7)", []), ("## a -- b\n[a](#a----b)", ["#a----b: no such place"]),
    ('<span id="r1"></span>[a](#r1)', []), ("[a](LICENSE#x)", ["LICENSE#x: no such place"])])
def test_a_dead_link_is_seen(text, wrong):
    assert list(dead(ROOT / "README.md", text)) == wrong
