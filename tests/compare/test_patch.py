# SPDX-License-Identifier: GPL-2.0-only
"""A patch beside v4.19 and the port: decided by v4.19 itself, and by the mail of the review."""

import pathlib
import re

import nursery
import pytest
import schemed
from command import ENVIRONMENT
from patches import VMX, command, compared, patch_of, without

from kvm_vmx import host
from kvm_vmx.compare import mail
from kvm_vmx.compare.patch import Comparison
from kvm_vmx.compare.port import Port

ROOT = pathlib.Path(__file__).parents[2]
CODE = re.compile(r"`([\w.]+)`: `([^`]+)`")
# Rows of docs/review.md whose text of the port is no statement that the mail quotes.
ELSEWHERE = {"cdef void dump_vmcs() noexcept nogil:", "cpu_has_load_perf_global_ctrl = \\"}


def test_what_v419_has_is_the_same_and_stands_where_the_comparison_has_it(tmp_path, tree_v419,
                                                                          report_v419):
    """v4.19 minus some of its eVMCS statements, to v4.19: nothing of it can be anything else."""
    new = tree_v419.files[VMX]
    old = without(
        new, "\t\treturn evmcs_load(phys_addr);\n", "\tvp_ap->current_nested_vmcs = phys_addr;\n",
        "\t\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n",
        "\t\tstatic_branch_disable(&enable_evmcs);\n",
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
            fate.statement.text,
            fate.statement.text.split(" = ")[0]) or fate.unit.kind in "def=decl"
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


def test_a_function_of_another_name_is_known_by_its_body(tmp_path, tree_v419):
    text = tree_v419.files[VMX]
    begin = text.index("static void evmcs_load(")
    end = text.index("\n}\n", begin) + 3
    mailed = text[begin:end].replace("evmcs_load(", "fill_the_cup(")
    old, new = text[:begin] + text[end:], text[:begin] + mailed + text[end:]
    for tree in (tree_v419, None):
        head, *body = compared(tmp_path, patch_of(old, new), tree).fates
        assert (head.kind, head.why) == ("renamed", "fill_the_cup() is evmcs_load()")
        assert {fate.kind for fate in body} == {"same"}
        assert "cdef void evmcs_load(" in head.port.text


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
    table = {kind for words, kind in kinds.items() if words.startswith("EVMCS1_FIELD(")}
    assert table == {"moved"}   # to a header that others can include
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


def test_the_command_in_words_and_in_json(tmp_path, tree_v419):
    old = tree_v419.files[VMX]
    path = tmp_path / "patch"
    path.write_text(patch_of(without(old, "\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n"), old))
    done = command("--patch", path, "--tree", host.find("tree-4.19"), "--json")
    value = schemed.kept_text(done.stdout)
    (statement,) = value["patches"][0]["hunks"][0]["statements"]
    assert value["schema"] == "kvm_vmx.patch/1" and statement["kind"] == "same"
    assert statement["port"]["text"] == "evmcs_sanitize_exec_ctrls(vmcs_conf)"
    alone = nursery.run(["compare", "--patch", path], env={
        **ENVIRONMENT, "KVM_VMX_WITHOUT": "tree-4.19", "KVM_VMX_TREE_4_19": ""})
    assert "1 same" in alone.stdout or "1 same" in alone.stderr, alone
    assert "vmx.pyx:" in alone.stdout


def test_a_page_of_a_patch_holds_everything_and_runs_nothing(tmp_path, tree_v419):
    new = tree_v419.files[VMX]
    old = without(new, "\t\tevmcs_sanitize_exec_ctrls(vmcs_conf);\n")
    path, made = tmp_path / "patch", tmp_path / "page.html"
    rows = patch_of(old, new).split("\n")
    at = next(n for n, row in enumerate(rows) if row.startswith("+\t\tevmcs_san"))
    rows[at + 1:at + 1] = ["", "<script>alert(1)</script> why?", ""]
    quoted = "\n".join(row if at < n < at + 4 else f"> {row}" for n, row in enumerate(rows))
    path.write_text("From: A <a@example.org>\nSubject: <img src=x> & more\n\n" + quoted)
    done = command("--patch", path, "--tree", host.find("tree-4.19"), "--html", made)
    assert done.returncode == 0, done.stderr
    page = made.read_text()
    assert "&lt;script&gt;alert(1)" in page and "&lt;img src=x&gt; &amp; more" in page
    assert not re.search(r"<script|<img|https?:|url\(", page)
    assert "default-src 'none'" in page and "vmx.pyx:" in page and "<blockquote" in page


@pytest.mark.parametrize("heading", ["", " static inline void evmcs_write64(unsigne"])
def test_a_hunk_that_names_no_function_is_found_by_its_statements(tmp_path, tree_v419, heading):
    """diff -u names none, and diff -p cuts a long one: what is removed is no less to do."""
    old = tree_v419.files[VMX]
    text = patch_of(old, without(old, "\tcurrent_evmcs->hv_clean_fields &= ~clean_field;\n"))
    text = re.sub(r"^(@@ [-+0-9, ]+ @@).*$", rf"\1{heading}", text, flags=re.M)
    found = compared(tmp_path, text, tree_v419)
    kinds = {(fate.kind, fate.why) for hunk in found.hunks for fate in hunk.fates}
    assert kinds == {("not taken up", "it still stands")}, kinds
