# SPDX-License-Identifier: GPL-2.0-only
"""The path is all there, in the kernel's order, and README's table of it is the sources' own."""

import copy
import json

import pytest
import tree

from kvm_vmx.compare import path
from kvm_vmx.compare.port import Port

RECORD = json.loads(tree.text(path.RECORD))
ORDER = json.loads(tree.text("tests/data/function_order_4.19.json"))


@pytest.fixture(scope="module")
def port():
    return Port()


def test_no_function_of_the_path_is_missing(port):
    assert path.missing(port) == []


def test_the_table_in_readme_is_what_the_sources_give(port):
    """After a change: python dev/regenerate.py --tree TREE"""
    text = tree.text("README.md")
    assert path.BEGIN in text and path.END in text
    assert path.renewed(text, port, RECORD["statements"]) == text


def test_one_total(port):
    """As many functions in README's table as the comparison has, and their statements."""
    here = RECORD["statements"]
    assert set(here) <= set(path.ported(port))
    total = [sum(counts[n] for counts in RECORD["statements"].values()) for n in range(3)]
    last = path.table(port, RECORD["statements"]).splitlines()[-1]
    assert f"**{len(here)}**" in last and f"**{', '.join(map(str, total))}**" in last


def test_a_function_that_goes_is_noticed(port):
    lost = copy.copy(port)
    lost.subjects = {name: subject for name, subject in port.subjects.items()
                     if name != "vmx_vcpu_load"}
    assert path.missing(lost) == ["vmx_vcpu_load"]
    with pytest.raises(path.Missing, match="vmx_vcpu_load"):
        path.table(lost, RECORD["statements"])


def test_no_function_stands_in_two_parts():
    names = [name for part in path.PARTS
             for group in (part.functions, *part.out.values()) for name in group.split()]
    assert len(names) == len(set(names)) > 200


@pytest.mark.parametrize("file", ORDER)
def test_functions_stand_in_the_kernels_order(port, file):
    here = {}
    for subject in port.subjects.values():
        if subject.kernel_file == file and not subject.ours:
            here.setdefault(subject.kernel_name, (subject.function.path, subject.function.line))
    kept = [name for name in ORDER[file] if name in here]
    assert len(kept) >= len(ORDER[file]) - 1
    sources = [name for name in kept if here[name][0].endswith(".pyx")]
    assert sources == sorted(sources, key=here.get)
