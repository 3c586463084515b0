# SPDX-License-Identifier: GPL-2.0-only
"""What the host can do is asked in one place, truly, and each of it can be made to be absent."""

import gc
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

import nursery
import pytest
from trapping import CPUID_LOOP

from kvm_vmx import Machine
from kvm_vmx import host
from kvm_vmx.machine.partition import PhysicalMemory

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = {"valgrind": "valgrind", "objdump": "objdump", "xz": "xz", "git": "git",
            "gcc": "gcc", "pdftotext": "pdftotext"}
PACKAGES = ("capstone", "pyperf", "pytest", "hypothesis", "Cython", "setuptools", "mypy")


def processor_flags():
    """What the kernel says that the processor has, and lets be used."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    return set(re.search(r"^flags\s*:(.*)$", text, re.M)[1].split())


@pytest.mark.parametrize("name, flag",
                         [("fsgsbase", "fsgsbase"), ("cpuid-faulting", "cpuid_fault")])
def test_the_processor_is_as_the_kernel_says(name, flag):
    if name in host.withheld():
        assert not host.has(name)
    else:
        assert host.has(name) == (flag in processor_flags())


@pytest.mark.parametrize("name, program", PROGRAMS.items())
def test_a_program_is_where_the_shell_finds_it(name, program):
    found = subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True, text=True)
    assert (host.find(name) or "") == ("" if name in host.withheld() else found.stdout.strip())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_there_as_pip_says(name):
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    assert host.has(name) == (name.lower() in installed and name not in host.withheld())


@pytest.mark.parametrize("variable, name", [
    ("KVM_VMX_TREE_4_19", "tree-4.19"), ("KVM_VMX_TREE_6_12", "tree-6.12")])
def test_the_variable_names_the_tree(monkeypatch, tmp_path, variable, name):
    monkeypatch.setenv(host.WITHOUT, "")
    monkeypatch.setenv(variable, str(tmp_path))
    assert host.find(name) == str(tmp_path)
    monkeypatch.setenv(host.WITHOUT, name)
    assert host.find(name) is None


@pytest.fixture(scope="module")
def before():
    """What this host has with nothing withheld."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(host.WITHOUT, raising=False)
        return {other: host.has(other) for other in host.CAPABILITIES}


@pytest.mark.parametrize("name", host.CAPABILITIES)
def test_each_can_be_absent(name, before, monkeypatch):
    monkeypatch.delenv(host.WITHOUT, raising=False)
    assert host.absent(name) == host.CAPABILITIES[name].absent
    monkeypatch.setenv(host.WITHOUT, name)
    after = {other: host.has(other) for other in host.CAPABILITIES}
    assert after == before | {name: False}
    assert host.absent(name) == "KVM_VMX_WITHOUT says so"


def test_a_child_goes_without_it_too(monkeypatch):
    monkeypatch.setenv(host.WITHOUT, "memfd,git")
    out = subprocess.run(
        [sys.executable, "-c", "from kvm_vmx import host; print(sorted(host.withheld()))"],
        capture_output=True, text=True, cwd=ROOT)
    assert out.stdout == "['git', 'memfd']\n"


def test_an_unknown_one_is_one_line(monkeypatch):
    monkeypatch.setenv(host.WITHOUT, "fsgsbase,warp")
    with pytest.raises(ValueError, match="no capability 'warp': there are cpuid-faulting,"):
        Machine(cpus=1)
    for command in ("run", "measure", "conform"):
        done = nursery.run([command], cwd=ROOT)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert "no capability 'warp'" in done.stderr


TEXT = """
from kvm_vmx import Machine, guests
def attempt(what, *arguments, **options):
    try:
        return what(*arguments, **options)
    except OSError as error:
        print(type(error).__name__, error)
for insn, config in (("call", "hyperv"), ("call", "no-jump-label"), ("trap", "hyperv")):
    if machine := attempt(Machine, cpus=1, insn=insn):
        with machine:
            if kvm := attempt(machine.insmod, config=config):
                vcpu = kvm.create_vm(code=guests.CPUID_LOOP).create_vcpu()
                print(insn, config, kvm.enable_evmcs, vcpu.run(exits=9).exits,
                      machine.traps["vmresume"] > 0)
with Machine(cpus=2, insn="call") as machine:
    print(machine.cpus)
"""


@pytest.mark.both("text-writing")
def test_text_that_may_not_be_written(withheld):
    """It is said in one line by each form, there is a way, and no machine is left half made."""
    done = nursery.python(TEXT, cwd=ROOT)
    assert done.stderr == ""
    first, second, third, last = done.stdout.splitlines()
    assert second == "call no-jump-label True 9 False" and last == "2"
    if withheld:
        assert re.match(r"PermissionError .*text cannot be made writable.*no-jump-label\"$", first)
        assert re.match(r"PermissionError .*cannot be made to trap: .*: use insn='call'$", third)
    else:
        assert (first, third) == ("call hyperv True 9 False", "trap hyperv True 9 True")


@pytest.mark.both("memfd")
def test_memory_is_mapped_twice(withheld):
    """What the kernel stores through one mapping Python reads through the other."""
    def files():
        return pathlib.Path("/proc/self/maps").read_text().count("memfd:l1-memory")

    gc.collect()        # a machine of another test's
    before = files()
    with Machine(cpus=1) as machine:
        assert files() - before == (0 if withheld else 2)
        kvm = machine.insmod()
        assert kvm.create_vm(code=CPUID_LOOP).create_vcpu().run(exits=9).exits == 9
        # the assist page is the kernel's through vmalloc, and Python's by its address
        page = machine.memory.read(machine.assist_page_gpa(0), 56)
        assert page == machine.assist_page(0) != bytes(56)
    with pytest.raises(MemoryError, match="cannot map|no memory file"):
        # more than an address space has
        [PhysicalMemory(1 << 40) for _ in range(128)]


def test_a_tree_is_of_its_own_version_alone(monkeypatch, tmp_path):
    monkeypatch.setenv(host.WITHOUT, "")
    monkeypatch.delenv(host.TREE_6_12, raising=False)
    monkeypatch.setattr(host, "PLACES", (f"{tmp_path}/linux-*",))
    for name in ("linux-source-6.12.tar.xz", "linux-source-6.1.tar.xz.asc", "linux-6.1.tar.xz"):
        (tmp_path / name).touch()
    (tmp_path / "linux-source-6.1").mkdir()     # it has no kernel in it
    assert host.find("tree-6.12") == str(tmp_path / "linux-source-6.12.tar.xz")
    assert host.find("tree-6.1") is None
    (tmp_path / "linux-source-6.1.tar.xz").touch()
    assert host.find("tree-6.1") == str(tmp_path / "linux-source-6.1.tar.xz")


# Whoever asks the host elsewhere cannot be made to find something absent.
ASKS = re.compile(
    r"shutil\.which|(?<!def )find_spec\((?!\"kvm_vmx\")|importorskip|getauxval|skipif\("
    r"|^\s*(?:import|from) (?:capstone|pyperf|hypothesis|pytest|Cython|setuptools)\b"
    r"|except (?:ImportError|ModuleNotFoundError)", re.M)
# A build that was left out is no capability of the host; a plugin of pytest has pytest; and
# those who have asked already.
ALLOWED = {"kvm_vmx/host.py": ..., "kvm_vmx/conform/plugin.py": ["import pytest"],
           "kvm_vmx/testing/__init__.py": ["import pytest"],
           "kvm_vmx/testing/kernels.py": ["import pytest"],
           "kvm_vmx/machine/machine.py": ["except ModuleNotFoundError"],
           # names what the capability kernel-build lacks
           "kvm_vmx/kernel/toolchain.py": ["shutil.which"],
           # another version of it has other parts
           "kvm_vmx/lessons/shrink.py": ["import hypothesis", "from hypothesis",
                                         "except (ImportError"]}


def test_nobody_else_asks():
    found = {}
    for path in sorted((ROOT / "kvm_vmx").rglob("*.py*")):
        if path.suffix in (".py", ".pyx", ".pxd"):
            hits = {hit.strip() for hit in ASKS.findall(path.read_text())}
            allowed = ALLOWED.get(str(path.relative_to(ROOT)), [])
            if hits and allowed is not ... and hits - set(allowed):
                found[str(path.relative_to(ROOT))] = hits
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name != "test_host.py" and (hits := re.findall(
                r"shutil\.which|importorskip|(?<!def )find_spec\((?!\"kvm_vmx\")|getauxval",
                path.read_text())):
            found[str(path.relative_to(ROOT))] = hits
    assert found == {}


def test_without_what_they_need_tests_are_skipped_and_say_why(soak):
    """Those that are marked; none fails, and none of their files breaks when it is collected. All
    of them with --soak, else those of every sixth file."""
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py"))
              if re.search(r"mark\.host|import needed|from needed", path.read_text())]
    assert len(marked) > 30
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-m", "host",
         *map(str, marked if soak else marked[::6])], cwd=ROOT, capture_output=True, text=True,
        timeout=600, env={**os.environ, host.WITHOUT: ",".join(host.BESIDE)})
    assert done.returncode == 0, done.stdout[-3000:]
    last = done.stdout.strip().splitlines()[-1]
    assert re.search(r"\b(\d+) skipped", last) and "failed" not in last and "error" not in last
    assert "KVM_VMX_WITHOUT says so" in done.stdout
