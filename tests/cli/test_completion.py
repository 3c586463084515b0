# SPDX-License-Identifier: GPL-2.0-only
"""Completions in the shells themselves, and manual pages in man: each says what the parser does."""

import pathlib
import re
import subprocess

import needed
import pytest
from test_streams import every_argument

from kvm_vmx import cli, host
from kvm_vmx.about import shells
from kvm_vmx.about.commands import all_of
from kvm_vmx.l0.profile import PROFILES
from kvm_vmx.lessons import NAMES
from kvm_vmx.machine.partition import CACHE_POLICIES

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = all_of(cli.parser())
NAMED = [command.name for command in COMMANDS[1:]]
# What a line of bash would offer: its words, as COMP_WORDS has them, the last one being typed.
ASK = """\
source {script}
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1)); COMPREPLY=()
compopt() {{ :; }}
_kvm_vmx
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """{shell: the file of its script}."""
    folder = tmp_path_factory.mktemp("completion")
    found = {}
    for shell, made in shells.SHELLS.items():
        found[shell] = folder / shell
        found[shell].write_text(made(COMMANDS))
    return found


def offered(scripts, tmp_path, *words):
    """What bash offers for the last of some words."""
    (tmp_path / "guest.bin").touch()
    quoted = " ".join(f"'{word}'" for word in ("kvm-vmx", *words))
    done = subprocess.run(
        ["bash", "--norc", "-u", "-c", ASK.format(script=scripts["bash"], words=quoted,
                                                  count=len(words) + 1)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


def options(name):
    """Every flag of a command."""
    (command,) = (one for one in COMMANDS if one.name == name)
    return {flag for option in command.options for flag in option.flags}


OFFERS = {
    "commands": ([""], set(NAMED)), "one command": (["les"], {"lesson"}),
    "options of all": (["--"], {flag for flag in options("") if flag[:2] == "--"}),
    "options of one": (["run", "--"], {flag for flag in options("run") if flag[:2] == "--"}),
    "lessons": (["lesson", ""], {*NAMES, "all"}), "a lesson": (["lesson", "det"], {"detect"}),
    "profiles and files": (["run", "--profile", ""], {*PROFILES, "guest.bin"}),
    "a profile behind =": (["run", "--profile", "=", "kvm"], {"kvm-6.12"}),
    "policies": (["run", "--cache-policy", ""], set(CACHE_POLICIES)),
    "choices": (["run", "--insn", ""], {"call", "trap"}),
    "files": (["run", "--guest", ""], {"guest.bin"}), "numbers": (["run", "--exits", ""], set()),
    "behind a value": (["run", "--exits", "5", "--ins"], {"--insn"}),
    "the first place": (["kernel", "b"], {"build"}),
    "the second place": (["kernel", "build", ""], {"guest.bin"}),
    "a place behind an option": (["kernel", "--config", "x", "r"], {"run", "record"}),
    "a list": (["cache", "clear", "trees", "ker"], {"kernel"}),
    "behind an option of all": (["--color", "never", "conf"], {"conform"}),
    "rules": (["conform", "R10"], {"R10", *(f"R{n}" for n in range(100, 105))}),
    "shells": (["completion", ""], set(shells.SHELLS)), "nothing": (["nosuch", "x"], set()),
}


@pytest.mark.parametrize("words, expected", OFFERS.values(), ids=OFFERS)
def test_bash_offers_what_there_is(scripts, tmp_path, words, expected):
    assert offered(scripts, tmp_path, *words) == expected


@pytest.mark.parametrize("name", NAMED)
def test_bash_offers_every_option_of_every_command(scripts, tmp_path, name):
    assert offered(scripts, tmp_path, name, "-") == options(name)


@pytest.mark.parametrize("shell, check", [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_a_shell_can_read_its_script(scripts, shell, check):
    needed.capability(shell)
    done = subprocess.run([shell, check, scripts[shell]], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.host("fish")
@pytest.mark.parametrize("line, some", [
    ("kvm-vmx ", {"run", "lesson"}), ("kvm-vmx lesson ", set(NAMES)),
    ("kvm-vmx run --prof", {"--profile"}), ("kvm-vmx run --insn ", {"call", "trap"})])
def test_fish_offers_what_there_is(scripts, line, some):
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {scripts['fish']}; complete -C '{line}'"],
        capture_output=True, text=True)
    assert some <= {row.partition("\t")[0] for row in done.stdout.splitlines()}, done.stderr


@pytest.mark.host("zsh")
def test_zsh_defines_its_function(scripts, tmp_path):
    (tmp_path / "_kvm-vmx").write_text(scripts["zsh"].read_text())
    done = subprocess.run(
        ["zsh", "-f", "-c", f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D; "
         "print $_comps[kvm-vmx]; autoload +X _kvm-vmx && print loaded"],
        capture_output=True, text=True, env={"HOME": str(tmp_path)})
    assert done.stdout.split() == ["_kvm-vmx", "loaded"], done.stderr


@pytest.mark.host("tcsh")
def test_tcsh_takes_its_line(scripts):
    done = subprocess.run(["tcsh", "-f", "-c", f"source {scripts['tcsh']}; complete kvm-vmx"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "n/--profile/" in done.stdout, done.stderr


def test_every_shell_names_every_command_and_option(scripts):
    for shell, script in scripts.items():
        text = script.read_text()
        for command in COMMANDS[1:]:
            assert re.search(rf"\b{command.name}\b", text), (shell, command.name)
            for flag in options(command.name):
                word = flag.lstrip("-")
                assert len(word) == 1 or word in text, (shell, flag)


def test_what_a_command_refuses_json_for_says_so(capsys):
    for line in (["completion", "bash"], ["man"]):
        assert cli.main([*line, "--json"]) == 2
        assert "leave --json out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *NAMED])
def test_a_manual_page_is_whole_and_clean(name, capsys, tmp_path):
    assert cli.main(["man", *filter(None, [name])]) == 0
    text = capsys.readouterr().out
    page = ROOT / f"share/man/man1/{f'kvm-vmx-{name}'.rstrip('-')}.1"
    assert text == page.read_text(encoding="utf-8")
    for title in ("NAME", "SYNOPSIS", "OPTIONS", "SEE ALSO"):
        assert f".SH {title}\n" in text
    if name:
        assert ".SH EXAMPLES\n" in text
    for flag in options(name):
        assert rf"\fB{flag.replace('-', chr(92) + '-')}\fR" in text
    if host.has("man"):
        done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
        assert (done.returncode, done.stderr) == (0, "")
        for word in ("kvm-vmx", *options(name)):
            assert word in re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)
    if host.has("mandoc"):
        said = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True).stdout
        assert [line for line in said.splitlines()
                if "STYLE" not in line and "missing date" not in line] == []


def test_no_argument_is_left_without_help():
    assert all(action.help for action in every_argument())
    for command in COMMANDS:
        assert command.summary and all(one.help for one in (*command.options, *command.arguments))


def test_the_commands_of_the_page_are_commands():
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```\n(.*?)```", page, re.S)
             for line in block.splitlines()]
    found = [re.search(r"kvm-vmx((?: [\w-]+)+)", line)[1] for line in lines]
    assert len(found) == 7
    for line in found:
        assert cli.parser().parse_args(line.split()).execute
