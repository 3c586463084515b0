# SPDX-License-Identifier: GPL-2.0-only
"""What tests say of behaviour they ask of every L1, the port and the trees' own KVM; each that asks
the port alone has its reason in tests/data/port_alone.toml."""

import ast
import functools
import tomllib

import tree

FOLDERS = "tests/machine", "tests/l1"
# The fixtures that boot every kind of L1, or the port and one tree.
EACH = {"kernel", "anywhere", "face"}
# What makes a fixture one: it looks for a tree's image.
IMAGE = "image_of"
REASONS = tomllib.loads(tree.text("tests/data/port_alone.toml"))


@functools.cache
def functions(path):
    """The functions of a file, on its top level."""
    return [node for node in ast.parse(tree.text(path)).body if isinstance(node, ast.FunctionDef)]


def is_fixture(function):
    return any("fixture" in ast.unparse(one) for one in function.decorator_list)


def looks_for_an_image(function):
    return any(IMAGE == getattr(node, "id", getattr(node, "attr", None))
               for node in ast.walk(function))


def asks(function):
    """What a function asks for by its arguments."""
    return {argument.arg for argument in function.args.args + function.args.kwonlyargs}


@functools.cache
def fixtures_of_each(path):
    """The fixtures that a file's tests reach a tree's own KVM by."""
    found, fixtures = set(EACH), [one for one in functions(path) if is_fixture(one)]
    found |= {one.name for one in fixtures if looks_for_an_image(one)}
    while more := {one.name for one in fixtures if asks(one) & found} - found:
        found |= more
    return found


@functools.cache
def asked():
    """{(file below tests/, test): whether each L1 is asked}."""
    return {(str(path.relative_to("tests")), one.name): bool(
                asks(one) & fixtures_of_each(path) or looks_for_an_image(one))
            for path in tree.under(*FOLDERS, suffixes={".py"}) if path.name.startswith("test_")
            for one in functions(path) if one.name.startswith("test_")}


def reason_of(file, name):
    """Why a test asks the port alone: the file's reason, or its own."""
    return REASONS["files"].get(file) or REASONS["tests"].get(file, {}).get(name)


def test_what_asks_the_port_alone_says_why():
    assert [place for place, each in asked().items() if not each and not reason_of(*place)] == []


def test_no_reason_is_left_over():
    """A file's holds for all of it; a test's is one of the port alone."""
    found = asked()
    for file in REASONS["files"]:
        assert {each for (where, _), each in found.items() if where == file} == {False}, file
    for file, names in REASONS["tests"].items():
        assert file not in REASONS["files"]
        for name in names:
            assert found[file, name] is False, (file, name)


def test_a_reason_is_a_line_that_says_what_the_test_is_about():
    reasons = [*REASONS["files"].values(), *(
        reason for names in REASONS["tests"].values() for reason in names.values())]
    for reason in reasons:
        assert 20 < len(reason) <= 110 and "\n" not in reason, reason
        assert not {"untested", "todo", "later on", "not yet"} & {
            word for word in ("untested", "todo", "later on", "not yet")
            if word in reason.lower()}, reason


def test_most_are_asked_of_each():
    found = asked()
    alone = sum(not each for each in found.values())
    in_files = sum(file in REASONS["files"] for file, _ in found)
    # of the files that speak of behaviour
    assert (alone - in_files) * 2 < len(found) - in_files
