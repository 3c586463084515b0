# SPDX-License-Identifier: GPL-2.0-only
"""Where in port and kernel the instructions of a scenario stand: function, file and line."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import executed, scenarios
from kvm_vmx.kernel.executed import Step
from kvm_vmx.machine import sections
from kvm_vmx.machine.sites import demangle
from kvm_vmx.trap import engine as trap

ROOM = 1 << 18
# What an accessor is called by is of more interest than the accessor.
ACCESSORS = ("rdmsr", "wrmsr", "vmcs_", "__vmcs_", "asm_", "trap_", "__invept",
             "__vmx", "vmwrite", "ept_sync")


class SourceLine(NamedTuple):
    """One instruction's: the function that it is in, and the line that reads or writes."""

    function: str
    line: str


class Placed(NamedTuple):
    """A step, and where it stands; None where it did not trap: what the kernel does by its table
    of paravirtual operations."""

    step: Step
    place: SourceLine | None


def of_chain(chain: list[tuple[str, str]]) -> SourceLine | None:
    """The innermost function of an address that is no accessor, with its line."""
    for name, line in chain:
        if not name.startswith(ACCESSORS):
            return SourceLine(name, line)
    return SourceLine(*chain[-1]) if chain else None


def chains(file: str, moved: int, addresses: Iterable[int]) -> dict[int, SourceLine | None]:
    """{address: its place} by a file's debug information."""
    asked = sorted(set(addresses))
    try:
        said = subprocess.run(
            ["addr2line", "-f", "-i", "-a", "-e", file], capture_output=True, text=True,
            input="".join(f"{address - moved:#x}\n" for address in asked)).stdout.splitlines()
    except FileNotFoundError:
        raise BuildError("no addr2line here: apt-get install binutils") from None
    found: dict[int, list[tuple[str, str]]] = {}
    at = i = 0
    while i < len(said):
        if said[i].startswith("0x"):
            at, i = int(said[i], 16) + moved, i + 1
            found[at] = []
        else:
            found[at].append((demangle(said[i]), short(said[i + 1])))
            i += 2
    return {address: of_chain(chain) for address, chain in found.items()}


def short(line: str) -> str:
    """A line of a source as it is named in its tree."""
    path = line.partition(" (")[0]
    for top in ("/tree/", "./", "/kvm_vmx/"):
        if top in path:
            path = path.rpartition(top)[2] if top != "/kvm_vmx/" else \
                "kvm_vmx/" + path.partition(top)[2]
            break
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def where(addresses: Iterable[int], image: Path | None) -> dict[int, SourceLine | None]:
    """{address: its place}, of an image, or of the port's modules."""
    if image is not None:
        return chains(str(image), 0, addresses)
    found: dict[int, SourceLine | None] = {}
    files: dict[str, list[int]] = {}
    for address in set(addresses):
        if path := sections.module_of(address):
            files.setdefault(path, []).append(address)
    for path, inside in files.items():
        found |= chains(path, sections.load_base(path), inside)
    return found


def placed(machine: Any, name: str, mode: str, image: Path | None = None) -> list[Placed]:
    """The steps of a scenario on a machine, by trap, each with its place; it is closed then."""
    with machine:
        trap.note_places(ROOM)
        try:
            trace = scenarios.run(machine, name, mode)
            taken = trap.places()
            known = where((address for address, _ in taken), image)
        finally:
            trap.note_places(0)
    waiting = iter(taken)
    traps = {kind for _, kind in taken}
    places: list[SourceLine | None] = []
    ahead = next(waiting, None)
    for record in trace:
        places.append(None)
        if record.instruction in traps and ahead is not None and ahead[1] == record.instruction:
            places[-1], ahead = known.get(ahead[0]), next(waiting, None)
    return [Placed(step, places[n]) for n, step in executed.numbered(trace)]
