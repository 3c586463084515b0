# SPDX-License-Identifier: GPL-2.0-only
"""Flags: the port and L0 are compiled as a kernel is, all else as whoever builds it says."""

import concurrent.futures
import functools
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import types

import needed
import pytest

from kvm_vmx import building

needed.capability("compiler")

ROOT = building.ROOT
# What Debian's dpkg-buildflags and Fedora's redhat-rpm-config put into the environment, without
# the specs files that only Fedora has.
DEBIAN = ("-g -O2 -ffile-prefix-map=/build=. -fstack-protector-strong -Wformat "
          "-Werror=format-security -Wdate-time -D_FORTIFY_SOURCE=2")
FEDORA = ("-O2 -flto=auto -ffat-lto-objects -fexceptions -g -grecord-gcc-switches -pipe -Wall "
          "-Werror=format-security -Wp,-U_FORTIFY_SOURCE,-D_FORTIFY_SOURCE=3 "
          "-fstack-protector-strong -m64 -mtune=generic -fasynchronous-unwind-tables "
          "-fstack-clash-protection -fcf-protection=full -fno-omit-frame-pointer")
PROBE = r"""
#include <string.h>
#ifdef _FORTIFY_SOURCE
const char fortified[] = "fortified";
#endif
void other(char *text);
int probe(const char *text)
{
	char local[64];

	strcpy(local, text);
	other(local);
	return local[3];
}
"""
HARDENED = {"__stack_chk_fail", "__strcpy_chk", "endbr64"}


def made(module, cflags, tmp_path):
    """What of HARDENED stands in the object that C becomes with the flags that a module gets."""
    flags = building.flags(module, {"CFLAGS": cflags})
    return compiled_with(tmp_path, *cflags.split(), *flags)


@functools.cache
def compiled_with(folder, *flags):
    """The same of some flags: modules of one class have the same."""
    source, target = folder / "probe.c", folder / "probe.o"
    source.write_text(PROBE)
    subprocess.run(["gcc", *flags, "-fPIC", "-w", "-ffat-lto-objects", "-c", str(source),
                    "-o", str(target)], check=True)
    shown = subprocess.run(["objdump", "-dr", str(target)], check=True, capture_output=True,
                           text=True).stdout
    return {word for word in HARDENED if word in shown}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flags")


@pytest.mark.host("objdump")
@pytest.mark.parametrize("module", ["kvm_vmx.l1.vmx", "kvm_vmx.l1.linux.cpu", "kvm_vmx.l0.hyperv"])
def test_no_distribution_hardens_the_kernel(module, folder):
    assert made(module, FEDORA, folder) == set()
    assert made(module, DEBIAN, folder) == set()


@pytest.mark.host("objdump")
@pytest.mark.parametrize("module", ["kvm_vmx.machine.kernel", "kvm_vmx.trap.engine",
                                    "kvm_vmx._cyutility"])
def test_a_distribution_hardens_all_else(module, folder):
    assert made(module, FEDORA, folder) == HARDENED
    assert made(module, DEBIAN, folder) == HARDENED - {"endbr64"}


def test_each_module_is_of_a_class_and_the_kernel_ends_with_its_own_flags():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts)
               for path in sorted((ROOT / "kvm_vmx").rglob("*.pyx"))]
    kernel = {name for name in modules if name.split(".")[1] in ("l0", "l1")}
    assert kernel and set(modules) - kernel
    for name in modules:
        for environ in ({}, {"CFLAGS": DEBIAN}, {"CFLAGS": "-O0 -g"}):
            found = building.flags(name, environ)
            level = [flag for flag in found if re.fullmatch(r"-O\S", flag)]
            if name in kernel:
                assert level == ["-O2"] and "-fno-stack-protector" in found, name
            elif environ:       # whoever says CFLAGS says how it is optimized and what it checks
                assert not level and not any(
                    re.match(r"-f(no-stack|cf-)|-U|-g", flag) for flag in found), name
            else:
                assert level == ["-Og"], name


def file_as_module(name, path):
    """A file of the build as a module, whose main part is not run."""
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


PLATFORMS = [("linux", "aarch64"), ("darwin", "x86_64"), ("win32", "AMD64"), ("linux", "i686")]
# Each in a child of its own, of one process that has imported what all of them do.
ELSEWHERE = """
import json, os, platform, runpy, sys, setuptools
from setuptools.command import build_ext
for system, machine in json.loads(sys.argv[1]):
    print("on", system, machine, file=sys.stderr, flush=True)
    if not (child := os.fork()):
        sys.platform, platform.machine = system, lambda: machine
        os.uname = lambda: os.uname_result((system, "", "", "", machine))
        sys.argv = ["setup.py", "-q", "build_ext", "--inplace"]
        runpy.run_path("setup.py", run_name="__main__")
        sys.exit()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("status", status, file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def elsewhere(folder):
    """(system, machine): what setup.py says, told that it runs there; and its folder."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    for name in ("__init__.py", "cli.py", "building.py", "build_info.pyx"):
        pathlib.Path(folder, "kvm_vmx").mkdir(exist_ok=True)
        shutil.copy2(ROOT / "kvm_vmx" / name, folder / "kvm_vmx")
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, json.dumps(PLATFORMS)], cwd=folder,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^on (\w+) (\w+)\n(.*?)^status (\d+)\n", done.stderr, re.M | re.S)
    return {(system, machine): (text, int(status))
            for system, machine, text, status in said}, folder


@pytest.mark.parametrize("system, machine", PLATFORMS)
def test_another_platform_is_told_in_one_line(system, machine, elsewhere):
    """By setup.py itself, told that it runs elsewhere; nothing is written before."""
    said, folder = elsewhere
    text, status = said[system, machine]
    (line,) = [line for line in text.splitlines() if "error" in line]
    assert status == 1 and "Traceback" not in text
    assert line.startswith("error: kvm_vmx needs x86-64 Linux") and machine in line
    assert not list(folder.rglob("*.so")) and not list(folder.rglob("build/cython/**/*.c"))


def test_without_a_compiler_another_build_says_what_it_takes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from kvm_vmx import Machine\n"
         "try:\n    Machine().insmod(config='no-hyperv')\n"
         "except ValueError as error:\n    print(error)"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "CC": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path)})
    assert done.stdout == ("config 'no-hyperv' is another build of the port, which takes a C "
                           "compiler: no no-such-compiler here: apt-get install gcc\n"), done.stderr
    assert not list(tmp_path.rglob("*.so"))


def test_one_process_compiles_another_build_and_the_others_wait_for_it(tmp_path, monkeypatch):
    compiler, log = tmp_path / "cc", tmp_path / "log"
    compiler.write_text(f'#!/bin/sh\necho x >>{log}\nsleep 0.3\n'
                        'while [ "$1" != -o ]; do shift; done\necho >"$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        (target,) = set(threads.map(building.compiled, ["before"] * 3))
    assert log.read_text() == "x\n"
    assert list(target.parent.iterdir()) == [target]


def test_every_module_is_of_the_stable_abi_and_stands_there_once():
    """One of an older build beside it would be the one that Python takes."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("a free-threaded Python has no stable ABI")
    modules = [path.with_suffix("") for path in (ROOT / "kvm_vmx").rglob("*.pyx")]
    modules.append(ROOT / "kvm_vmx/_cyutility")
    assert 25 < len(modules) <= 34
    assert {str(path) for path in (ROOT / "kvm_vmx").rglob("*.so")} == {
        f"{module}.abi3.so" for module in modules}


def test_a_module_that_no_source_makes_any_more_is_removed(tmp_path, monkeypatch):
    """Python would take it before a .py that bears its name now, or before the one of the stable
    ABI; nor is it in a wheel of a folder that was built before."""
    setup = file_as_module("setup", ROOT / "setup.py")
    monkeypatch.setattr(setup, "HERE", tmp_path)
    rooms = [tmp_path / "kvm_vmx/machine", tmp_path / "build/lib/kvm_vmx/machine"]
    for room in rooms:
        room.mkdir(parents=True)
        for name in ("kernel.abi3.so", "kernel.cpython-311-x86_64-linux-gnu.so", "gate.abi3.so",
                     "gate.cpython-311-x86_64-linux-gnu.so"):
            (room / name).touch()
    build = types.SimpleNamespace(
        build_lib=str(tmp_path / "build/lib"),
        extensions=[types.SimpleNamespace(name="kvm_vmx.machine.kernel")],
        get_ext_filename=lambda name: f"{name.replace('.', '/')}.abi3.so")
    setup.BuildExt.forget_old(build)
    for room in rooms:
        assert [path.name for path in room.iterdir()] == ["kernel.abi3.so"]


@pytest.mark.host("objdump")
def test_no_module_asks_python_for_more_than_the_stable_abi():
    """None of Python's own names: those with an underscore, but for what the ABI itself lists."""
    listed = {"_Py_Dealloc", "_Py_NoneStruct", "_Py_TrueStruct", "_Py_FalseStruct",
              "_PyObject_GC_New", "_PyObject_CallFunction_SizeT", "_PyObject_CallMethod_SizeT"}
    modules = sorted(map(str, (ROOT / "kvm_vmx").rglob("*.abi3.so")))
    shown = subprocess.run(["objdump", "-T", *modules], check=True, capture_output=True,
                           text=True).stdout
    asked = re.split(r"^(\S+):\s+file format .*$", shown, flags=re.M)
    assert asked[1::2] == modules
    for path, text in zip(modules, asked[2::2]):
        own = {line.split()[-1] for line in text.splitlines() if "*UND*" in line}
        assert own and not {name for name in own if name.startswith("_Py")} - listed, path
