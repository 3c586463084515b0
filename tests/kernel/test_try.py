# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx try: a patch is applied by what it says, and what it changes in behaviour is told."""

import copy
import difflib
import json

import pytest
import schemed

from kvm_vmx import cli, host
from kvm_vmx.compare import mail
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import build
from kvm_vmx.trial import change, observed, patching

OLD = [f"line {n}" for n in range(1, 31)]
FILE = "arch/x86/kvm/vmx.c"


def edited(**lines):
    """OLD with some lines another: {"l5": "text"}."""
    new = list(OLD)
    for name, text in lines.items():
        new[int(name[1:]) - 1] = text
    return new


def written(tmp_path, old, new, path=FILE):
    """The patches of a diff between two texts, as read from a file."""
    made = tmp_path / "made.patch"
    made.write_text("\n".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm=""))
                    + "\n")
    return made


def applied(tmp_path, tree, new, **how):
    patches = mail.read(str(written(tmp_path, OLD, new)))
    return patching.apply(patches, lambda path: "\n".join(tree) if path == FILE else None, **how)


def test_a_patch_is_applied_where_its_lines_stand(tmp_path):
    new = edited(l5="five", l20="twenty")
    for before in (0, 7):
        tree = ["other"] * before + OLD
        found = applied(tmp_path, tree, new)
        assert [fate.what for fate in found.fates] == ["applied"] * 2
        assert [fate.line for fate in found.fates] == [2 + before, 17 + before]
        assert found.texts == {FILE: "\n".join(["other"] * before + new)}


def test_a_patch_is_taken_back_and_leaves_what_was(tmp_path):
    new = edited(l5="five", l20="twenty")
    assert applied(tmp_path, new, new, reverse=True).texts == {FILE: "\n".join(OLD)}
    only = applied(tmp_path, OLD, new, only=(2,))
    assert [fate.what for fate in only.fates] == ["left out", "applied"]
    assert only.texts == {FILE: "\n".join(edited(l20="twenty"))}


def test_what_is_not_applied_is_named_and_nothing_half_done(tmp_path):
    new = edited(l5="five", l20="twenty")
    there = applied(tmp_path, new, new)
    assert [fate.what for fate in there.fates] == ["in the tree already"] * 2
    with pytest.raises(BuildError, match=f"nothing of the patch is applied: hunk 1: {FILE}:2: in "
                       "the tree already: give a tree that it is for, or --reverse"):
        patching.checked(there, partly=True)
    half = applied(tmp_path, edited(l5="another"), new)
    assert [fate.what for fate in half.fates] == ["has no place in the tree", "applied"]
    with pytest.raises(BuildError, match="hunk 1: .* has no place in the tree: .*--partly"):
        patching.checked(half, partly=False)
    assert patching.checked(half, partly=True).texts == {
        FILE: "\n".join(edited(l5="another", l20="twenty"))}


def test_a_hunk_that_lacks_lines_is_not_guessed_at(tmp_path):
    made = written(tmp_path, OLD, edited(l5="five"))
    lines = made.read_text().split("\n")
    made.write_text("\n".join(line for line in lines if line != "+five"))
    found = patching.apply(mail.read(str(made)), lambda path: "\n".join(OLD))
    assert found.fates[0].what == "is not whole" and not found.texts


def test_a_new_file_and_one_that_is_not_there(tmp_path):
    made = tmp_path / "new.patch"
    made.write_text("diff --git a/new.h b/new.h\n--- /dev/null\n+++ b/new.h\n@@ -0,0 +1,2 @@\n"
                    "+one\n+two\n")
    assert patching.apply(mail.read(str(made)), lambda path: None).texts == {"new.h": "one\ntwo"}
    gone = patching.apply(mail.read(str(written(tmp_path, OLD, edited(l5="x")))),
                          lambda path: None)
    assert gone.fates[0].why == "there is no such file"


STEPS = [[0, "vmlaunch", (), (12, 0), "VMsucceed", 1], [0, "vmresume", (), (12, 0), "VMsucceed", 0]]


def seen():
    """An observation of two scenarios in which nothing is objected to."""
    scenario = {"steps": tuple(map(tuple, STEPS)), "ends": "", "left": "", "lints": [],
                "refused": [], "warnings": []}
    return {"an exit": {mode: {"vmread": 7.0} for mode in observed.MODES},
            "failures": {mode: {} for mode in observed.MODES},
            "scenarios": {f"one, {mode}": copy.deepcopy(scenario) for mode in observed.MODES}}


def test_two_alike_have_no_difference():
    same = change.change(seen(), seen())
    assert (same.new, same.gone, same.kept, same.traces, same.scenarios) == ([], [], [], [], 2)


@pytest.mark.parametrize("kind, spoil", [
    ("ends", lambda one: one.update(ends="dies: a page fault in f+0x3")),
    ("lint", lambda one: one["lints"].append(["stale_field", "X", "R39: changed: X; cpu 0"])),
    ("refused", lambda one: one.update(refused=["a_check"])),
    ("warning", lambda one: one.update(warnings=["WARNING at line 3 of its file in f+0x9"])),
    ("leak", lambda one: one.update(left="2 pages")),
    ("modes", lambda one: one.update(steps=one["steps"][:1])),
])
def test_each_oracle_is_heard(kind, spoil):
    other = seen()
    spoil(other["scenarios"]["one, evmcs"])
    assert [one.kind for one in change.change(seen(), other).new] == [kind]
    assert [one.kind for one in change.change(other, seen()).gone] == [kind]
    assert [one.kind for one in change.change(other, other).kept] == [kind]


def test_the_place_of_a_fault_in_its_function_is_no_difference():
    before, after = seen(), seen()
    before["scenarios"]["one, evmcs"]["ends"] = "dies: a page fault in vmx_run+0x3"
    after["scenarios"]["one, evmcs"]["ends"] = "dies: a page fault in vmx_run.isra.0+0x8"
    assert change.change(before, after).new == []


def test_the_first_other_instruction_and_an_exits_cost_are_told():
    other = seen()
    other["scenarios"]["one, vmcs"]["steps"] += ((0, "vmread", (0x681E,), (5,), "VMsucceed", 0),)
    other["an exit"]["vmcs"]["vmread"] = 8.0
    found = change.change(seen(), other)
    trace, = found.traces
    assert (trace.scenario, trace.at, trace.before) == ("one, vmcs", 2, "the end")
    assert trace.after == "CPU 0: VMREAD GUEST_RIP = 0x5" and (trace.gone, trace.new) == (0, 1)
    assert [cost[1:] for cost in found.costs if cost.mode == "vmcs"] == [("vmread", 7.0, 8.0)]


@pytest.mark.parametrize("words, said", [
    (["--tree", "/nonexistent"], "no kernel tree '/nonexistent'"),
    (["--tree", ".", "--hunk", "9"], "no hunk 9: give a number from 1 to 1"),
    (["--tree", "."], "is no kernel tree"),
    (["--tree", ".", "--profile", "kvm-9"], "kvm-9"),
])
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.setenv(build.CACHE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = written(tmp_path, OLD, edited(l5="x"))
    assert cli.main(["try", str(made), *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert cli.main(["try", str(tmp_path / "none"), "--tree", "."]) == 2
    assert "cannot read" in capsys.readouterr().err


# With a kernel's own code.

def test_a_scenario_is_seen_by_all_oracles(image):
    """v4.19's: the loop is clean; another stack depth is an L0 that goes on with the old one."""
    found = observed._scenario(image, "cpuid loop", "evmcs")
    assert (found["ends"], found["left"], found["lints"], found["warnings"]) == ("", "", [], [])
    assert observed.exits_of(found["steps"])
    deeper = observed._scenario(image, "stack depths", "evmcs")
    assert [lint[:2] for lint in deeper["lints"]] == [["stale_field", "HOST_RSP"]]
    assert deeper["ends"].startswith("dies: a page fault in vmx_vcpu_run")


def test_a_step_that_fails_is_told_with_its_stage_and_what_is_left(image):
    kernel = observed._aged(image, True)
    try:
        told = [str(observed.Life(kernel, True, "page", nth)) for nth in range(1, 6)]
    finally:
        kernel.close()
    # erratum: bitmaps_leaked
    assert told[0] == "insmod: Cannot allocate memory"
    assert "insmod: Cannot allocate memory, 2 pages left" in told
    assert observed._aged(image, False).close() is None


def dropping(tree, tmp_path):
    """A patch of our own: evmcs_write64() leaves the clean bit of what it writes."""
    text = build.text_of(tree, None, FILE)
    head = text.index("static inline void evmcs_write64")
    first = text.index("current_evmcs->hv_clean_fields", head)
    changed = text[:first] + "(void)clean_field;" + text[text.index(";", first) + 1:]
    return written(tmp_path, text.split("\n"), changed.split("\n"))


def test_a_clean_bit_that_is_not_cleared_is_a_lint_that_is_new(image, tmp_path, capsys, soak):
    tree = host.find("tree-4.19")
    made = dropping(tree, tmp_path)
    if not soak:
        pytest.skip("builds a kernel and runs two in every scenario: --soak")
    assert cli.main(["try", str(made), "--tree", str(tree), "--json"]) == 1
    told = schemed.strict(json.loads(capsys.readouterr().out))
    assert [fate["what"] for fate in told["hunks"]] == ["applied"]
    assert {one["kind"] for one in told["new"]} == {"lint"} and told["gone"] == []
    assert any("TSC_OFFSET (CONTROL_GRP2)" in one["what"] for one in told["new"])
    assert all(cost["before"] == cost["after"] for cost in told["an exit"])
    first = told["differences"][0]
    assert "groups" in first["before"] and "groups" not in first["after"]
    # back again: what was new is gone
    assert cli.main(["try", str(made), "--tree", str(tree)]) == 1
    assert "new:\n  what L0 noticed and let pass\n    stale_field" in capsys.readouterr().out


@pytest.mark.host("mail", "tree-4.19")
def test_the_mail_on_a_tree_from_before_the_patch():
    """Its statements taken out, three hunks apply again and two are there; a hunk of which lines
    are not quoted is left, and so is what the tree of its day had otherwise."""
    from kvm_vmx.kernel import before

    tree = host.find("tree-4.19")
    with open(f"{tree}/{before.FILE}", errors="surrogateescape") as file:
        text = before.before(file.read())
    found = patching.apply(mail.read(str(host.find("mail"))), lambda path: text)
    fates = {kind: [fate.number for fate in found.fates if fate.what == kind]
             for kind in (patching.APPLIED, patching.THERE, patching.NOWHERE, patching.CUT)}
    assert list(fates.values()) == [[5, 9, 11], [7, 8], [1, 4, 13], [2, 3, 6, 10, 12]]
    # what hunks 9 and 11 give back is what v4.19 has
    with open(f"{tree}/{before.FILE}", errors="surrogateescape") as file:
        lines = set(file.read().split("\n"))
    only = patching.apply(mail.read(str(host.find("mail"))), lambda path: text, only=[9, 11])
    came = set(only.texts[before.FILE].split("\n")) - set(text.split("\n"))
    assert came and came <= lines


def test_a_patch_that_does_not_compile_is_one_line(image, tmp_path, capsys, soak):
    if not soak:
        pytest.skip("compiles a part of a kernel: --soak")
    tree = host.find("tree-4.19")
    text = build.text_of(tree, None, FILE)
    made = written(tmp_path, text.split("\n"), [*text.split("\n")[:-1], "no C at all", ""])
    assert cli.main(["try", str(made), "--tree", str(tree)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("kvm-vmx: with the patch, make failed: ") and f"{FILE}:" in line


def test_what_is_tried_is_not_kept_but_for_its_image(image):
    base, _ = build.place(host.find("tree-4.19"))
    assert (base / "compiled").exists()
    for one in build.cache().iterdir():
        if one.is_dir() and any(one.glob("image-*")) and not (one / "compiled").exists():
            assert not (one / "tree").exists()


def test_a_kernel_that_ends_its_process_is_one_line(tmp_path):
    with pytest.raises(BuildError, match="the kernel ended the process that ran it: .*no image"):
        (tmp_path / "image").write_bytes(b"nothing")
        observed.beside(tmp_path / "image")


def test_a_kernel_that_never_ends_is_one_line(image):
    with pytest.raises(BuildError, match="does not come to an end in 0.01 seconds: it loops"):
        observed.beside(image, 0.01)
