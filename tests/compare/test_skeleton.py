# SPDX-License-Identifier: GPL-2.0-only
"""The change of the port that a newer patch asks for: beside the patched kernel nothing of it is
unexplained, or it is told."""

import random
import re
import shutil
import subprocess

import needed
import pytest
import schemed
from patches import VMX, command, compared, patch_of, tree_with

from kvm_vmx import host
from kvm_vmx.compare import marks
from kvm_vmx.compare.cythonize import Cannot, Printer
from kvm_vmx.compare.patch_apply import PINS, checkout, pins_of
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.skeleton import Skeleton
from kvm_vmx.console import Trouble


def test_the_printer_spells_the_path(report_v419):
    """Every statement that the comparison calls the same or an idiom, from the kernel's side: it
    has a spelling that agrees, but for labels, jumps and conditions of the preprocessor."""
    words = " ".join(file.source for file in report_v419.port.files.values())
    printer, loose, count = Printer(set(re.findall(r"\w+", words))), [], 0
    for pair in report_v419.pairs:
        for row in pair.rows:
            if row.kind not in ("same", "idiom") or len(row.kernel) != 1 or not row.port:
                continue
            count += 1
            try:
                printer.statement(row.kernel[0])
            except Cannot:
                loose.append(row.kernel[0])
    kinds = {unit.kind for unit in loose}
    assert count > 3000 and kinds <= {"def", "stub", "label", "goto", "#", "cast"}, kinds


CHANGES = [
    ("\tvp_ap->enlighten_vmentry = 1;\n", "\tif (WARN_ON_ONCE(!vp_ap))\n\t\treturn;\n\n"
     "\tvp_ap->enlighten_vmentry = 1;\n"),
    ("\t    !hv_get_vp_assist_page(cpu))\n\t\treturn -EFAULT;\n",
     "\t    !hv_get_vp_assist_page(cpu)) {\n\t\tpr_warn_once(\"no page for %d\\n\", cpu);\n"
     "\t\treturn -ENODEV;\n\t}\n"),
    ("\tif (unlikely(!current_evmcs))\n", "\tif (unlikely(!current_evmcs || !enlightened_vmcs))\n"),
    ("\t\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n", "\t\tvmcs_conf->revision_id = 1;\n"),
    ("\tif (static_branch_unlikely(&enable_evmcs))\n\t\tcurrent_evmcs->hv_clean_fields |=\n"
     "\t\t\tHV_VMX_ENLIGHTENED_CLEAN_FIELD_ALL;\n",
     "\tif (static_branch_unlikely(&enable_evmcs)) {\n\t\tu32 all;\n\n"
     "\t\tall = HV_VMX_ENLIGHTENED_CLEAN_FIELD_ALL;\n\t\tif (vmx->fail)\n\t\t\tall = 0;\n"
     "\t\telse\n\t\t\tall |= 1;\n\t\tcurrent_evmcs->hv_clean_fields |= all;\n\t}\n"),
]


def changed(text, edits):
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def applied(tmp_path, text, tree):
    """The port with a patch's skeleton in a copy of it, and what is left to a hand."""
    root = tmp_path / "kvm_vmx" / "l1"
    if not root.exists():
        shutil.copytree(Port().root, root, ignore=lambda *_: {
            name for name in _[1] if name.endswith((".so", ".c", ".py"))})
    comparison = compared(tmp_path, text, tree, Port(root))
    skeleton = Skeleton(comparison)
    for path in {edit.path for edit in skeleton.edits}:
        (tmp_path / path).write_text("\n".join(skeleton.text(path)))
    return comparison, skeleton, Port(root)


def test_a_newer_patch_becomes_a_change_of_the_port(tmp_path, tree_v419):
    """The skeleton beside the patched kernel: the comparison finds nothing unexplained."""
    old = tree_v419.files[VMX]
    new = changed(old, CHANGES)
    comparison, skeleton, port = applied(tmp_path, patch_of(old, new), tree_v419)
    assert comparison.newer and not skeleton.told()
    names = {"evmcs_load", "hardware_enable", "evmcs_touch_msr_bitmap", "setup_vmcs_config",
             "vmx_vcpu_run"}
    assert Report(Port(), tree_with(tree_v419, new), names).totals["unexplained"] >= 8
    rows = [row for pair in Report(port, tree_with(tree_v419, new), names).pairs
            for row in pair.rows if row.kind == "unexplained"]
    # marks keep their pins: what they stand for was not touched
    assert not rows, [(row.why, [unit.text for unit in row.kernel + row.port]) for row in rows]


def test_what_has_no_spelling_is_a_mark_that_names_it(tmp_path, tree_v419):
    old = tree_v419.files[VMX]
    new = changed(old, [("\tvp_ap->enlighten_vmentry = 1;\n",
                         "\tvp_ap->enlighten_vmentry = 1;\n\tgoto out;\n")])
    _, skeleton, port = applied(tmp_path, patch_of(old, new), tree_v419)
    assert any("goto out" in line for line in skeleton.told())
    report = Report(port, tree_with(tree_v419, new), {"evmcs_load"})
    kinds = {unit.text: row.kind for row in report.pairs[0].rows for unit in row.kernel}
    assert kinds["goto out;"] == "omitted" and report.totals["unexplained"] == 0


def test_names_that_nothing_here_has_are_told(tmp_path, tree_v419):
    old = tree_v419.files[VMX]
    line = "\tvp_ap->enlighten_vmentry = 1;\n"
    new = changed(old, [(line, "\tvp_ap->nested_control.directhypercall = 1;\n" + line)])
    _, skeleton, _ = applied(tmp_path, patch_of(old, new), tree_v419)
    (told,) = skeleton.told()
    assert "declare directhypercall, nested_control:" in told


def test_a_statement_that_another_block_takes_in_is_told(tmp_path, tree_v419):
    """Around it, or out of its block because a statement came in front of it without braces."""
    old = tree_v419.files[VMX]
    line, test = "\tvp_ap->enlighten_vmentry = 1;\n", "\t\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n"
    edits = [(line, f"\tif (vp_ap)\n\t{line}"), (test, f"\t\trest();\n{test}")]
    for n, (before, after) in enumerate(edits):
        place = tmp_path / str(n)
        place.mkdir()
        _, skeleton, _ = applied(place, patch_of(old, changed(old, [(before, after)])), tree_v419)
        assert any("stands in another block now" in line for line in skeleton.told())


def test_what_is_out_of_scope_is_told_with_its_reason(tmp_path, tree_v419):
    old = tree_v419.files[VMX]
    new = changed(old, [("static void free_nested(struct vcpu_vmx *vmx)\n{\n",
                         "static void free_nested(struct vcpu_vmx *vmx)\n{\n\trest();\n")])
    _, skeleton, _ = applied(tmp_path, patch_of(old, new), tree_v419)
    assert not skeleton.edits
    assert skeleton.told() == ["not ported: free_nested(): nested VMX inside L1"]


def mutants(tree, count, seed):
    """Systematic changes of the eVMCS functions: a statement out, doubled, or one in front."""
    file, chance = tree.file(VMX), random.Random(seed)
    names = ["evmcs_load", "vmcs_load", "loaded_vmcs_init", "alloc_loaded_vmcs", "vmx_vcpu_load",
             "hardware_enable", "evmcs_touch_msr_bitmap", "vmx_handle_external_intr",
             "evmcs_sanitize_exec_ctrls", "vmcs_writel", "vmx_exit", "vmx_vcpu_put"]
    rows = tree.files[VMX].split("\n")
    for _ in range(count):
        function = file.function(chance.choice(names))
        simple = [unit for unit in function.units if unit.kind in ("=", "call")
                  and unit.line == unit.end and rows[unit.line - 1].strip() == unit.text]
        if simple:
            unit, how = chance.choice(simple), chance.choice(["out", "twice", "front"])
            at = unit.line - 1
            tab = rows[at][:len(rows[at]) - len(rows[at].lstrip())]
            made = {"out": [], "twice": [rows[at]] * 2,
                    "front": [f"{tab}if (WARN_ON(!enable_ept))", f"{tab}\tenable_vpid = 0;",
                              rows[at]],
                    }[how]
            yield function.name, "\n".join([*rows[:at], *made, *rows[at + 1:]])


def test_systematic_changes_follow_or_are_told(tmp_path, tree_v419, request):
    count = 60 if request.config.getoption("--soak") else 2
    for n, (name, new) in enumerate(mutants(tree_v419, count, 19)):
        place = tmp_path / str(n)
        place.mkdir()
        _, skeleton, port = applied(place, patch_of(tree_v419.files[VMX], new), tree_v419)
        report = Report(port, tree_with(tree_v419, new), {name})
        assert skeleton.told() or report.totals["unexplained"] == 0, (name, skeleton.diff())


@pytest.mark.parametrize("text", ["", "[", "[]", "3", '{"f": 3}', '{"f": "+0/1 49a0bd"}',
                                  '{"f": [3]}', '{"f": [null]}'])
def test_a_checkout_with_other_pins_is_told(tmp_path, text):
    (tmp_path / PINS).parent.mkdir(parents=True)
    (tmp_path / PINS).write_text(text)
    with pytest.raises(Trouble, match=f"^cannot read {PINS} there: .*: give a whole checkout$"):
        pins_of(tmp_path)


def test_apply_changes_a_checkout_and_nothing_else(tmp_path, tree_v419):
    needed.capability("git", "tree-4.19")
    root, patch = tmp_path / "checkout", tmp_path / "patch"
    shutil.copytree(Port().root, root / "kvm_vmx/l1", ignore=lambda _, names: {
        name for name in names if name.endswith((".so", ".c"))})
    (root / "kvm_vmx/compare").mkdir()
    shutil.copy(marks.FILE, root / "kvm_vmx/compare")
    old = tree_v419.files[VMX]
    patch.write_text(patch_of(old, changed(old, CHANGES[:2])))
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    with pytest.raises(Trouble, match="work tree of git"):
        checkout(str(root))
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *args], check=True)
    done = command("--patch", patch, "--apply", root, "--tree", host.find("tree-4.19"), "--json")
    assert done.returncode == 0, done.stderr
    assert schemed.kept_text(done.stdout)["changed"] == ["kvm_vmx/l1/vmx.pyx"]
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout
    assert status.split() == ["M", "kvm_vmx/l1/vmx.pyx"]
    with pytest.raises(Trouble, match="commit them"):
        checkout(str(root))
