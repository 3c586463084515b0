# SPDX-License-Identifier: GPL-2.0-only
"""Marks are pinned anew to what nothing else explains, and to no statement more."""

import pytest
from compared import pins_text
from snippets import PAIRS, port_file

from kvm_vmx.compare import marks, pinning, trees
from kvm_vmx.compare.port import Port

CONFIG = {"CONFIG_HYPERV": 1}


def repinned(name, change_c=("", ""), change_port=("", "")):
    """The rows of a pair after a change of its text and after its marks are pinned anew: how many
    are unexplained, the marks' pins, and what the reader is told."""
    c, text = PAIRS[name]
    assert change_c[0] in c and change_port[0] in text
    tree = trees.Tree("snippet", {"snippet.c": c.replace(*change_c)}, CONFIG)
    port = Port.__new__(Port)
    file = port_file(text.replace(*change_port))
    port.files = {file.path: file}
    port.subjects = {title: port.subject(file, title, function)
                     for title, (function, *_) in file.functions.items()}
    report, told = pinning.pinned_anew(port, tree)
    pins, = pinning.all_pins(port).values()
    return report.totals["unexplained"], pins, told


BEFORE = ["-1/0 30bfae", "-1/0 1fd43b", "~2/1 49c01e", "", "", "+0/1 c3f0d3"]


def test_pins_that_fit_stay():
    assert repinned("marks") == (0, BEFORE, [])


@pytest.mark.parametrize("old", ["[1 30bfae] ", "[1 1fd43b] ", "[2/1 49c01e] ", "[1 c3f0d3] "])
def test_a_new_mark_takes_what_nothing_else_explains(old):
    loose, pins, told = repinned("marks", ("", ""), (old, ""))
    assert (loose, pins) == (0, BEFORE) and len(told) == 1


def test_a_mark_put_before_others_leaves_them_their_statements():
    old = "    # C- [1 30bfae] flags: nobody else is here\n    cdef int ret\n"
    loose, pins, told = repinned("marks", ("	int ret;\n", "	int ret;\n	int hinge;\n"), (
        old, old + "    # C- [1 1fd43b] hinge: it has none\n"))
    assert loose == 0 and [pins[0], *pins[2:]] == BEFORE and len(told) == 1


@pytest.mark.parametrize("change_c, change_port", [
    (("	if (twice)", "	if (once)"), ("", "")),
    (("", ""), ("bolt_push_number(2, twice)", "bolt_push_number(3, twice)")),
])
def test_an_edit_under_a_mark_is_told(change_c, change_port):
    loose, pins, told = repinned("marks", change_c, change_port)
    assert loose == 0 and pins[2].startswith("~2/1 ") and pins[2] != BEFORE[2]
    assert len(told) == 1 and "the second bolt: by a number: ~2/1" in told[0]


@pytest.mark.parametrize("change_c, change_port", [
    (("	ret = bolt_push(door->bolt);\n", "	oil(door);\n	ret = bolt_push(door->bolt);\n"
      "	oil(door);\n"), ("", "")),
    (("", ""),
     ("    ret = bolt_push(door.bolt)\n", "    ret = bolt_push(door.bolt)\n    oil(door)\n")),
])
def test_a_statement_beside_marks_that_fit_stays_unexplained(change_c, change_port):
    loose, pins, told = repinned("marks", change_c, change_port)
    assert loose > 0 and pins == BEFORE and told == []


def test_a_count_in_the_text_is_held():
    text = ("# C~ [2/1 49c01e] ", "# C~ 2 statements: ")
    assert repinned("marks", ("", ""), text)[:2] == (0, BEFORE)
    assert repinned("marks", ("", ""), (text[0], "# C~ 1 statement: "))[0] > 0


def test_the_pins_are_those_of_the_ports_marks():
    port, held = Port(), marks.pins()
    assert marks.FILE.read_text() == pins_text(pinning.all_pins(port))
    for name, pins in held.items():
        assert len(pins) == len(port.subjects[name].function.marks), name
    assert sum(map(bool, sum(held.values(), []))) > 100
