# SPDX-License-Identifier: GPL-2.0-only
"""Mails, mailboxes and patches as files: what is read of them, quoted, cut, encoded or hostile."""

import base64
import json
import os
import quopri

import nursery
import pytest
from command import ENVIRONMENT

from kvm_vmx.compare import mail, patch_view
from kvm_vmx.compare.patch import Comparison
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.skeleton import Skeleton
from kvm_vmx.compare.trees import Tree
from kvm_vmx.console import Trouble

PATCH = """\
diff --git a/arch/x86/kvm/vmx.c b/arch/x86/kvm/vmx.c
--- a/arch/x86/kvm/vmx.c
+++ b/arch/x86/kvm/vmx.c
@@ -10,6 +10,9 @@ static void pour(struct cup *cup)
 	if (!cup)
 		return;
 
+	rinse(cup);
+	dry(cup);
+
 	cup->level++;
 	cup->warm = 1;
 }
@@ -40,3 +43,3 @@ static void stir(void)
 	one();
-	two();
+	three();
 	four();
"""
HEAD = "From: Ann Author <ann@example.org>\nSubject: [PATCH] cups\n" \
       "Date: Thu, 1 Mar 2018 10:00:00 +0100\n"
POUR = "static void pour(struct cup *cup)\n{\n\trinse(cup);\n}\n"
ANSWER = "From: Ann Author <ann@example.org>\nSubject: Re: [PATCH] cups\n\n"


def read(tmp_path, text):
    path = tmp_path / "mail"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return mail.read(str(path))


def quote(text, prefix):
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def said(patch):
    """What a patch holds: the signs and texts of each hunk."""
    return [[(line.sign, line.text) for line in hunk.lines] for hunk in patch.hunks]


@pytest.mark.parametrize("text", [
    PATCH, HEAD + "\nwhy\n---\n" + PATCH + "-- \n2.39.5\n", HEAD + "\n" + quote(PATCH, "> "),
    HEAD + "\n" + quote(PATCH, ">> "), HEAD + "\n" + quote(PATCH, "> > "),
    HEAD + "\n" + quote(PATCH, "> > > "), PATCH.replace("\n", "\r\n"),
    HEAD.encode() + b"Content-Transfer-Encoding: base64\nContent-Type: text/plain\n\n"
    + base64.encodebytes(PATCH.encode()),
    HEAD.encode() + b"Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain\n\n"
    + quopri.encodestring(PATCH.encode()),
    HEAD + "Content-Type: multipart/mixed; boundary=cut\n\n--cut\nContent-Type: text/plain\n\n"
    + PATCH + "--cut\nContent-Type: image/png\n\nno\n--cut--\n",
], ids=["bare", "mail", "quoted", ">>", "> >", "> > >", "CRLF", "base64", "qp", "parts"])
def test_every_shape_holds_the_same_patch(tmp_path, text):
    (bare,) = read(tmp_path, PATCH)
    assert [len(lines) for lines in said(bare)] == [9, 4]
    (patch,) = read(tmp_path, text)
    assert said(patch) == said(bare)
    assert not any(hunk.cut or hunk.notes for hunk in patch.hunks) and not patch.missing()


def test_a_mailbox_holds_several_patches(tmp_path):
    one = f"From {'0' * 40} Mon Sep 17 00:00:00 2001\n{HEAD}\n{PATCH}-- \n2.39.5\n\n"
    found = read(tmp_path, one + one.replace("cups", "=?utf-8?q?k=C3=BCche?="))
    assert [patch.subject for patch in found] == ["[PATCH] cups", "[PATCH] küche"]
    assert said(found[0]) == said(found[1])


def test_who_said_what_and_where(tmp_path):
    lines = quote(PATCH, ">> ").splitlines()
    at = next(n for n, line in enumerate(lines) if "dry" in line)
    lines[at + 1:at + 1] = [">", "> why dry?", ">", "", "It drips.", ""]
    text = (ANSWER + "Rex Reader <rex@example.org> writes:\n\n"
            "> On 01/03/2018 10:00, Ann Author wrote:\n" + "\n".join(lines) + "\n")
    (patch,) = read(tmp_path, text)
    (dry, drips) = patch.hunks[0].remarks
    assert (patch.author, dry.author, dry.text) == ("Ann Author", "Rex Reader", "why dry?")
    assert (drips.author, drips.text) == ("Ann Author", "It drips.")
    assert patch.hunks[0].lines[dry.after - 1].text == "\tdry(cup);"
    assert not patch.hunks[0].cut


@pytest.mark.parametrize("drop", [1, 2, 3])
def test_what_is_cut_is_counted(tmp_path, drop):
    lines = quote(PATCH, "> ").splitlines()
    at = next(n for n, line in enumerate(lines) if "level" in line)
    del lines[at - drop:at]
    lines.insert(at - drop, "[...]")
    (patch,) = read(tmp_path, ANSWER + "\n".join(lines))
    assert patch.hunks[0].cut == f"{9 - drop} of 9 lines are quoted"
    assert any("cut the quote" in note for note in patch.hunks[0].notes)
    assert not patch.hunks[1].cut


def test_a_hunk_that_is_not_quoted_is_missed_by_its_offset(tmp_path):
    text = PATCH.replace("@@ -40,3 +43,3 @@", "@@ -40,3 +50,3 @@")
    (patch,) = read(tmp_path, text)
    assert [(hunk.old[0], net) for hunk, net in patch.missing()] == [(40, 7)]


def test_lines_that_ran_together_are_two(tmp_path):
    text = quote(PATCH, ">> ").replace("+\trinse(cup);\n>> +\tdry", "+\trinse(cup);> +\tdry")
    (whole,), (patch,) = read(tmp_path, PATCH), read(tmp_path, ANSWER + text)
    assert said(patch) == said(whole)
    assert any("two lines" in note for note in patch.hunks[0].notes)


def command(*args):
    return nursery.run(["compare", *args], text=False, env=ENVIRONMENT)


@pytest.mark.parametrize("make, says", [
    (lambda path: None, "No such file"), (lambda path: path.mkdir(), "directory|regular"),
    (lambda path: os.mkfifo(path), "no regular file"),
    (lambda path: path.write_bytes(b""), "no patch"),
    (lambda path: path.write_bytes(bytes(range(256)) * 99), "no patch"),
    (lambda path: path.write_text("Subject: hello\n\nno patch in here\n"), "no patch"),
    (lambda path: path.write_bytes(b"x" * (mail.MOST + 9)), "bytes"),
], ids=["none", "directory", "fifo", "empty", "bytes", "words", "huge"])
def test_what_is_no_patch_is_one_line(tmp_path, make, says):
    path = tmp_path / "mail"
    make(path)
    with pytest.raises(Trouble, match=says) as caught:
        mail.read(str(path))
    assert ": " in str(caught.value) and "\n" not in str(caught.value)


def test_trouble_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "mail")
    done = command("--patch", str(tmp_path / "mail"))
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and done.stdout == b"" and "no regular file" in line


@pytest.mark.parametrize("text", [
    PATCH.replace("-10,6 +10,9", "-999999999,999999999 +999999999,999999999"),
    PATCH.replace("-10,6 +10,9", f"-{'9' * 99} +1"), quote(PATCH, ">" * 500 + " "),
    PATCH.replace("rinse(cup)", "(" * 3000 + "{" * 3000), PATCH * 30,
    PATCH.replace("rinse(cup);", "/* \x1b[2Jopen \x07"), PATCH.replace("\t", "\x1b]0;x\x07"),
    PATCH.replace("static void pour(struct cup *cup)", "\x1b[31m(((((" * 20),
    PATCH + "@@ -1,1 +1,1 @@\n" * 900, HEAD + "Content-Transfer-Encoding: base64\n\n!!!\n" + PATCH,
    HEAD.replace("Ann", "=?x-none?q?\x1b?=") + "Content-Type: text/plain; charset=none\n\n" + PATCH,
    PATCH.replace("a/arch/x86/kvm/vmx.c", "a/../../../etc/passwd"),
], ids=range(12))
def test_hostile_patches_are_answered_and_obey_nothing(tmp_path, text, capsys):
    path = tmp_path / "mail"
    path.write_text(text)
    tree = Tree("t", {"arch/x86/kvm/vmx.c": POUR})
    try:
        comparison = Comparison(mail.read(str(path)), Port(), tree)
    except Trouble:
        return
    patch_view.show(comparison, "t")
    for line in Skeleton(comparison).told():
        assert "\x1b" not in line
    shown = capsys.readouterr().out
    assert shown and "\x1b" not in shown and "\x07" not in shown
    assert json.dumps(patch_view.as_json(comparison, "t"))


def test_a_hostile_patch_ends_the_command_in_order(tmp_path):
    path = tmp_path / "mail"
    path.write_text(PATCH.replace("rinse(cup);", "/* \x1b[2Jopen \x07") + "@@ -1,1 +1,1 @@\n" * 900)
    done = command("--patch", str(path))
    assert done.returncode == 1 and done.stderr == b"" and b"\x1b" not in done.stdout


def test_no_patch_is_trouble():
    with pytest.raises(Trouble, match="cannot read"):
        mail.read("\0")
