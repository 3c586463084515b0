# SPDX-License-Identifier: GPL-2.0-only
"""Of adapted statements those count as alike that stand on both sides, in order and in place."""

import pytest
from snippets import HEAD

from kvm_vmx.compare import pinning, trees
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.pysource import PortFile

C = """
static int jar_fill(struct jar *jar)
{
	int ret;

	ret = lid(jar);
	if (ret)
		goto out;
	spin(jar);
	fill(jar);
out:
	return ret;
}
"""
PYX = """\
cdef int jar_fill(jar_t *jar) noexcept nogil:
    # C~ the label, spin(): nothing is undone; it stands
    cdef int ret
    ret = lid(jar)
    if ret:
        return ret
    fill(jar)
    return ret
"""
ALIKE = ["int ret", "ret = lid(jar);", "if (ret)", "fill(jar);", "return ret;"]


def shown(text):
    """The rows of the snippet as a reader sees them, its mark pinned to it all."""
    tree = trees.Tree("snippet", {"snippet.c": C}, {"CONFIG_HYPERV": 1})
    port = Port.__new__(Port)
    file = PortFile("snippet.pyx", HEAD + text, {})
    port.files = {file.path: file}
    port.subjects = {name: port.subject(file, name, function)
                     for name, (function, *_) in file.functions.items()}
    for subject in port.subjects.values():
        units = subject.function.units
        kernel = tree.function("jar_fill", "snippet.c").units
        for mark in subject.function.marks:
            mark.sizes = ((len(kernel) - 1, len(units) - 1),)
    report, _ = pinning.pinned_anew(port, tree)
    return report.pairs[0]


def test_what_is_alike_under_a_mark_is_shown_and_counted():
    pair = shown(PYX)
    assert pair.totals["unexplained"] == 0
    alike = [unit.text for row in pair.shown[1:] if row.kind == "same" for unit in row.kernel]
    assert alike == ALIKE and pair.totals["same"] == 1 + len(ALIKE)
    assert pair.totals["adapted"] == pair.statements - pair.totals["same"] == 3
    kernel = [unit for row in pair.shown for unit in row.kernel]
    assert len(kernel) == len(set(map(id, kernel))) == pair.statements
    assert [row.why for row in pair.shown if row.kind == "adapted"].count("") == 1


@pytest.mark.parametrize("old, new, gone", [
    ("    fill(jar)\n", "    if lid(jar):\n        fill(jar)\n", "fill(jar);"),
    ("    ret = lid(jar)\n", "    ret = lid(jar.lid)\n", "ret = lid(jar);"),
    ("    fill(jar)\n    return ret\n", "    return ret\n    fill(jar)\n", None)])
def test_what_stands_elsewhere_is_not(old, new, gone):
    """In another block, of other words, in another order."""
    assert old in PYX
    pair = shown(PYX.replace(old, new))
    alike = [unit.text for row in pair.shown[1:] if row.kind == "same" for unit in row.kernel]
    assert gone not in alike and len(alike) == len(ALIKE) - 1
    assert pair.totals["unexplained"] == 0
