# SPDX-License-Identifier: GPL-2.0-only
"""What README shows is what happens: the sample of the main job, the example in Python."""

import pathlib
import re
import subprocess
import sys

import nursery
import pytest
import readme
from command import ENVIRONMENT

from kvm_vmx.cli import parser
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import toolchain

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# By call, whatever form the other tests have: so does README.
BY_CALL = {name: value for name, value in ENVIRONMENT.items() if name != "KVM_VMX_INSN"}
TIME = "ns, "


def counted(text):
    """The lines whose numbers are counted."""
    return [line.rstrip() for line in text.strip().split("\n") if not line.startswith(TIME)]


def printed(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(*arguments):
    return printed(nursery.run(arguments, env=BY_CALL))


def test_the_sample_is_what_the_main_job_prints():
    sample = re.search(r"^\$ kvm-vmx run\n(.*?)^```", README, re.M | re.S)[1]
    assert TIME in sample
    # not of the nursery, whose children end before Python takes itself apart: that is silent, too
    done = subprocess.run([sys.executable, "-m", "kvm_vmx", "run"], env=BY_CALL, timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert counted(sample) == counted(printed(done)) and done.stderr == ""


def test_the_example_in_python_runs():
    example = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)[1]
    out = printed(nursery.python(example, env=BY_CALL)).split("\n")
    assert "exits=10000" in out[0] and out[1].endswith("0xffff")
    assert "KVM: vmx: using Hyper-V Enlightened VMCS" in out


def test_every_command_is_there():
    commands = {line for line in re.findall(r"`kvm-vmx (\w+)", README)}
    assert {"run", "fields", "keys", "conform", "measure", "compare"} <= commands
    known = run("--help")
    assert [name for name in commands if not re.search(rf"\b{name}\b", known)] == []


def test_each_row_of_the_commands_can_be_copied():
    """A row begins with a whole line for a shell, in which nothing stands for a tree."""
    table = README.partition("## Commands\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]*)` \|", table, re.M)
    assert len(rows) > 15 and [row for row in rows if not row.startswith("kvm-vmx ")] == []
    assert [row for row in readme.commands() if "TREE" in row] == []


@pytest.mark.parametrize("command", list(dict.fromkeys([*readme.pasted(), *readme.commands()])))
def test_every_command_parses(command, capsys):
    try:
        parser().parse_args(readme.words(command))
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def test_what_explains_a_line_is_a_comment():
    """Where a command takes names, an explanation would parse, too."""
    blocks = [block for language, block in readme.BLOCK.findall(README)
              if not language and re.search("^kvm-vmx ", block, re.M)]
    assert len(blocks) > 2
    assert re.findall(r"^(?!\$).*\S {2,}[^# \n].*", "".join(blocks), re.M) == []


def test_what_a_kernel_build_lacks_is_named(monkeypatch):
    """In README before, and by the command where it is missing."""
    needs = {*toolchain.PROGRAMS.values(), *toolchain.HEADERS.values()} - {"gcc"}
    row = re.search(r"^\| `kvm-vmx kernel build .*Debian's ([^;]*);", README, re.M)
    assert set(row[1].split(", ")) == needs
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: name if name == "gcc" else None)
    monkeypatch.setattr(toolchain, "_has_header", lambda name: False)
    with pytest.raises(BuildError) as said:
        toolchain.check()
    assert set(str(said.value).partition("apt-get install ")[2].split()) == needs
