# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree's own KVM as L1: build it, run it, see what it executes beside the port.

build makes an image of kvm.ko and kvm-intel.ko of TREE, a directory, a tarball or GITDIR@REV, by
the tree's own makefiles and this machine's gcc; what is in the cache already is not made again
(KVM_VMX_KERNEL_CACHE names it, by default ~/.cache/kvm-vmx/kernel). run lets it run the CPUID
loop in both modes and counts the VMX instructions of one exit. compare runs every scenario on the
port and on the kernel's own code and shows each instruction that one side alone executes: those
that a named reason explains are counted, the others shown. record keeps what the kernel executes.
Exit status 1: an instruction is unexplained. With --json: {"schema": "kvm_vmx.kernel/1", ...}.
"""

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, offer, print_columns, print_json, write_text)
from kvm_vmx.errors import BuildError, KernelBug, MachineError
from kvm_vmx.kernel import executed, scenarios
from kvm_vmx.kernel.build import build
from kvm_vmx.kernel.executed import Step
from kvm_vmx.progress import working
from kvm_vmx.streams import plain
from kvm_vmx.words import choices

if TYPE_CHECKING:
    from kvm_vmx.kernel.kernel import Kernel
    from kvm_vmx.machine.machine import Machine

SCHEMA = "kvm_vmx.kernel/1"
EXAMPLE = """\
examples:
  kvm-vmx kernel build /usr/src/linux-source-6.12.tar.xz
  kvm-vmx kernel run linux-4.19                    what an exit costs, by the kernel's own code
  kvm-vmx kernel compare linux-4.19                the port beside it, instruction by instruction
  kvm-vmx kernel compare ~/linux@v4.19 --scenario hotplug --all
"""


def configure(commands: Commands) -> None:
    """Add `kernel` to the command line."""
    command = add_command(commands, sys.modules[__name__], "kernel", EXAMPLE)
    add = command.add_argument
    add("what", choices=("build", "run", "compare", "record"), help="what to do with it")
    add("tree", metavar="TREE", help="a directory, a tarball or GITDIR@REV")
    add("--config", metavar="FILE", help="a .config to begin with, not the tree's own default")
    offer(add("--scenario", metavar="WORD", default="",
              help="scenarios whose name has this word"),
          sorted({name.split()[0].rstrip(":") for name in scenarios.SCENARIOS}))
    add("--all", action="store_true", help="compare: show the explained differences, too")
    add("--sanitize", action="store_true",
        help="build, run: with KASAN's checks of each access of memory")
    add("--output", metavar="FILE", help="record: where to (required)")


def execute(args: argparse.Namespace) -> int:
    """Do one of the four."""
    if args.what == "record" and not args.output:
        raise Trouble("record needs a file: give --output FILE")
    if args.sanitize and args.what not in ("build", "run"):
        raise Trouble(f"{args.what} looks at the objects as they are: leave --sanitize out")
    if args.what == "compare":
        return compared(args.tree, [args.scenario], args.all, args.json, args.config)
    with _told():
        with working("building", log=True) as say:
            image = build(args.tree, args.config, say, sanitize=args.sanitize)
        return {"build": _build, "run": _run, "record": _record}[args.what](args, image)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (BuildError, KernelBug, MachineError) as error:
        raise Trouble(str(error)) from None


def _build(args: argparse.Namespace, image: Path) -> int:
    from kvm_vmx.kernel.image_file import Elf

    found = Elf(image)
    missing = (image.parent / "standins" / "missing").read_text().split()
    silent = sorted({f"{name} in {where.partition('+')[0]}" for name, where in found.silent})
    if args.json:
        print_json({"schema": SCHEMA, "image": str(image), "without": missing, "silent": silent})
        return HOLDS
    print(image)
    print(f"{len(missing)} symbols of vmlinux without a stand-in: called, each ends the kernel by "
          "its name")
    print(f"left as they are, though they would not trap: {', '.join(silent) or 'none'}")
    return HOLDS


def _run(args: argparse.Namespace, image: Path) -> int:
    from kvm_vmx.kernel.exit_counts import INSTRUCTIONS, exit_counts

    with working("running it"):
        found = {mode: exit_counts(image, on) for mode, on in scenarios.MODES.items()}
    if args.json:
        print_json({"schema": SCHEMA, "an exit": found})
        return HOLDS
    print("instructions of one exit of the CPUID loop, the kernel's own code")
    print_columns([["", *found], *([name.upper(), *(f"{found[mode][name]:g}" for mode in found)]
                                  for name in INSTRUCTIONS)], right=(1, 2))
    return HOLDS


def steps(machine: "Machine | Kernel", name: str, mode: str) -> list[Step]:
    """What one scenario executes on a machine of either kind, which is closed then."""
    with machine:
        return executed.steps_of(scenarios.run(machine, name, mode))


def _chosen(words: Iterable[str]) -> list[str]:
    for word in words:
        if not any(word in name for name in scenarios.SCENARIOS):
            raise Trouble(f"no scenario has {word!r} in its name: "
                          f"{choices(word, scenarios.SCENARIOS)}")
    return [name for name in scenarios.SCENARIOS if any(word in name for word in words)]


def kernel_steps(image: Path, names: Iterable[str]) -> dict[str, list[Step]]:
    """What the kernel executes in scenarios, by "name, mode"."""
    from kvm_vmx.kernel.kernel import Kernel

    with working("running scenarios") as say:
        found = {}
        for name in names:
            say(f"running {name}")
            for mode in scenarios.MODES:
                found[f"{name}, {mode}"] = steps(Kernel(image, scenarios.CPUS), name, mode)
        return found


def port_steps(name: str, mode: str) -> list[Step]:
    """What the port executes in one."""
    from kvm_vmx.machine.machine import Machine

    return steps(Machine(scenarios.CPUS, insn="call"), name, mode)


def compared(tree: str, words: Iterable[str], everything: bool, as_json: bool,
             config: str | None = None, html: str | None = None) -> int:
    """The port beside a tree's own code in the scenarios that have one of the words; everything
    shows the explained differences, too; html is a file for the page."""
    names = _chosen(words)
    with _told(), working("building", log=True) as say:
        image = build(tree, config, say)
        if html:
            found = _paged(tree, image, names, html, say)
            return _show(found, everything, as_json)
        found = [(key, kernel, port_steps(*key.rsplit(", ", 1)))
                 for key, kernel in kernel_steps(image, names).items()]
    return _show(found, everything, as_json)


def _paged(tree: str, image: Path, names: list[str], html: str,
           say: Callable[[str], object]) -> list[tuple[str, list[Step], list[Step]]]:
    """Run both by trap, so that each instruction has its place, and write the page."""
    from kvm_vmx.kernel import page, places
    from kvm_vmx.kernel.kernel import Kernel
    from kvm_vmx.machine.machine import Machine

    found = []
    for name in names:
        say(f"running {name}")
        for mode in scenarios.MODES:
            found.append(page.ExecutedRun(
                f"{name}, {mode}",
                places.placed(Kernel(image, scenarios.CPUS), name, mode, image),
                places.placed(Machine(scenarios.CPUS, insn="trap"), name, mode)))
    title = f"{plain(Path(tree).name or tree)} and the port, as they ran"
    write_text(html, page.page(title, found))
    return [(one.name, [each.step for each in one.kernel], [each.step for each in one.port])
            for one in found]


def _show(found: list[tuple[str, list[Step], list[Step]]], everything: bool, as_json: bool) -> int:
    rows: list[list[str | int]] = [["scenario", "kernel", "port", "explained", "unexplained"]]
    told: list[tuple[str, executed.ExecutedDifference]] = []
    unexplained = 0
    reasons: Counter[str] = Counter()
    for key, kernel, port in found:
        differences = executed.differences(kernel, port)
        loose = [difference for difference in differences if difference.reason is None]
        reasons.update(difference.reason for difference in differences if difference.reason)
        unexplained += len(loose)
        rows.append([key, len(kernel), len(port), len(differences) - len(loose), len(loose)])
        told += [(key, difference) for difference in (differences if everything else loose)]
    if as_json:
        print_json({"schema": SCHEMA, "unexplained": unexplained, "reasons": reasons,
                    "scenarios": [dict(zip(rows[0], row)) for row in rows[1:]],
                    "differences": [{"scenario": key, "at": d.at, "side": d.side,
                                     "step": executed.told(d.step), "reason": d.reason}
                                    for key, d in told]})
        return DIFFERS if unexplained else HOLDS
    print_columns([[str(cell) for cell in row] for row in rows], right=(1, 2, 3, 4))
    for key, difference in told:
        print(f"{key}: step {difference.at}, {difference.side} alone: "
              f"{executed.told(difference.step)}"
              + (f" ({difference.reason})" if difference.reason else ""))
    for reason in executed.reasons():
        if reasons[reason.name]:
            print(f"{reasons[reason.name]:6} {reason.name}: {reason.why}")
    print(f"{unexplained} unexplained")
    return DIFFERS if unexplained else HOLDS


def _record(args: argparse.Namespace, image: Path) -> int:
    found = kernel_steps(image, _chosen([args.scenario]))
    executed.save(Path(args.output), found)
    if args.json:
        print_json({"schema": SCHEMA, "record": args.output,
                    "steps": {name: len(steps) for name, steps in found.items()}})
        return HOLDS
    print(f"{args.output}: {sum(map(len, found.values()))} steps of {len(found)} scenarios")
    return HOLDS
