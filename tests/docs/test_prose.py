# SPDX-License-Identifier: GPL-2.0-only
"""The reference's sentences: names in a docstring stand as code, and nothing else does."""

import pytest
from site_prose import prose


@pytest.mark.parametrize("said, shown", [
    ("An open_file() of Machine.memory.", "An `open_file()` of `Machine.memory`."),
    ("size is 4, of some_name; more is size.", "`size` is 4, of `some_name`; more is size."),
    ("a < b * c", "a &lt; b \\* c"), ("`a < b`", "`a < b`"), ('"a_b" stays', '"a_b" stays'),
    ("f(g(1), [2]) raises ValueError.", "`f(g(1), [2])` raises `ValueError`."),
    ("vm-exit, e.g. of 1.5 and L1", "vm-exit, e.g. of 1.5 and L1"),
    ("one\nline", "one line")])
def test_names_are_code(said, shown):
    def thing(size):
        """Replaced."""
    thing.__doc__ = said
    assert list(prose(thing)) == [shown]
    assert list(prose(type("Thing", (), {"__doc__": said, "size": 4}))) == [shown]
