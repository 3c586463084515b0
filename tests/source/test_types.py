# SPDX-License-Identifier: GPL-2.0-only
"""The package passes mypy --strict whole; types reach the user: a script of one's own does too, and
stubs are what runs. What has held of the same sources is not asked again."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import tree

pytestmark = pytest.mark.long
STUBS = sorted(tree.under("kvm_vmx", suffixes={".pyi"}))
ALLOWED = "tests/data/stubtest.txt"

GOOD = """\
import kvm_vmx
from kvm_vmx import (
    ExitReason, ExitSummary, Fault, Field, KernelBug, Machine, Outcome, VMfailValid, fields)

def addresses(code: bytes) -> dict[str, int]:
    with Machine(cpus=2, msrs={0x10A: 0}, cpuid={7: (0, 0, 0, 0)}, strict=True) as machine:
        kvm = machine.insmod(enlightened_vmcs=True, vpid=0)
        vm = kvm.create_vm(code=code)
        vcpu = vm.create_vcpu(cpu=0)
        summary: ExitSummary = vcpu.run(exits=10)
        reasons: dict[ExitReason, int] = summary.reasons
        vcpu.regs["rax"] = len(reasons)
        vcpu.cpu = 1
        names: list[str] = [name for name in vcpu.evmcs]
        clean: int = vcpu.evmcs.clean_fields | vcpu.evmcs["GUEST_RIP"] | vcpu.vmcs["GUEST_RIP"]
        machine.memory.write_u64(0x1000, machine.memory.read_u64(0x1000) + clean)
        vm.memory.write(0, vm.memory.read(0, 8))
        page_of_mine: int = machine.memory.alloc(4096)
        machine.memory[page_of_mine:page_of_mine + 8] = vm.memory[0:8] + code[:0]
        sregs = vcpu.sregs
        vcpu.sregs = {**sregs, "cr4": sregs["cr4"] | 1}
        names += [summary.why, *vcpu.vmcs, *map(repr, (machine, kvm, vm, vcpu, machine.cpu(0)))]
        if summary.fault is not None:
            names.append(summary.fault.event.name + hex(summary.fault.rip))
        elif summary.reason == "IO":
            vcpu.answer(summary.data["size"])
        vcpu.interrupt(0x30)
        vm.move_page(0x1000, flush=True)
        if machine.oopsed or not machine.is_online(1) or machine.warnings + vm.remote_tlb_flushes:
            names += [*machine.undone, *map(hex, machine.crash or ())]
        found: kvm_vmx.Decoded = kvm_vmx.decode(vcpu.evmcs, profile="kvm-6.12")
        names += [one.id + one.sentence for one in found.refusals] + [str(found), *found.groups]
        for one in kvm_vmx.decode_all(machine.memory.read(vcpu.vmcs_gpa, 4096)):
            clean += one.fields["GUEST_RIP"] + (one.clean_fields or 0) + (one.why is None)
        cpu = machine.cpu(0)
        names += [*(reason.name for reason in reasons), Field.GUEST_RIP.name, cpu.mode]
        cpu.cr4 |= reasons[ExitReason.CPUID] & cpu.efer & cpu.registers[0]
        outcome: Outcome = cpu.rdmsr(0x10)
        clean += (cpu.vmread("GUEST_RIP").value or 0) + vcpu.evmcs[Field.GUEST_RIP]
        if isinstance(outcome, Fault):
            raise SystemExit(outcome.vector)
        with machine.cpu(1):
            kvm.port.vmcs_write64(0x2010, 1)
        for record in machine.trace:
            names.append(record.instruction)
        for lint in machine.lints:
            names.append(f"{lint.name} {lint.count + 1} {lint.explain()}")
        machine.offline(1)
        page: bytes | None = machine.assist_page(0)
        kvm.rmmod()
    rows = {row["vmcs_field"]: int(row["encoding"], 16) for row in fields()}
    return rows | machine.counters | {name: len(page or b"") for name in names}

try:
    addresses(b"\\x0f\\xa2\\xf4")
except (KernelBug, kvm_vmx.MachineError, kvm_vmx.ConformanceError) as error:
    print(error, VMfailValid(7).error)
"""
BAD = {
    "a text for code": ("create_vm(code=code)", "create_vm(code='f4')"),
    "a number for a name": ('vcpu.regs["rax"]', "vcpu.regs[0]"),
    "a method that is none": ("machine.offline(1)", "machine.ofline(1)"),
    "a text for a number": ("Machine(cpus=2", "Machine(cpus='2'"),
    "a parameter in words": ("vpid=0", "vpid='off'"),
    "of a compiled module": ("machine.memory.read_u64(0x1000)", "machine.memory.read_u64('0')"),
    "a text for a vector": ("vcpu.interrupt(0x30)", "vcpu.interrupt('0x30')"),
    "what may not be there": ("if summary.fault is not None", "if summary.exits"),
    "a number for a text": ("names += [summary.why", "names += [summary.exits"),
    "a value of a VMCS as a text": ("clean: int = ", "clean: str = "),
    "a CPU's name": ("machine.is_online(1)", "machine.is_online('1')"),
    "bytes for a number": ("int = machine.memory.alloc(4096)", "bytes = machine.memory.alloc(1)"),
    "bytes of memory as a number": ("vm.memory[0:8] + code[:0]", "vm.memory[0:8] + 1"),
    "an instruction that is none": ('cpu.vmread("GUEST_RIP")', 'cpu.vmraed("GUEST_RIP")'),
    "a text for a register": ("cpu.cr4 |= ", "cpu.cr4 = '' or "),
    "a field that is none": ("evmcs[Field.GUEST_RIP]", "evmcs[Field.GUEST_RPI]"),
    "a reason that is none": ("reasons[ExitReason.CPUID]", "reasons[ExitReason.CUPID]"),
    "what nobody has made yet": ("summary.reasons", "summary.causes"),
}


def stubs():
    """The file that prints the stubs, as a module."""
    spec = importlib.util.spec_from_file_location("stubs", tree.ROOT / "dev/stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder."""
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def run(folder, request):
    """run(module, ...): a tool of mypy's in this tree, as its pyproject.toml says, with what it
    found out of files that have not changed since."""
    kept = request.config.cache.mkdir("mypy") if hasattr(request.config, "cache") else folder / "c"

    def tool(module, *arguments):
        return subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=tree.ROOT, capture_output=True,
            text=True, env={**os.environ, "MYPY_CACHE_DIR": str(kept / module)})
    return tool


@pytest.fixture
def of_types(held):
    """of_types(*files): what has been found to hold, and a digest of all that types come from, and
    of these files."""
    sources = sorted(str(path.relative_to(tree.ROOT)) for end in ("py", "pyi")
                     for path in tree.ROOT.glob(f"kvm_vmx/**/*.{end}"))
    assert len(sources) > 290

    def kept(*files):
        found = held(sys.version, *map(metadata.version, ("mypy", "pytest", "rich")))
        return found, found.digest("pyproject.toml", *sources, *files)
    return kept


def test_the_stubs_are_what_is_printed_of_the_sources():
    printed = {path.relative_to(tree.ROOT): text for path, text in stubs().stubs().items()}
    classes = [line for text in printed.values() for line in text.split("\n")
               if line.startswith("class ")]
    assert len(printed) >= 7 and len(classes) >= 18
    assert {path: tree.text(path) for path in STUBS} == printed, "run python dev/stubs.py"


def test_the_marker_is_there_and_shipped():
    assert (tree.ROOT / "kvm_vmx/py.typed").is_file()
    for file in ("pyproject.toml", "MANIFEST.in"):
        assert "py.typed" in tree.text(file) and "*.pyi" in tree.text(file)


@pytest.mark.host("mypy")
def test_the_whole_package_is_strict(run, of_types):
    clean, now = of_types()
    if now not in clean:
        done = run("mypy", "--strict", "kvm_vmx")
        assert done.returncode == 0, done.stdout + done.stderr
    clean.keep()


def test_mypy_needs_no_options():
    """What it looks at unasked is the package, and as strictly."""
    said = tomllib.loads(tree.text("pyproject.toml"))["tool"]["mypy"]
    assert (said["strict"], said["files"]) == (True, ["kvm_vmx"])
    assert not any(module.startswith("kvm_vmx") for one in said["overrides"]
                   for module in one["module"])


@pytest.mark.host("mypy")
def test_the_stubs_say_what_runs(run, of_types):
    modules = [".".join(path.with_suffix("").parts) for path in STUBS]
    clean, now = of_types(ALLOWED, *(
        pathlib.Path(importlib.import_module(name).__file__).relative_to(tree.ROOT)
        for name in modules))
    if now not in clean:
        done = run("mypy.stubtest", "--concise", "--ignore-unused-allowlist", "--allowlist",
                   str(tree.ROOT / ALLOWED), *modules)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    clean.keep()


@pytest.mark.host("mypy")
def test_a_user_s_script_is_strict(folder, run, of_types):
    clean, now = of_types()
    if now not in clean:
        (folder / "user.py").write_text(GOOD)
        done = run("mypy", "--strict", str(folder / "user.py"))
        assert done.returncode == 0, done.stdout
    clean.keep()


@pytest.fixture(scope="module")
def wrong(folder, run):
    """What mypy says of each script that has one thing wrong, by its number."""
    files = [folder / f"wrong_{number}.py" for number in range(len(BAD))]
    for file, (right, other) in zip(files, BAD.values()):
        assert right in GOOD
        file.write_text(GOOD.replace(right, other))
    done = run("mypy", "--strict", *map(str, files))
    assert done.returncode == 1, done.stderr
    # what is taken over of an earlier run has the folder of that one
    said = [line.partition(":") for line in done.stdout.splitlines()]
    return {file.name: [rest for path, _, rest in said if pathlib.Path(path).name == file.name]
            for file in files}


@pytest.mark.host("mypy")
def test_what_is_wrong_in_it_is_found(request, of_types):
    clean, now = of_types()
    if now not in clean:
        said = request.getfixturevalue("wrong")
        assert [what for what, lines in zip(BAD, said.values())
                if not any(" error: " in line for line in lines)] == []
    clean.keep()
