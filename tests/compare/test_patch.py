# SPDX-License-Identifier: GPL-2.0-only
"""A patch beside v4.19 and the port: decided by v4.19 itself, by git, and by the mail of the review."""

import difflib
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys

import needed
import pytest
from command import ENVIRONMENT

from kvm_vmx import host
from kvm_vmx.compare import mail, marks
from kvm_vmx.compare.cythonize import Cannot, Printer
from kvm_vmx.compare.patch import Comparison
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.skeleton import Skeleton
from kvm_vmx.compare.trees import Tree

ROOT = pathlib.Path(__file__).parents[2]
VMX = "arch/x86/kvm/vmx.c"
CODE = re.compile(r"`([\w.]+)`: `([^`]+)`")
# Rows of docs/review.md whose text of the port is no statement that the mail quotes.
ELSEWHERE = {"cdef void dump_vmcs() noexcept nogil:", "cpu_has_load_perf_global_ctrl = \\",
             "return -EFAULT"}


def patch_of(old, new, path=VMX, context=3):
    """A patch from one text to another, with the heading that git gives each hunk."""
    rows, found = old.split("\n"), [f"--- a/{path}", f"+++ b/{path}"]
    for line in list(difflib.unified_diff(rows, new.split("\n"), lineterm="", n=context))[2:]:
        hit = re.match(r"@@ -(\d+)", line)
        if hit:
            above = (row for row in reversed(rows[:int(hit[1]) - 1]) if re.match(r"[A-Za-z_]", row)
                     and not re.match(r"\w+:", row))
            line += " " + next(above, "")
        found.append(line)
    return "\n".join(found) + "\n"


def compared(tmp_path, text, tree, port=None):
    path = tmp_path / "patch"
    path.write_text(text)
    return Comparison(mail.read(str(path)), port or Port(), tree)


def tree_with(tree, text):
    """The tree with another vmx.c."""
    return Tree("another", {**tree.files, VMX: text}, tree.config)


def without(text, *statements):
    for statement in statements:
        assert text.count(statement) >= 1, statement
        text = text.replace(statement, "", 1)
    return text


def test_what_v419_has_is_the_same_and_stands_where_the_comparison_has_it(tmp_path, tree_v419,
                                                                          report_v419):
    """v4.19 minus some of its eVMCS statements, to v4.19: nothing of it can be anything else."""
    new = tree_v419.files[VMX]
    old = without(
        new, "\t\treturn evmcs_load(phys_addr);\n", "\tvp_ap->current_nested_vmcs = phys_addr;\n",
        "\t\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n", "\t\tstatic_branch_disable(&enable_evmcs);\n",
        "\tif (static_branch_unlikely(&enable_evmcs))\n\t\treturn evmcs_read32(field);\n",
        "static inline u16 evmcs_read16(unsigned long field)\n{\n"
        "\tint offset = get_evmcs_offset(field, NULL);\n\n\tif (offset < 0)\n\t\treturn 0;\n\n"
        "\treturn *(u16 *)((char *)current_evmcs + offset);\n}\n\n")
    comparison = compared(tmp_path, patch_of(old, new), tree_v419)
    assert len(comparison.fates) == 12 and not comparison.newer
    assert {fate.kind for fate in comparison.fates} == {"same"}
    there = {(unit.line, unit.text): row for pair in report_v419.pairs for row in pair.rows
             for unit in row.kernel}
    for fate in comparison.fates:
        row = there[fate.kernel.line, fate.kernel.text]
        assert new.split("\n")[fate.kernel.line - 1].strip() in (
            fate.statement.text, fate.statement.text.split(" = ")[0]) or fate.unit.kind in "def=decl"
        assert fate.port.text == "\n".join(unit.text for unit in row.port), fate.statement.text


@pytest.mark.parametrize("head, old, new, kind, why", [
    ("static void vmcs_load(", "evmcs_load", "evmcs_pour", "renamed", "evmcs_pour -> evmcs_load"),
    ("static void evmcs_load(", "enlighten_vmentry = 1;", "enlighten_vmentry = 2;", "changed", ""),
    ("static void evmcs_load(", "vp_ap", "page", "renamed", "page -> vp_ap"),
    ("static int hardware_enable(", "return -EFAULT;", "return -ENODEV;", "changed", ""),
], ids=["call", "value", "name", "error"])
def test_what_v419_has_otherwise(tmp_path, tree_v419, head, old, new, kind, why):
    """A function of v4.19 as somebody else could have mailed it."""
    text = tree_v419.files[VMX]
    begin = text.index(head)
    end = text.index("\n}\n", begin) + 3
    mailed = text[begin:end].replace(old, new)
    comparison = compared(tmp_path, patch_of(
        text[:begin] + text[end:], text[:begin] + mailed + text[end:]), tree_v419)
    found = [fate for fate in comparison.fates if new in fate.statement.text]
    assert found
    for fate in found:
        said = fate.statement.text, fate.kind, fate.why
        assert fate.kind == kind and why in fate.why \
            or fate.statement.unit.kind == "decl" and fate.kind != "same", said
        assert fate.statement.unit.kind == "decl" or fate.kernel is not None, said
    others = [fate for fate in comparison.fates if new not in fate.statement.text]
    assert {fate.kind for fate in others} == {"same"}, comparison.totals


def reviewed():
    """The rows of docs/review.md: who asked, and the port's text in the last column."""
    for row in (ROOT / "docs/review.md").read_text().split("\n"):
        cells = row.strip("|").split(" | ")
        if row.startswith("|") and len(cells) == 5 and (hit := CODE.search(cells[4])):
            yield cells[1], hit[2]


@pytest.mark.host("mail")
def test_the_mail_says_what_the_page_of_the_review_says(tree_v419):
    """docs/review.md was written by reading: its column of the port is found by the command."""
    comparison = Comparison(mail.read(host.find("mail")), Port(), tree_v419)
    (patch,) = comparison.patches
    shown = [fate for fate in comparison.fates if fate.port]
    rows = list(reviewed())
    assert len(rows) >= 10
    for who, text in rows:
        if text in ELSEWHERE:
            continue
        text = " ".join(text.split())
        hits = [fate for fate in shown if text in " ".join(fate.port.text.split())]
        assert hits, f"{text} stands beside nothing of the mail"
    assert {remark.author for hunk in patch.hunks for remark in hunk.remarks} \
        == {"Paolo Bonzini", "Vitaly Kuznetsov"}
    kinds = {fate.statement.text: fate.kind for fate in comparison.fates}
    assert kinds["static void vmcs_load_enlightened(u64 phys_addr)"] == "renamed"
    assert kinds["return -EFAULT;"] == "same"
    assert kinds["return 0;"] == "changed after review"
    assert kinds["cpu_has_load_perf_global_ctrl = false;"] == "not taken up"
    assert kinds["vmcs_conf->revision_id = KVM_EVMCS_VERSION;"] == "changed"  # nobody asked
    revision = next(fate for fate in comparison.fates if "revision_id" in fate.statement.text)
    assert "alloc_vmcs_cpu" in revision.why and revision.remark is None


@pytest.mark.host("mail")
def test_the_mail_tells_what_it_cuts_short():
    (patch,) = mail.read(host.find("mail"))
    cut = {hunk.new: hunk.cut for hunk in patch.hunks if hunk.cut}
    assert cut[1001, 484] == "91 of 484 lines are quoted"
    assert len(patch.hunks) == 13 and patch.insertions == 615
    # what stands between the offsets of two hunks that are there: accessors, and the assembly
    assert [net for _, net in patch.missing()] == [29, 6]
    assert sum("two lines" in note for hunk in patch.hunks for note in hunk.notes) == 2


@pytest.mark.host("mail")
def test_the_mail_without_a_tree_is_told_by_the_port(tree_v419):
    patches = mail.read(host.find("mail"))
    whole, alone = Comparison(patches, Port(), tree_v419), Comparison(patches, Port())
    ours = {fate.statement.number: fate for fate in alone.fates}
    for fate in whole.fates:
        other = ours.get(fate.statement.number)
        if other is not None and fate.kind == "same" and fate.unit is not None \
                and fate.port and fate.port.how == "":
            assert other.kind == "same", fate.statement.text
    assert alone.totals["same"] >= 0.9 * whole.totals["same"]


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
                    "front": [f"{tab}if (WARN_ON(!enable_ept))", f"{tab}\tenable_vpid = 0;", rows[at]],
                    }[how]
            yield function.name, "\n".join([*rows[:at], *made, *rows[at + 1:]])


def test_systematic_changes_follow_or_are_told(tmp_path, tree_v419, request):
    count = 60 if request.config.getoption("--soak") else 4
    for n, (name, new) in enumerate(mutants(tree_v419, count, 19)):
        place = tmp_path / str(n)
        place.mkdir()
        _, skeleton, port = applied(place, patch_of(tree_v419.files[VMX], new), tree_v419)
        report = Report(port, tree_with(tree_v419, new), {name})
        assert skeleton.told() or report.totals["unexplained"] == 0, (name, skeleton.diff())


def command(*args):
    return subprocess.run([sys.executable, "-m", "kvm_vmx", "compare", *map(str, args)],
                          capture_output=True, text=True, timeout=120, env=ENVIRONMENT)


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
    refused = command("--patch", patch, "--apply", root, "--tree", host.find("tree-4.19"))
    assert refused.returncode == 2 and "work tree of git" in refused.stderr
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *args], check=True)
    done = command("--patch", patch, "--apply", root, "--tree", host.find("tree-4.19"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] == ["kvm_vmx/l1/vmx.pyx"]
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout
    assert status.split() == ["M", "kvm_vmx/l1/vmx.pyx"]
    again = command("--patch", patch, "--apply", root, "--tree", host.find("tree-4.19"))
    assert again.returncode == 2 and "commit them" in again.stderr


def test_the_command_in_words_and_in_json(tmp_path, tree_v419):
    old = tree_v419.files[VMX]
    path = tmp_path / "patch"
    path.write_text(patch_of(without(old, "\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n"), old))
    done = command("--patch", path, "--tree", host.find("tree-4.19"))
    assert done.returncode == 0 and "1 same" in done.stdout and "vmx.pyx:" in done.stdout
    value = json.loads(command("--patch", path, "--tree", host.find("tree-4.19"), "--json").stdout)
    (statement,) = value["patches"][0]["hunks"][0]["statements"]
    assert value["schema"] == "kvm_vmx.patch/1" and statement["kind"] == "same"
    assert statement["port"]["text"] == "evmcs_sanitize_exec_ctrls(vmcs_conf)"
    alone = subprocess.run(
        [sys.executable, "-m", "kvm_vmx", "compare", "--patch", str(path)], capture_output=True,
        text=True, env={**ENVIRONMENT, "KVM_VMX_WITHOUT": "tree-4.19", "KVM_VMX_TREE_4_19": ""})
    assert "1 same" in alone.stdout or "1 same" in alone.stderr, alone
