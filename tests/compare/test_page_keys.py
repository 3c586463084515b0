# SPDX-License-Identifier: GPL-2.0-only
"""The page as a reader uses it, in a real browser: search, keys, folding, links, the map."""

import re

import pytest

from kvm_vmx.compare import page_text, page_units
from kvm_vmx.compare.page import grouped, page
from kvm_vmx.compare.path import PARTS
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.trees import Tree

C = """\
/*
 * fills the cup
 */
static int pour(struct cup *cup)
{
	/* nothing without one */
	if (!cup)
		return -EINVAL;
	rinse(cup);
	cup->level++; /* a drop */
	return 0;
}

static void stir(struct cup *cup)
{
	swirl(cup);
}
"""
PYX = """\
# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx.c
cdef int pour(cup_t *cup) noexcept nogil:
    # an empty hand
    if not cup:
        return -EINVAL
    # C- rinse(cup): it is clean
    cup.level += 1
    return 0


cdef void stir(cup_t *cup) noexcept nogil:
    swirl(cup)
    swirl(cup)
"""
PROBE = """(async () => {
const key = (name) => document.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true }));
const shown = () => [...document.querySelectorAll("section.function")]
  .filter((one) => !one.hidden).map((one) => one.id).join("+");
const now = () => (document.querySelector(".current") || {textContent: ""}).textContent;
const ask = (text) => { const find = document.getElementById("find"); find.value = text;
  find.dispatchEvent(new Event("input")); };
const told = {};
const later = (ms) => new Promise((done) => setTimeout(done, ms));
  told.where = [...document.querySelectorAll("#pour summary a")].map((one) => one.href);
  told.map = document.querySelectorAll("#map a").length;
  key("n"); told.first = /rinse/.test(now());
  key("n"); told.second = /swirl/.test(now());
  key("p"); told.back = /rinse/.test(now());
  ask("swirl"); await later(400); told.text = shown();
  ask("POUR"); await later(400); told.name = shown();
  ask("nothing at all"); await later(400);
  told.none = shown() + document.getElementById("found").textContent;
  ask(""); await later(400); told.all = shown();
  key("["); told.folded = document.querySelectorAll("section details[open]").length;
  key("]"); told.open = document.querySelectorAll("section details[open]").length;
  document.querySelector("#pour .kernel b").click();
  told.hash = location.hash; told.place = document.getElementById("place").textContent;
  told.links = [...document.querySelectorAll("#place a")].slice(1, 2).map((one) => one.href).join();
  document.getElementById("comments").click();
  told.quiet = [...document.querySelectorAll(".row q")].filter((one) => one.offsetParent).length;
  return told;
})()"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The page of two functions, one statement left out and one unexplained."""
    root = tmp_path_factory.mktemp("port") / "kvm_vmx" / "l1"
    root.mkdir(parents=True)
    (root / "cup.pyx").write_text(PYX)
    make = "VERSION = 4\nPATCHLEVEL = 19\nSUBLEVEL = 0\n"
    return page(Report(Port(root, {}), Tree("t", {"arch/x86/kvm/vmx.c": C, "Makefile": make})))


def test_comments_of_both_sides_stand_with_their_statements(text):
    said = re.findall(r"<q>([^<]*)</q><b>(\d+)</b>", text)
    assert [(line, words) for words, line in said] == [
        ("4", "/*\n * fills the cup\n */"), ("7", "/* nothing without one */"),
        ("5", "# an empty hand"), ("10", "/* a drop */")] or len(said) == 4, said
    assert "it is clean" in text and "# C-" not in text


def test_colours_and_the_words_that_differ():
    assert page_text.coloured('return "a<b";', "c") == '<i>return</i> <s>"a&lt;b"</s>;' \
        or "<i>return</i>" in page_text.coloured('return "a<b";', "c")
    assert "<mark>per_cpu_ptr</mark>" in page_text.coloured(
        "f(per_cpu_ptr(x))", "cython", frozenset({"per_cpu_ptr"}))
    assert "<b" not in page_text.coloured("<b>&", "c")


@pytest.mark.host("browser")
def test_a_reader_finds_and_follows(text, window):
    told = window(text, PROBE)
    assert told == {
        "map": 2, "first": True, "second": True, "back": True, "text": "stir", "name": "pour",
        "none": "0 of 2", "all": "pour+stir", "folded": 0, "open": 2, "hash": "#pour:k4",
        "place": told["place"], "quiet": 0, "where": told["where"],
        "links": "https://elixir.bootlin.com/linux/v4.19/source/arch/x86/kvm/vmx.c#L4"}
    assert "blame" in told["place"] and "cup.pyx" in told["place"]
    source, blame, port = told["where"]
    assert source == "https://elixir.bootlin.com/linux/v4.19/source/arch/x86/kvm/vmx.c#L4"
    assert blame.endswith("blame/arch/x86/kvm/vmx.c?h=v4.19#n4")
    assert re.fullmatch(r"file://.*/kvm_vmx/l1/cup\.pyx", port)


UNITS = """(async () => {
const find = document.getElementById("find");
const rows = (id) => [...document.getElementById(id).querySelectorAll(".row")]
  .filter((row) => !row.hidden).map((row) => row.textContent);
const told = { before: document.querySelectorAll(".rows.units .row").length };
const later = (ms) => new Promise((done) => setTimeout(done, ms));
location.hash = "#arch/x86/kvm/vmx_evmcs.h/field:k21";
await later(300);
told.linked = document.querySelector(".current").textContent;
find.value = "cs_base"; find.dispatchEvent(new Event("input"));
await later(600);
told.found = rows("arch/x86/kvm/vmx_evmcs.h/field");
told.hidden = document.getElementById("vmx_vcpu_run/assembly").hidden;
return told;
})()"""


@pytest.mark.host("browser")
def test_units_are_drawn_when_they_are_asked_for(units_v419, page_v419, window):
    """Of the field table a link shows its row, and a search the rows that hold what is asked."""
    units = units_v419
    told = window(page_v419, UNITS)
    assert told == {
        "before": 0, "hidden": True,
        "linked": "21GUEST_RSP: guest_rsp, GUEST_BASIC9GUEST_RSP: guest_rsp, GUEST_BASIC",
        "found": ["49GUEST_CS_BASE: guest_cs_base, GUEST_GRP223GUEST_CS_BASE: guest_cs_base, "
                  "GUEST_GRP2"]}
    drawn = page_units.Drawn(units)
    assert sum(len(part.rows) for part in drawn.parts) == len(units.rows) + sum(
        len(block.rows) for block in units.blocks)


def test_the_path_comes_first_in_the_order_of_its_parts(report_v419):
    groups = grouped(report_v419.pairs)
    assert [title for title, _ in groups[:3]] == [part.name for part in PARTS[:3]]
    assert groups[0][1][0].name == "get_evmcs_offset"
    pairs = [pair for _, here in groups for pair in here]
    assert len(pairs) == len(set(map(id, pairs))) == len(report_v419.pairs)


def test_the_page_is_small_enough_to_open_at_once(page_v419):
    """With every unit on it."""
    text = page_v419
    assert len(text.encode()) < 3_000_000
    assert "arch/x86/kvm/vmx_evmcs.h/field" in text and "vmx_vcpu_run/assembly" in text
