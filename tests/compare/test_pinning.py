# SPDX-License-Identifier: GPL-2.0-only
"""Marks are pinned anew to what nothing else explains, and to no statement more."""

import pytest
from compared import pins_text
from snippets import HEAD, PAIRS, port_file

from kvm_vmx.compare import marks, pinning, report, trees
from kvm_vmx.compare.align import named_units
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.pysource import PortFile
from kvm_vmx.console import Trouble

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


# Two of the marks name their statements and have no pin in the text: they are given one as well.
BEFORE = ["-1/0 30bfae", "-1/0 1fd43b", "~2/1 49c01e", "-1/0 f78ad7", "-1/0 612e4c",
          "+0/1 49a0bd"]


@pytest.mark.parametrize("pin", ["-", "-1 30bfae", "-1/0 30bfaeff", "-one/0 30bfae"])
def test_what_is_no_pin_is_told_as_that(pin):
    """A checkout's file of pins is a file of its user's."""
    with pytest.raises(Trouble, match=f"^{pin} is no pin of a mark: "):
        marks.read_mark("# C- hinge: it has none", 1, 1, pin)


def test_pins_that_fit_stay():
    assert repinned("marks") == (0, BEFORE, [])


@pytest.mark.parametrize("old", ["[1 30bfae] ", "[1 1fd43b] ", "[2/1 49c01e] ", "[1 49a0bd] "])
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
    assert "the second bolt: by a number: ~2/1" in told[0]
    behind = [line for line in told[1:] if "the house counts its doors" in line]
    assert told[1:] == behind  # it stands behind other words now


@pytest.mark.parametrize("change_c, change_port", [
    (("	ret = bolt_push(door->bolt);\n", "	oil(door);\n	ret = bolt_push(door->bolt);\n"
      "	oil(door);\n"), ("", "")),
    (("", ""),
     ("    ret = bolt_push(door.bolt)\n", "    ret = bolt_push(door.bolt)\n    oil(door)\n")),
])
def test_a_statement_beside_marks_that_fit_stays_unexplained(change_c, change_port):
    loose, pins, told = repinned("marks", change_c, change_port)
    assert loose > 0 and pins == BEFORE and told == []


def test_a_statement_that_a_mark_names_is_held_to_its_block():
    c, text = PAIRS["marks"]
    tree = trees.Tree("snippet", {"snippet.c": c}, CONFIG)
    port = Port.__new__(Port)
    file = port_file(text)
    port.files = {file.path: file}
    port.subjects = {title: port.subject(file, title, function)
                     for title, (function, *_) in file.functions.items()}
    pinning.pinned_anew(port, tree)
    subject, = port.subjects.values()
    named = next(mark for mark in subject.function.marks if str(mark.pin) == BEFORE[3])
    kernel = tree.function(subject.kernel_name, "snippet.c")
    left_out, = (unit for unit in kernel.units if unit.key == named_units(named)[0])
    head = next(unit for unit in kernel.units if unit.kind == "if")
    left_out.parent = head if left_out.parent is None else None
    pair = report.Report(port, tree).pairs[0]
    assert pair.totals["unexplained"] > 0


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


GATE_C = """
static void gate_move(struct gate *gate, int way)
{
	if (way)
		gate_up(gate);
	else {
		if (gate->heavy)
			gate_help(gate);
		else {
			gate_down(gate);
			gate_wait(gate, 5);
		}
	}
	if (way)
		gate_lock(gate);
}
"""
GATE = """
cdef void gate_move(gate_t *gate, int way) noexcept nogil:
    if way:
        gate_up(gate)
    else:
        if gate.heavy:
            gate_help(gate)
        else:
            gate_down(gate)
            # C~ the wait: by the clock
            gate_sleep(gate, 5000)
    # C+ it is counted
    gates += 1
    if way:
        gate_lock(gate)
"""
WAIT = "            # C~ the wait: by the clock\n            gate_sleep(gate, 5000)\n"
COUNT = "    # C+ it is counted\n    gates += 1\n"


def gate(c=GATE_C, text=GATE, pins=None):
    """The pins of the gate's marks, and how many of its rows are unexplained."""
    port = Port.__new__(Port)
    file = PortFile("gate.pyx", HEAD.replace("snippet", "gate") + text, pins)
    port.files = {file.path: file}
    port.subjects = {title: port.subject(file, title, function)
                     for title, (function, *_) in file.functions.items()}
    tree = trees.Tree("gate", {"gate.c": c}, CONFIG)
    if pins is None:
        pinning.pinned_anew(port, tree)
    return pinning.all_pins(port), report.Report(port, tree).totals["unexplained"]


@pytest.mark.parametrize("chunk, indent, behind", [
    (WAIT, 8, "            gate_down(gate)\n"),  # from one else to the one around it
    (WAIT, 4, "            gate_down(gate)\n"),
    (COUNT, 8, WAIT),
    (COUNT, 12, WAIT),
    (COUNT, 8, "        gate_up(gate)\n"),  # into another branch
    (COUNT, 12, "            gate_down(gate)\n"),
    (COUNT, 8, "nogil:\n    if way:\n"),
    (COUNT, 8, "+= 1\n    if way:\n"),
    (COUNT, 4, "        gate_lock(gate)\n"),
    (COUNT, 8, "        gate_lock(gate)\n"),
])
def test_a_mark_is_held_to_its_place(chunk, indent, behind):
    pins, loose = gate()
    assert loose == 0
    at = GATE.index(behind) + len(behind)
    moved = "".join(f"{' ' * indent}{row.lstrip()}\n" for row in chunk.splitlines())
    before, after = (part.replace(chunk, "") for part in (GATE[:at], GATE[at:]))
    text = before + moved + after
    assert gate(text=text, pins=pins)[1] > 0, text
