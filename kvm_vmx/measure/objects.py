# SPDX-License-Identifier: GPL-2.0-only
"""The port beside a tree's own objects: what one CPUID exit executes in L1, function by function.

Both run as opcodes on the same L0, by single steps. The port is the build without the calls that
stand beside its opcodes elsewhere. How a vmx.c compares without CONFIG_HYPERV, and with what it was
before enlightened VMCSs, is counted on the kernel's own code too.
"""

import pathlib
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from kvm_vmx import guests, host
from kvm_vmx.console import Trouble
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import before, build
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine import sections, steps
from kvm_vmx.machine.machine import Machine
from kvm_vmx.measure import stepped
from kvm_vmx.measure.report import COUNTED, Report, Say
from kvm_vmx.measure.stepped import SteppedInsn, Sum

MODES = {"VMCS": False, "eVMCS": True}
WARM_UP = 50
BUILD = "by-trap"
TABLE = "instructions of L1 an exit"


class FunctionCost(NamedTuple):
    """A function in one mode: what it executes in the port, in the kernel's own objects, and,
    where it is more, the statement that makes it so."""

    mode: str
    function: str
    port: Sum
    kernel: Sum
    why: str

    @property
    def ratio(self) -> float | None:
        """Port to kernel, in instructions; None where one side has none."""
        if not self.port.instructions or not self.kernel.instructions:
            return None
        return round(self.port.instructions / self.kernel.instructions, 2)

    @property
    def more(self) -> bool:
        """Both execute it, the port more of it."""
        return self.ratio is not None and self.port.instructions > self.kernel.instructions


@cache
def reasons() -> dict[str, str]:
    """{function: the statement for which the port executes more}."""
    return tomllib.loads((files("kvm_vmx.measure") / "objects.toml").read_text())


@cache
def ported() -> frozenset[str]:
    """The kernel's functions that the port has by their names."""
    found: set[str] = set()
    for path in sorted(steps.L1.rglob("*.p*")):
        if path.suffix in (".pyx", ".pxd", ".pxi") and "linux" not in path.parts:
            found.update(steps.source(str(path.relative_to(steps.PACKAGE.parent))).names)
    return frozenset(found)


def check() -> None:
    """Trouble where there are no single steps, or what the port needs to be stepped."""
    if reason := steps.can_step():
        raise Trouble(reason)
    if not host.has("capstone"):
        raise Trouble(host.absent("capstone"))


def of_kernel(image: pathlib.Path, enlightened: bool) -> list[SteppedInsn]:
    """One exit of the kernel's own code."""
    with Kernel(image, 1) as kernel:
        vcpu = kernel.insmod(enlightened).create_vm(guests.CPUID_LOOP).create_vcpu()
        vcpu.run(exits=WARM_UP)
        symbols = kernel.image.elf.symbols
        return stepped.counted(
            lambda exits: vcpu.run(exits=exits),
            [(symbols["image_text"], symbols["image_text_end"])],
            lambda addresses: stepped.chains_of(str(image), 0, addresses))


def of_port(enlightened: bool, config: str = BUILD) -> list[SteppedInsn]:
    """One exit of a build of the port, by trap."""
    with Machine(cpus=1, insn="trap") as machine:
        module = machine.insmod(enlightened_vmcs=enlightened, config=config)
        vcpu = module.create_vm(guests.CPUID_LOOP).create_vcpu()
        vcpu.run(exits=WARM_UP)
        spans = steps.texts()
        spans[module.path] = (*sections.loaded(module.path).text,
                              sections.load_base(module.path))

        def chains(addresses: Iterable[int]) -> dict[int, tuple[str, ...]]:
            found: dict[int, tuple[str, ...]] = {}
            for path, (start, end, moved) in spans.items():
                inside = [address for address in addresses if start <= address < end]
                if inside:
                    found |= stepped.chains_of(path, moved, inside)
            return found

        return stepped.counted(lambda exits: vcpu.run(exits=exits),
                               [(start, end) for start, end, _ in spans.values()], chains)


def compared(mode: str, port: list[SteppedInsn], kernel: list[SteppedInsn]) -> list[FunctionCost]:
    """Function by function, the kernel's longest first. Of what is not ported by its name, the
    functions that one side calls and the other has inlined are compared as well."""
    inside = [{name for step in side for name in step.chain} for side in (port, kernel)]
    called = {step.chain[-1] for step in (*port, *kernel)}
    names = ported() | called & inside[0] & inside[1]
    sums = [stepped.by_function(side, names) for side in (port, kernel)]
    rows = [FunctionCost(mode, name, sums[0].get(name, Sum()), sums[1].get(name, Sum()), "")
            for name in {**sums[1], **sums[0]}]
    rows = [row._replace(why=reasons().get(row.function, "")) if row.more else row for row in rows]
    return sorted(rows, key=lambda row: (-row.kernel.instructions, -row.port.instructions))


def run(report: Report, tree: str, progress: Say = lambda text: None) -> None:
    """The port beside TREE in both modes, and TREE with the key off, without CONFIG_HYPERV, and
    before enlightened VMCSs."""
    check()
    try:
        progress("building the kernel")
        image = build.build(tree, report=progress)
        totals = {}
        for mode, on in MODES.items():
            progress(f"stepping through an exit, {mode}")
            port, kernel = of_port(on), of_kernel(image, on)
            totals[mode] = stepped.total(kernel)
            _mode(report, mode, port, kernel)
        _key(report, tree, totals["VMCS"], progress)
    except BuildError as error:
        raise Trouble(str(error)) from None


def _mode(report: Report, mode: str, port: list[SteppedInsn], kernel: list[SteppedInsn]) -> None:
    rows = compared(mode, port, kernel)
    report.beside += rows
    both = [row for row in rows if row.ratio is not None]
    alone = {"port": [row for row in rows if not row.kernel.instructions],
             "kernel": [row for row in rows if not row.port.instructions]}
    sums = {side: sum(getattr(row, side).instructions for row in both)
            for side in ("port", "kernel")}
    for side, steps_ in (("port", port), ("kernel", kernel)):
        found = stepped.total(steps_)
        report.add(f"{TABLE}, {mode}", f"the {side}", found.instructions, "instructions", COUNTED,
                   note=f"{found.loads:g} loads, {found.stores:g} stores")
        report.add(f"{TABLE}, {mode}", f"the {side}, functions that both execute", sums[side],
                   "instructions", COUNTED)
        report.add(f"{TABLE}, {mode}", f"the {side} alone",
                   sum(getattr(row, side).instructions for row in alone[side]), "instructions",
                   COUNTED, note=", ".join(row.function for row in alone[side][:4]))
    report.claim(f"{mode}: the functions that both execute have at most 1.00 times the kernel's "
                 "own instructions", sums["port"] <= sums["kernel"],
                 f"{sums['port']:g} to {sums['kernel']:g}, "
                 f"{sums['port'] / max(1, sums['kernel']):.2f} times", sample=len(both))
    more = [row for row in both if row.more]
    unnamed = [row.function for row in more if not row.why]
    report.claim(f"{mode}: where the port executes more, the statement is named", not unnamed,
                 ", ".join(unnamed) or f"{len(more)} of {len(both)} functions", sample=len(both))


def _key(report: Report, tree: str, off: Sum, progress: Say) -> None:
    """What the key costs an exit where it is off, by the kernel's own code and by the port's."""
    text = build.text_of(tree, None, before.FILE, progress)
    table = f"{TABLE} by VMCS, the key off"
    if text is None:
        report.notes.append(f"{tree} has no {before.FILE}: what was before the key is not counted")
        return
    kernel = {"the kernel, the key off": off}
    for name, change in (("the kernel, without CONFIG_HYPERV", before.without_config),
                         ("the kernel, before the patch", before.before)):
        progress(f"building {name}")
        try:
            image = build.patched(tree, None, {before.FILE: change(text)}, progress)
        except BuildError as error:
            report.notes.append(f"{name} is not counted: {error}")
            return
        kernel[name] = stepped.total(of_kernel(image, False))
    port = {"the port, the key off": stepped.total(of_port(False, "hyperv")),
            "the port, without CONFIG_HYPERV": stepped.total(of_port(False, "no-hyperv")),
            "the port, before the patch": stepped.total(of_port(False, "before"))}
    for side in (kernel, port):
        *_, old = side.values()
        for name, found in side.items():
            report.add(table, name, found.instructions, "instructions", COUNTED,
                       note=f"{found.loads:g} loads, {found.stores:g} stores; "
                            f"{found.instructions - old.instructions:+g} over before")
