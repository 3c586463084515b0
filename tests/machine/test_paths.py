# SPDX-License-Identifier: GPL-2.0-only
"""The package runs from wherever it lies: behind symbolic links, under any name, without /proc."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import lengths
import pytest

import kvm_vmx

PACKAGE = pathlib.Path(kvm_vmx.__file__).resolve().parent
SEEN = """
import json, os, runpy, sys
from kvm_vmx import Machine
import kvm_vmx
for insn in sys.argv[1].split(","):
    with Machine(insn=insn) as m:
        kvm = m.insmod()
        vm = kvm.create_vm(code=b"\\xb8\\0\\0\\0\\0\\x0f\\xa2\\xeb\\xf7")
        exits = vm.create_vcpu().run(exits=9).exits
        keys = m.keys()
        traps = m.traps["vmresume"]
    print(json.dumps([os.fsencode(kvm_vmx.__file__).hex(), exits, traps > 0, len(keys),
                      sorted({key["key"] for key in keys})]))
del sys.argv[1]
if sys.argv[1:]:
    runpy.run_module("kvm_vmx", run_name="__main__", alter_sys=True)
"""
COMMAND = "run", "--exits", "50", "--json"


def copy(to):
    """The package at another place, its files the same where that can be."""
    def link(source, target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(PACKAGE, to / "kvm_vmx", copy_function=link,
                    ignore=shutil.ignore_patterns("*.pyx", "*.c"))


def python(folder, *arguments):
    """A new process that finds the package in folder alone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments], cwd="/", timeout=120,
        capture_output=True, text=True, env=environment | {"PYTHONPATH": str(folder)})


def runs_from(folder, command="in turn"):
    """By call and by trap, as a library and as a command: in a process of its own, or in turn in
    that of the library, or not at all."""
    insns, own = ("call", "trap"), lengths.soaks or command == "alone"
    behind = COMMAND if command == "in turn" and not own else ()
    done = python(folder, "-c", SEEN, ",".join(insns), *behind)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for insn, line in zip(insns, lines[:2], strict=True):
        place, exits, trapped, sites, names = json.loads(line)
        assert bytes.fromhex(place).startswith(os.fsencode(os.path.abspath(folder)))
        assert (exits, trapped) == (9, insn == "trap")
        # the names come from the symbols at the places where the loader put them
        assert sites > 10 and "enable_evmcs" in names and "?" not in names
    rest = "\n".join(lines[2:])
    if own:
        assert not rest
        done = python(folder, "-m", "kvm_vmx", *COMMAND)
        assert done.returncode == 0, done.stderr
        rest = done.stdout
    assert json.loads(rest)["modes"]["evmcs"]["enable_evmcs"] is True if rest else not command


NAMES = {
    "spaces": "a folder of mine", "quotes": "it's \"here\"", "letters": "Zoë 漢字",
    "newline": "two\nlines", "percent": "100%s{0}$HOME`", "deleted": "gone (deleted)",
    "bytes that are no text": os.fsdecode(b"\xff\xfe"), "dash": "-c",
}


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_from_a_folder_of_any_name(tmp_path, name, soak):
    """The command, which does nothing more with its own place, of three of them and in a soak,
    which has those names, too, that no list of mappings writes in its own way."""
    if name in ("quotes", "percent", "dash") and not soak:
        pytest.skip("a soak has more names")
    folder = tmp_path / NAMES[name]
    folder.mkdir()
    copy(folder)
    runs_from(folder, {"bytes that are no text": "alone", "letters": "in turn",
                       "newline": "in turn"}.get(name, ""))


def test_through_a_symbolic_link_to_the_folder(tmp_path):
    """As a home directory that is one, and what is installed under it."""
    (tmp_path / "real").mkdir()
    copy(tmp_path / "real")
    (tmp_path / "home").symlink_to("real")
    runs_from(tmp_path / "home")


def test_through_links_to_links_and_dots(tmp_path):
    (tmp_path / "real").mkdir()
    copy(tmp_path / "real")
    (tmp_path / "one").symlink_to("real")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    runs_from(tmp_path / "two" / ".." / "one")


def test_where_the_package_itself_is_a_link(tmp_path):
    (tmp_path / "kvm_vmx").symlink_to(PACKAGE)
    runs_from(tmp_path)


def test_where_each_file_is_a_link(tmp_path):
    """As installers do that keep one copy of a file for all environments."""
    shutil.copytree(PACKAGE, tmp_path / "kvm_vmx", copy_function=os.symlink,
                    ignore=shutil.ignore_patterns("*.pyx", "*.c"))
    runs_from(tmp_path)


def test_in_a_virtual_environment_behind_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to("real")
    venv = tmp_path / "home" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages",
                    str(venv)], check=True, timeout=120)
    site, = (venv / "lib").glob("python3*/site-packages")
    copy(site)
    done = subprocess.run([venv / "bin" / "python", "-c", SEEN, "trap"], cwd="/", timeout=120,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    place, exits, trapped, *_ = json.loads(done.stdout)
    assert bytes.fromhex(place).startswith(os.fsencode(tmp_path)) and exits == 9 and trapped


NO_PROC = """
import sys
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", arguments[0])
sys.addaudithook(hook)
"""


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_without_proc(insn):
    done = python(PACKAGE.parent, "-c", NO_PROC + SEEN, insn)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[1] == 9


def test_a_file_that_is_not_loaded_is_said_so(tmp_path):
    from kvm_vmx.machine import sections

    with pytest.raises(LookupError, match="is not loaded in this process"):
        sections.load_base(str(tmp_path / "none.so"))
