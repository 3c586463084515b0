# SPDX-License-Identifier: GPL-2.0-only
"""What perf/untaken.toml lists still stands in L0, each with a reason."""

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
