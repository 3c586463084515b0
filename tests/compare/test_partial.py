# SPDX-License-Identifier: GPL-2.0-only
"""A tree that lacks files: what they would say is no difference, and what is there is compared."""

import pytest
import schemed

from kvm_vmx import cli
from kvm_vmx.compare.held import held
from kvm_vmx.compare.lacking import absent_functions
from kvm_vmx.compare.pairing import Units
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.trees import Tree

VMX = "arch/x86/kvm/vmx.c"


def unexplained(tree):
    """What nothing explains of a tree, a line each."""
    port = Port()
    absent = absent_functions(port, tree)
    report = Report(port, tree, {name for name in port.subjects if name not in absent})
    return [*map(str, Units(report).loose),
            *(f"{pair.name}: {row.why}" for pair in report.pairs for row in pair.rows
              if row.kind == "unexplained")]


def without(tree, *paths):
    """A tree without some files."""
    return Tree(tree.title, {path: text for path, text in tree.files.items()
                             if path not in paths})


# A macro's file, a function's of which the tree has another by that name, and neither.
FEW = ["include/linux/kvm_host.h", "arch/x86/include/asm/kvm_host.h"]


def test_a_file_that_is_absent_makes_nothing_unexplained(tree_v419, soak):
    for paths in [[path] for path in held()["kernel"]] if soak else [FEW]:
        assert tree_v419.files.keys() >= set(paths)
        assert unexplained(without(tree_v419, *paths)) == [], paths


CHANGES = [
    ("#define KVM_EVMCS_VERSION 1", "#define KVM_EVMCS_VERSION 2", "KVM_EVMCS_VERSION"),
    # of names that vmx.c does not define
    ("(X86_CR0_NW | X86_CR0_CD)", "(X86_CR0_NW)", "KVM_GUEST_CR0_MASK"),
    ("#define NR_AUTOLOAD_MSRS 8\n", "#define NR_AUTOLOAD_MSRS 8\n#define NEW_ONE X86_CR0_NE\n",
     "NEW_ONE"),
    ("	vmcs_write64(TSC_MULTIPLIER,", "	vmcs_write64(TSC_OFFSET,", "decache_tsc_multiplier"),
]


@pytest.mark.soak
@pytest.mark.parametrize("changes", [[], CHANGES], ids=["as it was", "changed"])
def test_one_file_alone_is_compared(tree_v419, tmp_path, capsys, changes, soak):
    """The changed one has no other row that is unexplained, either."""
    if not (changes or soak):
        pytest.skip("a soak: give --soak")
    text = tree_v419.files[VMX]
    for old, new, _ in changes:
        assert old in text
        text = text.replace(old, new, 1)
    for path, of in ((VMX, text), ("Makefile", tree_v419.files["Makefile"])):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(of)
    status = cli.main(["compare", "--tree", str(tmp_path), "--json"])
    data = schemed.kept_text(capsys.readouterr().out)
    loose = [unit["name"] for unit in data["units"]["rows"] if unit["class"] == "unexplained"]
    loose += [of["name"] for of in data["functions"] if any(
        line["class"] == "unexplained" for line in of["rows"])]
    assert (sorted(loose), status) == (sorted(row for *_, row in changes), int(bool(changes)))
    assert {"arch/x86/kvm/x86.c", "arch/x86/include/asm/hyperv-tlfs.h"} <= set(data["absent"])
    assert VMX not in data["absent"]
