# SPDX-License-Identifier: GPL-2.0-only
"""The port against the record of its last comparison with v4.19: it needs no kernel tree."""

import json

from compared import RECORD, digest, digests, recorded, statements
from snippets import PAIRS, port_file

from kvm_vmx.compare.port import Port, Subject

CURE = """compare these with v4.19, `kvm-vmx compare FUNCTION --only diff --tree TREE`;
where nothing is unexplained, `python dev/regenerate.py --tree TREE` records it"""


def test_every_function_is_as_it_was_compared():
    now, then = digests(Port()), recorded()
    assert len(then) > 400
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    assert changed == [], CURE


def of_snippet(old="", new=""):
    """The digest of a snippet after a change of its text."""
    text = PAIRS["marks"][1]
    assert old in text
    file = port_file(text.replace(old, new))
    function = file.functions["door_lock"][0]
    return digest(Subject(function, "door_lock", "snippet.c"))


def test_a_digest_holds_statements_and_pins():
    assert of_snippet() == of_snippet("nobody else is here", "no other house has the key")
    assert of_snippet() == of_snippet("    ret = bolt_push(door.bolt)\n",
                                      "    # the first bolt\n    ret = bolt_push( door.bolt )\n")
    for old, new in (("locked += 1", "locked += 2"), ("1fd43b", "1fd43c"),
                     ("(door, ret)", "(door)"),
                     ("    ret = bolt_push(door.bolt)\n", ""), ("cdef int ret", "cdef u32 ret")):
        assert of_snippet() != of_snippet(old, new), new


def test_the_recorded_statements_are_the_comparisons(report_v419):
    assert statements(report_v419) == json.loads(RECORD.read_text())["statements"]
