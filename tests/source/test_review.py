# SPDX-License-Identifier: GPL-2.0-only
"""docs/review.md quotes the port: each quotation stands in the file that it names."""

import re

import tree


def test_every_quotation_stands_in_its_file():
    rows = re.findall(r"\| `([\w.]+)`: `([^`]+)` \|$", tree.text("docs/review.md"), re.M)
    assert len(rows) == 10
    files = {path.name: tree.text(path) for path in tree.under("kvm_vmx/l1", "include")}
    assert [(name, text) for name, text in rows if text not in files[name]] == []


def test_every_link_into_the_errata_has_its_heading():
    names = re.findall(r"errata\.md#(\w+)", tree.text("docs/review.md"))
    headings = re.findall(r"^## (\w+)", tree.text("docs/errata.md"), re.M)
    assert names and set(names) <= set(headings)
