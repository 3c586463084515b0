# SPDX-License-Identifier: GPL-2.0-only
"""Every --json keeps to its schema, which says what each member is, and refuses what is wrong."""

import json
import pathlib
import re
import subprocess

import needed
import pytest
import schemed
from command import cache_of_its_own

from kvm_vmx import cli, host, schemas
from kvm_vmx.compare import port
from kvm_vmx.compare.port import Port
from kvm_vmx.lessons import NAMES, sources

# Schemas of files, not of --json.
OF_FILES = {"trace", "rounds", "key"}
SPELLED = re.compile(r"\bkvm_vmx\.([a-z]+(?:\.[a-z]+)?)/(\d+)")
ROOT = pathlib.Path(__file__).parents[2]
TREE = "tree"
VMX = "arch/x86/kvm/vmx.c"
SOURCE = "static void __exit vmx_exit(void)\n{\n\tpr_info(\"%s\");\n\tkvm_exit();\n}\n"
PATCH = f"""\
From: Somebody <somebody@example.org>
Subject: [PATCH] KVM: say it otherwise
Date: Thu, 1 Nov 2018 12:00:00 +0100

---
--- a/{VMX}
+++ b/{VMX}
@@ -1,5 +1,5 @@ static void __exit vmx_exit(void)
 static void __exit vmx_exit(void)
 {{
-\tpr_info("a");
+\tpr_info("b");
 \tkvm_exit();
 }}
"""
# A review of it, which quotes it with a remark in between.
REPLY = "Subject: Re: [PATCH] KVM\n\nOn Thu, Somebody wrote:\n" + "".join(
    f"> {line}\n" + ("\nWhy not c?\n\n" if '"b"' in line else "")
    for line in PATCH.splitlines()[4:])
# Entered at 0x7c00: OUT of 0 to the exit port.
IMAGE = bytes.fromhex("30c0" "e6f4" "f4")
UD = bytes.fromhex("0fa2" "0f0b")
PAGE = bytes([1, 0, 0, 0]).ljust(4096, b"\0")

# schema: command lines that print it, in a folder with the files above
COMMANDS = {
    "run": ["run --exits 2000 --lints", "run --exits 200 --guest ud.bin --serial",
            "run --exits 100 --strict --profile ice-lake", "run --exits 500 --insn trap"],
    "fields": ["fields"], "keys": ["keys"], "lessons": ["lesson"],
    "lesson": ["lesson table -c", "lesson bug", "lesson clean --write mine.py"],
    "course": ["lesson all --html course"],
    "compare": [f"compare --tree {TREE}", f"compare --tree {TREE} vmx_exit"],
    "scope": [f"compare --scope --tree {TREE}"],
    "patch": [f"compare --patch patch.mbox --tree {TREE}",
              f"compare --patch reply.mbox --tree {TREE}"],
    "drift": [f"drift {TREE} other vmx_exit", f"drift {TREE} {TREE}"],
    "fixes": ["drift git v1..HEAD"],
    "conform": ["conform R3"], "boot": ["boot image.bin"],
    "measure": ["measure accessors --tier 0"], "doctor": ["doctor", "doctor dmesg.txt"],
    "decode": ["decode page.bin", "decode page.bin --profile kvm-6.12"],
    "decode.diff": ["decode --diff page.bin other.bin"],
    "sheet": ["lesson table --sheet ann.json --assign ann --key course.key"],
    "grade": ["grade --new --key new.key", "grade page.bin handed.json --key course.key"],
    "version": ["--version"], "cache": ["cache", "cache clear trees"], "schemas": ["schema"],
}
# Those that a test beside what it needs shows.
ELSEWHERE = {"kernel": "tests/kernel/test_kernel_command.py",
             "try": "tests/kernel/test_try.py", "apply": "tests/compare/test_skeleton.py"}
# What is long, or much like another.
LONG = {"conform R3", "run --exits 500 --insn trap", f"drift {TREE} {TREE}", "lesson bug",
        f"compare --tree {TREE}", "measure accessors --tier 0",
        "decode page.bin --profile kvm-6.12"}
NEEDS = {"conform": ("pytest", "hypothesis"), "fixes": ("git",), "measure": ("capstone",)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the commands name, and a cache of their own."""
    path = tmp_path_factory.mktemp("schemas")
    for name, text in ((TREE, "a"), ("other", "b")):
        file = path / name / VMX
        file.parent.mkdir(parents=True)
        file.write_text(SOURCE % text)
    if host.has("git"):
        git(path, "init", "-q", "git")
        for text in "ab":
            file = path / "git" / VMX
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(SOURCE % text)
            git(path / "git", "add", "-A")
            git(path / "git", "commit", "-qm", f"say {text}")
        git(path / "git", "tag", "v1", "HEAD~1")
    (path / "patch.mbox").write_text(PATCH)
    (path / "reply.mbox").write_text(REPLY)
    (path / "image.bin").write_bytes(IMAGE)
    (path / "ud.bin").write_bytes(UD)
    (path / "page.bin").write_bytes(PAGE)
    (path / "other.bin").write_bytes(PAGE[:16] + b"\x01" + PAGE[17:])
    (path / "dmesg.txt").write_text("[    0.0] Linux version 6.12.1 (x@y) (gcc) #1\n")
    assert cli.main(["grade", "--new", "--key", str(path / "course.key")]) == 0
    assert cli.main(["lesson", "table", "--sheet", str(path / "handed.json"), "--assign", "ben",
                     "--key", str(path / "course.key")]) == 0
    (path / "mine.py").write_text("def needed(*args):\n    return 0\n")
    with pytest.MonkeyPatch.context() as patch:     # each command reads the port's sources, else
        patch.setattr(port, "Port", lambda *given: Port(*given) if given else sources.port())
        yield path


def git(root, *args):
    subprocess.run(["git", "-C", root, "-c", "user.name=a", "-c", "user.email=a@b", *args],
                   check=True, capture_output=True)


def printed(folder, capfd, monkeypatch, line):
    """The object that a command line prints."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_of_its_own(folder)))
    assert cli.main([*line.split(), "--json"]) in (0, 1), capfd.readouterr().err
    return json.loads(capfd.readouterr().out)


@pytest.mark.host("jsonschema")
@pytest.mark.soak
@pytest.mark.parametrize("name, line", [
    pytest.param(name, line, id=line) for name, lines in COMMANDS.items() for line in lines])
def test_what_a_command_prints_keeps_to_its_schema_and_what_is_wrong_does_not(
        folder, capfd, monkeypatch, soak, name, line):
    needed.capability(*NEEDS.get(name, ()))
    if line in LONG and not soak:
        pytest.skip("long: --soak")
    if name == "course" and not soak:
        monkeypatch.setattr("kvm_vmx.lessons.command.NAMES", NAMES[::4])    # one is as the others
    value = printed(folder, capfd, monkeypatch, line)
    assert value["schema"].startswith(f"kvm_vmx.{name}/")
    schemed.strict(value)


def test_every_schema_of_the_source_has_its_file_and_its_command():
    found = {match for path in (ROOT / "kvm_vmx").rglob("*.py")
             for match in SPELLED.findall(path.read_text(encoding="utf-8"))}
    files = {tuple(schemas.identity(schemas.load(name)).removeprefix("kvm_vmx.").split("/"))
             for name in schemas.names()}
    assert {pair for pair in found if pair[0] not in OF_FILES} == files
    assert {*COMMANDS, *ELSEWHERE} == set(schemas.names())
    for file in ELSEWHERE.values():
        assert "schemed." in (ROOT / file).read_text(encoding="utf-8")


def parts(schema, path=""):
    """(path, schema) of every part of a schema that describes a value."""
    for word in ("properties", "$defs"):
        for name, one in schema.get(word, {}).items():
            yield f"{path}.{name}", one
            yield from parts(one, f"{path}.{name}") if isinstance(one, dict) else ()
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from parts(schema[word], f"{path}[]")
    for word in ("anyOf", "oneOf"):
        for one in schema.get(word, ()):
            yield from parts(one, path)


@pytest.mark.parametrize("name", schemas.names())
def test_a_schema_is_strict_and_says_what_each_member_is(name):
    schema = schemas.load(name)
    assert schemas.identity(schema).startswith(f"kvm_vmx.{name}/") and schema["title"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    found = [("", schema), *parts(schema)]
    assert {path for path, one in found if isinstance(one, dict) and "$ref" not in one
            and not one.get("description")} == set()
    for path, one in found:
        if isinstance(one, dict) and "properties" in one and "oneOf" not in one:
            assert one["additionalProperties"] is False, path
            assert set(one["required"]) <= set(one["properties"]), path
    if host.has("jsonschema"):
        import jsonschema

        jsonschema.Draft202012Validator.check_schema(schema)


def test_schema_prints_what_stands_in_the_file(capsys):
    for name in schemas.names():
        assert cli.main(["schema", name]) == 0
        assert capsys.readouterr().out == schemas.text(name)
    assert cli.main(["schema"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == schemas.names()
    assert cli.main(["schema", "fieldz"]) == 2
    assert "did you mean fields?" in capsys.readouterr().err
