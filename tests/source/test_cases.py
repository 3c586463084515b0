# SPDX-License-Identifier: GPL-2.0-only
"""Each case of tests/data/cases.toml is shown by a test that runs, or says why it does not apply;
no test names another."""

import re
import tomllib

import tree

CASES = tomllib.loads(tree.text("tests/data/cases.toml"))
NOT_APPLICABLE = CASES.pop("not_applicable")
TAG = re.compile(r"mark\.case\(([^)]*)\)")


def tagged():
    """{case: the test files that show it}."""
    found = {}
    for path in tree.under("tests", suffixes={".py"}):
        for tag in TAG.findall(tree.text(path)):
            for case in re.findall(r'"([^"]+)"', tag):
                found.setdefault(case, set()).add(str(path))
    return found


def test_every_case_has_its_test_and_every_tag_its_case():
    shown = tagged()
    assert set(shown) == set(CASES)
    assert not set(NOT_APPLICABLE) & set(CASES) and all(NOT_APPLICABLE.values())


def test_a_tag_stands_on_a_test():
    for path in tree.under("tests", suffixes={".py"}):
        for decorated in re.findall(
                r"^( *)@pytest\.mark\.case\(.*\)\n((?:\1(?:@|    |[)\]]).*\n)*)\1(.*)",
                tree.text(path), re.M):
            assert decorated[2].startswith("def test_"), (path, decorated[2])
