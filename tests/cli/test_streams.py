# SPDX-License-Identifier: GPL-2.0-only
"""Every command beside streams that are closed, full or narrow, and whatever goes wrong in it.

With --soak each command meets each stream, else each meets one or two and each stream some.
"""

import itertools
import os
import re
import subprocess
import sys

import nursery
import pytest
from command import ENVIRONMENT

from kvm_vmx import cli, streams

TREE = "tree"
COMMANDS = {
    "tour": [], "help": ["--help"], "version": ["--version"], "help of one": ["run", "--help"],
    "run": ["run", "--exits", "20"], "run --json": ["run", "--exits", "20", "--json"],
    "fields": ["fields"], "fields --json": ["fields", "--json"],
    "keys": ["keys"], "keys --json": ["keys", "--json"],
    "lessons": ["lesson"], "lesson": ["lesson", "table", "-c"],
    "lesson --json": ["lesson", "table", "--json"],
    "compare": ["compare", "--tree", TREE], "compare f": ["compare", "--tree", TREE, "vmx_exit"],
    "compare --scope": ["compare", "--tree", TREE, "--scope"],
    "compare --json": ["compare", "--tree", TREE, "--json"],
    "drift": ["drift", TREE, TREE], "drift f": ["drift", TREE, TREE, "vmx_exit"],
    "drift --json": ["drift", TREE, TREE, "--json"],
    "schemas": ["schema"], "schema": ["schema", "run"], "cache": ["cache"],
    "man": ["man", "run"], "completion": ["completion", "zsh"], "version --json": [
        "--version", "--json"],
    "measure": ["measure", "loop"], "measure --json": ["measure", "entry", "--json"],
}
# What a command may find: a test each, and one for each encoding.
STREAMS = ("closed", "full", "gone", "ascii", "latin-1", "utf-8", "nothing")
# What a sample must not miss: text of the hostile tree, what guests and lessons print without a
# home, and a program that prints as it goes.
ALWAYS = {("closed", "help"), ("full", "tour"), ("gone", "tour"), ("gone", "compare f"),
          ("ascii", "compare f"), ("ascii", "drift f"), ("ascii", "compare --json"),
          ("nothing", "lesson"), ("nothing", "run")}
SOURCE = """\
static void __exit vmx_exit(void)
{
	pr_info("\x1b]0;pwned\x07\x1b[2J\u202e");
	kvm_exit();
}
"""


def met(soak):
    """(stream, command) to try: all, or a sample that has each command and each stream."""
    every = itertools.product(STREAMS, COMMANDS)
    if soak:
        return set(every)
    names = list(COMMANDS)
    return ALWAYS | {(stream, name) for stream, name in every
                     if (names.index(name) - STREAMS.index(stream)) % len(STREAMS) == 0}


def pytest_generate_tests(metafunc):
    """`args` of a test that is called for a stream: the command lines that meet it."""
    if "args" in metafunc.fixturenames and "stream" in metafunc.fixturenames:
        streams = [mark.args for mark in metafunc.definition.iter_markers("stream")]
        pairs = met(metafunc.config.getoption("--soak"))
        metafunc.parametrize("stream, args", [
            pytest.param(stream, COMMANDS[name], id=f"{name}-{stream}")
            for stream in sum(streams, ()) for name in COMMANDS if (stream, name) in pairs])


def test_a_sample_leaves_nothing_out():
    for part, every in ((0, STREAMS), (1, COMMANDS)):
        assert {pair[part] for pair in met(False)} == set(every)
    assert met(False) < met(True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small kernel tree in it, whose one string a terminal would obey."""
    path = tmp_path_factory.mktemp("streams")
    file = path / TREE / "arch/x86/kvm/vmx.c"
    file.parent.mkdir(parents=True)
    file.write_text(SOURCE, encoding="utf-8")
    return path


def run(folder, args, out=None, first="", shut=(), **environment):
    """The finished process of a command line."""
    return nursery.run(map(os.fsdecode, args), cwd=folder, env={**ENVIRONMENT, **environment},
                       text=False, out=out, first=first, shut=shut)


def without(folder, args, numbers, soak, **environment):
    """Likewise where the streams of these numbers are closed, some by a shell, in a soak all."""
    if not soak and args not in (COMMANDS["help"], COMMANDS["run"]):
        return run(folder, args, shut=numbers, **environment)
    closed = " ".join(f"{number}>&-" for number in numbers)
    return subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "bash", sys.executable, "-m", "kvm_vmx", *args],
        cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
        env={**ENVIRONMENT, **environment})


def errors(done):
    """The lines of standard error that are not the kernel's log of `run --json`."""
    lines = done.stderr.decode().splitlines()
    assert "Traceback" not in done.stderr.decode()
    return [line for line in lines if line.startswith("kvm-vmx")]


@pytest.mark.soak
@pytest.mark.stream("closed")
def test_closed_standard_output(folder, args, stream, soak):
    done = without(folder, args, [1], soak)
    assert done.returncode == 2
    assert errors(done)[-1:] == ["kvm-vmx: cannot write the output: standard output is closed"]


@pytest.mark.soak
@pytest.mark.stream("full")
def test_a_full_device(folder, args, stream):
    with open("/dev/full", "w") as full:
        done = run(folder, args, out=full)
    assert done.returncode == 2
    assert errors(done)[-1:] == ["kvm-vmx: cannot write the output: No space left on device"]


@pytest.mark.soak
@pytest.mark.stream("gone")
def test_a_reader_that_is_gone(folder, args, stream):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone:
        done = run(folder, args, out=gone)
    assert done.returncode == 141 and errors(done) == []


@pytest.mark.soak
@pytest.mark.stream("ascii", "latin-1", "utf-8")
def test_any_encoding_and_no_escape_of_the_tree(folder, args, stream):
    done = run(folder, args, PYTHONIOENCODING=stream)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr.decode()
    out = done.stdout.decode(stream) + done.stderr.decode(stream)
    assert not streams.CONTROL.search(out.replace("\n", "").replace("\t", ""))


@pytest.mark.soak
@pytest.mark.stream("nothing")
def test_no_home_no_cache_no_input_no_errors(folder, args, stream, soak):
    done = without(folder, args, [0, 2], soak, HOME="/nonexistent", XDG_CACHE_HOME="/proc/x")
    assert done.returncode in (0, 1) and done.stdout


HOSTILE = "a\x1b]0;x\x07\x1b[31m\x9b\u202e\nb\r\udcff"
NAMED = {
    "a command": [HOSTILE], "an option": [f"--{HOSTILE}"], "a tree": ["compare", "--tree", HOSTILE],
    "a function": ["compare", "--tree", TREE, HOSTILE], "a page": [
        "compare", "--tree", TREE, "--html", f"/nowhere/{HOSTILE}"],
    "a setting": ["compare", "--tree", TREE, "--config", HOSTILE],
    "a revision": ["compare", "--tree", f"{TREE}@{HOSTILE}"],
    "an old tree": ["drift", HOSTILE, TREE], "a drifting function": ["drift", TREE, TREE, HOSTILE],
    "a guest": ["run", "--guest", HOSTILE], "exits": ["run", "--exits", HOSTILE],
    "a profile": ["run", "--profile", HOSTILE], "a file of a profile": [
        "run", "--profile", f"{HOSTILE}.toml"],
    "a policy": ["run", "--cache-policy", HOSTILE], "a trace": ["run", "--trace", f"/no/{HOSTILE}"],
    "a lesson": ["lesson", HOSTILE], "a case": ["lesson", "detect", "--case", HOSTILE],
    "a seed": ["lesson", "detect", "--seed", HOSTILE],
    "a solution": ["lesson", "table", "--write", HOSTILE],
    "a schema": ["schema", HOSTILE], "a store": ["cache", "clear", HOSTILE],
    "a page of man": ["man", HOSTILE], "a shell": ["completion", HOSTILE],
    "a rule": ["conform", HOSTILE], "a part": ["measure", HOSTILE],
    "a file of results": ["measure", "key", "-o", f"/nowhere/{HOSTILE}"],
}


@pytest.mark.parametrize("args", NAMED.values(), ids=NAMED)
def test_a_name_is_shown_and_not_obeyed(folder, args):
    done = run(folder, [os.fsencode(arg) for arg in args])
    text = (done.stdout + done.stderr).decode("utf-8", "surrogateescape")
    assert "Traceback" not in text and done.returncode in (1, 2)
    assert not streams.CONTROL.search(text.replace("\n", ""))
    if done.returncode == 2:
        assert len(text.splitlines()) == 1


def test_a_tree_whose_name_a_terminal_would_obey(folder):
    name = "\x1b[31mtree\x1b]0;x\x07"
    (folder / name).symlink_to(TREE)
    for args in (["compare"], ["compare", "vmx_exit"], ["compare", "--scope"]):
        done = run(folder, [*args, "--tree", name])
        assert done.returncode == 1 and b"\\x1b[31mtree" in done.stdout
        assert b"\x1b" not in done.stdout
    for args in ([TREE, name], [name, TREE]):
        done = run(folder, ["drift", *args])
        assert done.returncode == 0 and b"\\x1b[31mtree" in done.stdout
        assert b"\x1b" not in done.stdout


WITHOUT_PROC = """
import os, sys
def no_proc(event, args):
    name = args[0] if event in ("open", "os.listdir", "os.scandir") else None
    if isinstance(name, (str, bytes)) and os.fsdecode(name).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", name)
sys.addaudithook(no_proc)
"""


def without_proc(folder, args):
    """The finished process of a command line, in which Python opens and lists nothing in /proc."""
    return run(folder, args, first=WITHOUT_PROC)


def placeless(text):
    """A text without the addresses at which a library happens to lie."""
    return re.sub(rb"\b0x7[0-9a-f]{11}\b|\b1[34]\d{13}\b", b"address", text)


# a run so short has no times, in either form of the instructions
ALIKE = {"run": ["run", "--exits", "3"], **{name: COMMANDS[name] for name in (
    "keys", "lesson", "measure", "measure --json", "fields", "compare", "drift")}}


@pytest.mark.parametrize("args", ALIKE.values(), ids=ALIKE)
def test_without_proc_it_is_the_same(folder, args):
    with_proc, done = run(folder, args), without_proc(folder, args)
    assert [done.returncode, *map(placeless, (done.stdout, done.stderr))] == \
        [with_proc.returncode, *map(placeless, (with_proc.stdout, with_proc.stderr))]
    assert done.returncode in (0, 1) and done.stdout


READERS = {
    "times": ("measure loop --tier 2 --insn trap", "/proc/cpuinfo"),
    "times and counts": ("measure entry --tier 2", "/proc/self/maps"),
    "counts": ("measure loop --tier 1", "/proc/self/maps"),
}


@pytest.mark.host("valgrind")
@pytest.mark.parametrize("command, file", READERS.values(), ids=READERS)
def test_without_proc_what_reads_it_says_so(folder, command, file):
    done = without_proc(folder, command.split())
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and done.stdout == b""
    assert line == f"kvm-vmx: {file}: No such file or directory: mount /proc"


WRONG = {
    "an exception nobody foresaw": (RuntimeError("a bad\nday"), "RuntimeError: a bad"),
    "memory": (MemoryError(), "not enough memory"),
    "depth": (RecursionError("too deep"), "RecursionError: too deep"),
    "a file of the system": (FileNotFoundError(2, "No such file or directory", "/proc/self/maps"),
                             "/proc/self/maps: No such file or directory: mount /proc"),
    "another module": (ModuleNotFoundError("No module named 'fish'"), "fish"),
}


@pytest.mark.parametrize("error, says", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("traceback", [False, True])
def test_what_nobody_foresaw_is_one_line_and_trouble(monkeypatch, capfd, error, says, traceback):
    def fail(args):
        raise error

    monkeypatch.setattr("kvm_vmx.tables.fields_command.execute", fail)
    monkeypatch.setenv("KVM_VMX_TRACEBACK", "1" if traceback else "")
    assert cli.main(["fields"]) == 2
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == "" and says in lines[-1] and lines[-1].startswith("kvm-vmx: ")
    assert (len(lines) > 1) == ("Traceback" in err) == traceback
    if "nobody" in says:
        assert "report" in lines[-1]


MEANT = {
    "a command": (["rnu"], "no command 'rnu': did you mean run?"),
    "far from any": (["zzzzzz"], "there are run, lesson, fields"),
    "an option of all": (["--verison"], "did you mean --version?"),
    "an option": (["run", "--exts", "3"], "did you mean --exits?"),
    "an option with its value": (["run", "--exts=3"], "did you mean --exits?"),
    "a choice": (["measure", "acessors"], "did you mean accessors?"),
    "a choice of an option": (["run", "--insn", "tarp"], "did you mean trap?"),
}


@pytest.mark.parametrize("args, says", MEANT.values(), ids=MEANT)
def test_the_word_that_was_meant(capfd, args, says):
    assert cli.main(args) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and says in err


def test_an_error_of_usage_names_what_is_required_alone(capfd):
    for command, required in (("drift", "old, new"),):
        assert cli.main([command]) == 2
        assert f"the following arguments are required: {required} (see" in capfd.readouterr().err
    for action in every_argument():
        assert action.nargs not in ("*", "?") or not action.required, action


def every_argument():
    """The positional arguments of all commands."""
    (commands,) = (action for action in cli.parser()._actions if isinstance(action.choices, dict))
    return [action for command in commands.choices.values()
            for action in command._get_positional_actions()]
