# SPDX-License-Identifier: GPL-2.0-only
"""The page, in a real browser where there is one: self-contained, aligned, columns that hide."""

import html.parser
import re

import pytest
from snippets import MARK, PAIRS, pins_in

from kvm_vmx.compare.page import page
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.trees import Tree

PROBE = """(() => {
const box = (name) => document.getElementById("show-" + name);
const SHORT = { generated: "g", machine: "m" };
const cells = (name) => [...document.querySelectorAll(".rows ." + (SHORT[name] || name))];
const seen = (name) => cells(name).filter((cell) => cell.offsetParent !== null).length;
const aligned = () => [...document.querySelectorAll(".row")].every((row) => {
  const tops = [...row.children].filter((cell) => cell.offsetParent !== null)
    .map((cell) => Math.round(cell.getBoundingClientRect().top));
  return new Set(tops).size <= 1;
});
const tell = [];
tell.push("start", seen("kernel") > 0, seen("port") > 0, seen("generated"), seen("machine"),
          aligned());
box("generated").click(); box("machine").click();
tell.push("four", seen("generated") > 0, seen("machine") > 0, aligned(),
          getComputedStyle(document.querySelector(".rows")).gridTemplateColumns.split(" ").length);
box("kernel").click();
tell.push("three", seen("kernel"), aligned(),
          getComputedStyle(document.querySelector(".rows")).gridTemplateColumns.split(" ").length);
document.getElementById("only-diff").click();
tell.push("differs", [...document.querySelectorAll(".row.same")]
          .filter((row) => row.children[1].offsetParent !== null).length);
tell.push("fetched", performance.getEntriesByType("resource").length);
return tell;
})()"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A port of snippets against a tree of snippets."""
    root = tmp_path_factory.mktemp("port") / "kvm_vmx" / "l1"
    root.mkdir(parents=True)
    head = "# SPDX-License-Identifier: GPL-2.0-only\n# C: arch/x86/kvm/snippet.c\n"
    pairs = [pair for name, pair in PAIRS.items()]
    (root / "snippet.pyx").write_text(head + "\n".join(MARK.sub(r"\1", port) for _, port in pairs))
    files = {"arch/x86/kvm/snippet.c": "\n".join(c for c, _ in pairs)}
    pins = {name: of for _, port in pairs for name, of in pins_in(port).items()}
    return Report(Port(root, pins), Tree("snippets <&>", files))


@pytest.fixture(scope="module")
def text(report):
    """The page's text."""
    return page(report)


# What a reader may follow: the kernel's sources and history, and the port's own files.
READ = re.compile(r"https://elixir\.bootlin\.com/linux/v|https://git\.kernel\.org/|file:///")


class Check(html.parser.HTMLParser):
    """Collects tags, what is open, and everything that names another place."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.outside, self.ids = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        for name in ("src", "href", "action", "data", "srcset"):
            if name in values and not values[name].startswith("#") \
                    and not (tag == "a" and READ.match(values[name])):
                self.outside.append(values[name])
        if tag not in ("meta", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.wrong.append(tag)


def test_it_is_well_formed_and_names_no_other_place(text):
    check = Check()
    check.feed(text)
    assert check.wrong == [] and check.open == [] and check.outside == []
    assert not re.search(r"url\(|@import|<link|<img|\bsrc=|fetch\(|XMLHttp|import\(", text)
    assert text.count("<script") == 1 and "script-src 'sha256-" in text
    assert "default-src 'none'" in text
    assert "snippets &lt;&amp;&gt;" in text and "snippets <&>" not in text


def test_every_function_is_linked_and_shown(report, text):
    check = Check()
    check.feed(text)
    for pair in report.pairs:
        assert f'href="#{pair.name}"' in text and pair.name in check.ids
    assert len(report.pairs) == len(PAIRS)
    assert text.count('class="row ') > 50
    assert report.totals["unexplained"] == 0


def test_each_class_has_its_colour(text):
    for name in ("same", "idiom", "adapted", "omitted", "added", "moved", "unexplained"):
        assert re.search(rf"\.{name} {{\s*--tint: var\(--{name}\);", text)
        assert re.search(rf"--{name}: #|--{name}: transparent", text)
    assert "prefers-color-scheme: dark" in text


def with_columns(text):
    """The page with something in the third and fourth column of each row."""
    return re.sub(r'(<div class="(?:generated|machine)">)', r"\1nop", text)


@pytest.mark.host("browser")
def test_in_a_browser(text, window):
    assert window(with_columns(text), PROBE, 1600) == [
        "start", True, True, 0, 0, True,
        "four", True, True, True, 4,
        "three", 0, True, 3,
        "differs", 0,
        "fetched", 0,
    ]


@pytest.mark.host("browser")
def test_in_a_narrow_window(text, window):
    told = window(with_columns(text), PROBE, 500)
    assert told[:5] == ["start", True, True, 0, 0]
    assert told[-2:] == ["fetched", 0]
    assert told[told.index("differs") + 1] == 0
