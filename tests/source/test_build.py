# SPDX-License-Identifier: GPL-2.0-only
"""What an edit builds again: the documented loop, by what is asked of the compiler, not by time."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import needed
import pytest
import tree

from kvm_vmx import building, cli
from kvm_vmx.compare import build_record

pytestmark = pytest.mark.long

needed.capability("Cython", "setuptools")

# A compiler that says what it was asked for and makes a file of that name.
COMPILER = """#!/bin/sh
for word; do
    [ "$last" = -o ] && out=$word
    last=$word
done
echo "$out" >> {log}
: > "$out"
"""
PORT = "kvm_vmx/l1/vmx"
SMALL = "kvm_vmx/l1/linux/mm"
# What is kept between two builds.
ROOMS = ("kvm_vmx", "include", "build")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
EDITABLE = ("import setuptools.build_meta as backend; "
            "print(backend.build_editable('wheel', {'--build-option': []}))")


def documented():
    """The line of CONTRIBUTING that builds after an edit, as arguments for Python."""
    line = re.search(r"^\.venv/bin/python (setup\.py build_ext .*?)(?:\s+#.*)?$",
                     tree.text("CONTRIBUTING.md"), re.M)
    return line[1].split()


class Checkout:
    """A copy of the checkout as it stands, with its times, that is built by that compiler."""

    def __init__(self, folder):
        self.root, self.log = folder / "checkout", folder / "log"
        for name in filter(lambda name: (tree.ROOT / name).is_dir(), ROOMS):
            shutil.copytree(tree.ROOT / name, self.root / name,
                            ignore=shutil.ignore_patterns("fuzz"))
        for name in FILES:
            shutil.copy2(tree.ROOT / name, self.root)
        self.compiler = folder / "compiler"
        self.compiler.write_text(COMPILER.format(log=self.log))
        self.compiler.chmod(0o755)

    def build(self, *arguments, **environment):
        """The modules whose C a build compiles, and the modules that stand in place after it."""
        self.log.write_text("")
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.root, capture_output=True, text=True,
            timeout=600, env={**os.environ, "CC": str(self.compiler), **environment})
        assert done.returncode == 0, done.stderr[-3000:]
        return {found[1] for line in self.log.read_text().splitlines()
                if (found := re.search(r"build/cython/(\S+)\.o$", line))}

    def edit(self, name, text):
        with (self.root / name).open("a") as file:
            file.write(text)

    def includers(self, header):
        """The modules whose C reaches a header, by the #include lines alone."""
        def reach(path, seen):
            for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M):
                for place in (self.root / "include", self.root, path.parent):
                    found = place / name
                    if found.is_file() and found.resolve() not in seen:
                        seen.add(found.resolve())
                        reach(found, seen)
            return seen

        sources = self.root / "build/cython"
        return {str(path.relative_to(sources).with_suffix("")) for path in sources.rglob("*.c")
                if (self.root / path.relative_to(sources)).with_suffix(".pyx").exists()
                and (self.root / header).resolve() in reach(path, set())}


PLAIN = ("setup.py", "build_ext", "--inplace")
HEADER = "include/asm/host_rsp.h"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("build"))


@pytest.fixture
def whole(checkout, soak):
    """The checkout, which lacks nothing, for a soak, that asks one thing by itself."""
    if not soak:
        pytest.skip("one build asks all of it, below: --soak asks it alone")
    checkout.build(*PLAIN)
    return checkout


def installed(folder):
    """The environment of a Cython that was installed anew, as pip does for each build of its own:
    the files are younger, and the same."""
    import Cython

    shutil.copytree(pathlib.Path(Cython.__file__).parent, folder / "Cython",
                    copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("Tests"))
    return {"PYTHONPATH": str(folder)}


@pytest.mark.soak
def test_nothing_changed_nothing_is_built_by_an_editable_install_either(whole):
    assert whole.build(*PLAIN) == set()
    assert whole.build("-c", EDITABLE) == set()


@pytest.mark.soak
def test_a_cython_that_was_installed_anew_builds_nothing(whole, tmp_path):
    assert whole.build("-c", EDITABLE, **installed(tmp_path)) == set()


@pytest.mark.soak
def test_a_header_builds_what_includes_it_and_a_line_its_module(whole):
    includers = whole.includers(HEADER)
    whole.edit(HEADER, "/* changed */\n")
    assert whole.build(*PLAIN) == includers
    for module in (SMALL, PORT):
        whole.edit(f"{module}.pyx", "# changed\n")
        assert whole.build(*documented()) == {module}


def test_an_edit_builds_its_own_and_nothing_else(checkout, tmp_path):
    """A header and a line in one build, by a Cython that was installed anew; the line is of the
    port's memory, which is as deep in it as vmx.c and translated sooner."""
    def built(folder):
        checkout.edit(HEADER, "/* changed */\n")
        checkout.edit(f"{SMALL}.pyx", "# changed\n")
        return checkout.build(*documented(), **installed(tmp_path / folder))

    def expected():
        includers = checkout.includers(HEADER)
        assert PORT in includers and SMALL not in includers and len(includers) < 30
        return includers | {SMALL}

    # a checkout that lacked something has it then
    if built("once") != expected():
        assert built("again") == expected()


def test_a_source_that_is_put_back_with_its_old_time_is_built_again(checkout):
    """And what compare is left to show of it is what it holds."""
    source = checkout.root / f"{SMALL}.pyx"
    checkout.build(*documented())
    for line in ("# an older text\n", "# one older still\n"):
        checkout.edit(source, line)
        os.utime(source, (1, 1))
        assert checkout.build(*documented()) == {SMALL}
        record = json.loads((checkout.root / build_record.RECORD).read_text())
        assert record["sources"][f"{SMALL}.pyx"] == build_record.digest(source)
    part = checkout.root / "kvm_vmx/trap/single_step.pxi"
    checkout.edit(part, "# an older text\n")
    os.utime(part, (1, 1))
    assert checkout.build(*documented()) == {"kvm_vmx/trap/engine"}
    assert checkout.build(*documented()) == set()


def test_another_build_of_the_port_is_made_once_and_again_after_an_edit(
        checkout, tmp_path, monkeypatch):
    """By the compiler's own log: the second asking compiles nothing, another C or header does."""
    monkeypatch.setenv("CC", str(checkout.compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location(
        "building_there", checkout.root / "kvm_vmx/building.py")

    def asked(config):
        checkout.log.write_text("")
        there = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(there)
        assert there.compiled(config).is_relative_to(tmp_path)
        return len(checkout.log.read_text().splitlines())

    assert [asked(config) for config in ("no-hyperv", "no-hyperv", "by-call")] == [1, 0, 1]
    checkout.edit("include/asm/host_rsp.h", "/* changed again */\n")
    assert [asked("no-hyperv"), asked("no-hyperv")] == [1, 0]
    checkout.edit(f"build/cython/{PORT}.c", "/* changed */\n")
    assert [asked("no-hyperv"), asked("no-hyperv")] == [1, 0]


def test_the_version_tells_all_switches_of_the_build(capsys):
    config = building.CONFIG
    assert cli.main(["--version"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("CONFIG_"))
    assert line.split() == [f"{k}={v}" for k, v in config.items()]
    assert len(config) >= 3
