# SPDX-License-Identifier: GPL-2.0-only
"""The list of instructions is the only one: what has a row for each is complete, in its order."""

import re
import subprocess

import pytest
import tree

import kvm_vmx
from kvm_vmx.trap import engine

LIST = "include/asm/insns.h"
# A table of functions: (file, one of its rows).
TABLES = {
    "L0's": ("kvm_vmx/l0/hv/partition.pxi", r"^ops\.(\w+) = l0_\1$"),
    "the trace's": ("kvm_vmx/l0/watch/trace.pxi", r"^traced_ops\.(\w+) = traced_\1$"),
}
# Two instructions that one function of the table carries out.
ENTRIES = ["vmlaunch", "vmresume"]
# What Python calls by what it is for.
OTHERWISE = {"vmcall": "hypercall"}


def rows(expansion):
    """The names in the order of the list, as the compiler expands one of its macros."""
    done = subprocess.run(["gcc", "-E", "-P", "-Iinclude", "-xc", "-"], cwd=tree.ROOT, check=True,
                          input=f"#include <asm/insns.h>\n{expansion}(ROW)\n", text=True,
                          capture_output=True)
    return re.findall(r"ROW\((\w+)", done.stdout)


def test_every_function_carries_out_its_instructions():
    ops, insns = rows("INSN_OPS"), rows("INSN_ALL")
    assert len(insns) == 16
    assert [name for name in insns if name not in ENTRIES] == \
        [name for name in ops if name != "vmentry"]
    assert [name for name in insns if name != "mov_to_cr"] == rows("INSN_FAULTING")


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_every_function(table):
    path, row = TABLES[table]
    assert re.findall(row, tree.text(path), re.M) == rows("INSN_OPS")


def test_python_has_every_instruction_and_counts_it():
    with kvm_vmx.Machine(cpus=1) as machine:
        assert list(machine.counters)[:16] == rows("INSN_ALL")
        assert [name for name in rows("INSN_ALL")
                if not hasattr(machine.cpu(0), OTHERWISE.get(name, name))] == []
    assert list(engine.counts(1)) == rows("INSN_FAULTING")


def test_no_other_file_has_the_list():
    names = rows("INSN_ALL")
    for path in tree.under("include", "kvm_vmx", suffixes={".h"}):
        found = re.findall(r"\bX\((\w+)\)", tree.text(path))
        assert str(path) == LIST or len(set(names) & set(found)) < 3, path
