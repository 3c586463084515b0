# SPDX-License-Identifier: GPL-2.0-only
"""Without its extras no command breaks: it does without, or says in one line what to install."""

import os
import re
import subprocess
import tomllib

import nursery
import pytest
import readme
from command import ENVIRONMENT, kvm_vmx

pytestmark = pytest.mark.long
PYPROJECT = tomllib.loads((readme.pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())
EXTRAS = {extra: [re.match(r"\w+", line)[0] for line in lines]
          for extra, lines in PYPROJECT["project"]["optional-dependencies"].items()}
PACKAGES = sorted({package for packages in EXTRAS.values() for package in packages})
# Every way to a package that is an extra, and those that need none though they could use one.
COMMANDS = {
    **dict.fromkeys((
        "run --exits 500", "run --exits 500 --trace trace.json", "run --exits 500 --lints --json",
        "lesson", "lesson stale -c", "lesson key -c", "lesson all --html course", "fields", "keys",
        "compare --tree nowhere", "drift nowhere nowhere", "measure loop", "measure entry",
        "measure scale", "measure loop --insn trap", "measure loop --html page.html")),
    "conform R3": "pytest", "measure": "capstone", "measure key": "capstone",
    "measure accessors": "capstone", "measure all --json": "capstone",
    "measure key --html page.html": "capstone", "measure key --tier 2": "capstone",
    "measure key -o out.json": "pyperf", "measure loop -o out.json": "pyperf",
    "measure loop --insn trap -o out.json": "pyperf",
}
CURE = re.compile(r"this needs (\w+), which is not installed: pip install 'kvm_vmx\[(\w+)\]'$")


def without(packages, command, folder):
    """A command where these packages cannot be imported, and no others are withheld."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "KVM_VMX_WITHOUT"}
    return nursery.run(command.split(), cwd=folder, env=environment, without=packages)


def check(done, packages):
    """It went well, or said which of the packages to install, by an extra that has it."""
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode in (0, 1, 2), done.stderr
    if done.returncode == 2 and "no such tree: nowhere" not in done.stderr:
        (line,) = done.stderr.splitlines()
        assert done.stdout == ""
        package, extra = CURE.search(line).groups()
        assert package in packages and package in EXTRAS[extra]
        return package
    return None


# What is long, and much like another that needs no extra either.
LONG = {"measure scale", "lesson all --html course"}


@pytest.mark.soak
@pytest.mark.parametrize("command, lacks", COMMANDS.items())
def test_without_any_extra(command, lacks, tmp_path, soak):
    if command in LONG and not soak:
        pytest.skip("long: --soak")
    assert check(without(PACKAGES, command, tmp_path), PACKAGES) == lacks
    assert lacks is None or os.listdir(tmp_path) == []


@pytest.mark.host("capstone", "pyperf")
@pytest.mark.parametrize("package, command, lacks", [
    ("pyperf", "measure key", None), ("pyperf", "measure key -o out.json", "pyperf"),
    ("capstone", "measure key -o out.json", "capstone"), ("hypothesis", "lesson stale -c", None),
    ("capstone", "measure accessors", "capstone"), ("Cython", "measure key", None),
    ("setuptools", "keys", None), ("pytest", "conform R3", "pytest"),
])
def test_without_one(package, command, lacks, tmp_path):
    assert check(without([package], command, tmp_path), [package]) == lacks
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("package, command", [
    ("capstone", "measure key"), ("pyperf", "measure key -o out.json"), ("pytest", "conform R3")])
def test_what_is_said_to_be_absent_is(package, command, tmp_path, monkeypatch):
    """KVM_VMX_WITHOUT does what a missing package does, to the letter."""
    real = without([package], command, tmp_path)
    monkeypatch.setenv("KVM_VMX_WITHOUT", package)
    said = kvm_vmx(*command.split(), cwd=tmp_path)
    assert (said.returncode, said.stdout, said.stderr) == (2, real.stdout, real.stderr)


def test_every_package_of_an_extra_is_a_capability():
    from kvm_vmx.host import CAPABILITIES

    assert set(PACKAGES) <= set(CAPABILITIES)


@pytest.mark.parametrize("line",
                         ["kvm-vmx run", "kvm-vmx compare vmcs_write64 --tree ~/linux@v4.19",
                                  "kvm-vmx run --insn trap", "kvm-vmx measure",
                                  "kvm-vmx measure all --tier 2 --html measure.html"])
def test_readmes_commands_are_found(line):
    assert line in readme.commands()
    assert not any(os.path.sep in word for word in line.split()[:2])


def test_what_is_wrong_is_seen():
    def done(status, err=""):
        return subprocess.CompletedProcess([], status, "", err)

    assert readme.wrong(done(0)) == readme.wrong(done(1)) == ""
    assert readme.wrong(done(2, "kvm-vmx: x: pip install 'kvm_vmx[asm]'\n")) == ""
    for bad in (done(1, "Traceback (most"), done(-11), done(2), done(2, "a\nb\n"), done(2, "no\n")):
        assert readme.wrong(bad)
