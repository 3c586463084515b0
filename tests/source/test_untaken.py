# SPDX-License-Identifier: GPL-2.0-only
"""What perf/untaken.toml lists still stands in L0, each with a reason; so do the functions of
perf/races.txt in what is compiled."""

import re
import tomllib

import tree

LISTED = tomllib.loads((tree.ROOT / "perf/untaken.toml").read_text())


def test_every_line_stands_there():
    missing = []
    for name, entries in LISTED.items():
        lines = {line.strip() for line in
                 (tree.ROOT / "kvm_vmx/l0" / name).read_text().splitlines()}
        missing += [f"{name}: {entry['line']}" for entry in entries if entry["line"] not in lines]
    assert missing == []


def test_each_has_its_reason_once():
    for name, entries in LISTED.items():
        lines = [entry["line"] for entry in entries]
        assert len(lines) == len(set(lines)), name
        assert all(entry["reason"] and entry.get("branches", 1) > 0 for entry in entries)


# Of the C library.
ELSEWHERE = {"dl_deallocate_tls"}


def test_every_race_is_of_a_function_that_there_is():
    """By the names that the sanitizer sees, which are Cython's."""
    races = {line.removeprefix("race:") for line in tree.text("perf/races.txt").splitlines()
             if line.startswith("race:")}
    compiled = "".join(path.read_text() for folder, end in (
        ("build/cython", "c"), ("include", "h"), ("kvm_vmx", "h"))
        for path in sorted((tree.ROOT / folder).rglob(f"*.{end}")))
    # of one with a star, what stands behind that is rarer than what stands before it
    missing = {race for race in races if race not in compiled and not (
        "*" in race and race.partition("*")[2] in compiled
        and re.search(re.escape(race).replace(r"\*", r"\w*"), compiled))}
    assert len(races) > 20 and missing == ELSEWHERE
