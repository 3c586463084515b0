# SPDX-License-Identifier: GPL-2.0-only
"""An exit wherever its text lies: `python perf/pages.py [TREE ...]`, built trees, in turns.

In fresh processes the pages of L0's and L1's text move to other physical pages, again and again,
under the same addresses and with the same bytes: where the time of an exit changes then, it is by
what the processor makes of the place.
"""

import argparse
import ctypes
import functools
import json
import mmap
import pathlib
import random
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parents[1]
ROOMS = ("/kvm_vmx/l0/", "/kvm_vmx/l1/")
POOL = 4096
BATCHES, EXITS = 12, 1_000
MODES = {"eVMCS": True, "VMCS": False}
# what of the draws, the least first, is shown
SHARES = {"least": 0, "median": 0.5, "90 %": 0.9, "95 %": 0.95, "most": 1}
READ_WRITE, READ_EXECUTE = 3, 5
# of Linux: x86 and arm alike
ANONYMOUS, FIXED, POPULATE, MOVE_THERE = 0x22, 0x10, 0x8000, 3

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 2, ctypes.c_int, ctypes.c_void_p]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def done(returned: int | None) -> int:
    """What a call of the system gave; OSError where it failed."""
    if returned in (None, -1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "a page of the text cannot be moved")
    return returned


def memory(at: int | None, pages: int, flags: int = 0) -> int:
    """The address of so many new pages of memory."""
    return done(libc.mmap(at, pages * mmap.PAGESIZE, READ_WRITE, ANONYMOUS | POPULATE | flags,
                          -1, 0))


@functools.cache
def text() -> list[int]:
    """The pages that L0's and L1's instructions are in; a page that has moved is of no file."""
    found = []
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        if " r-xp " in line and any(room in line for room in ROOMS):
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            found += range(start, end, mmap.PAGESIZE)
    return found


def move(pages: list[int], pool: int) -> None:
    """Each page of text to a page of the pool, drawn by lot, which has a new one then."""
    for page, n in zip(pages, random.sample(range(POOL), len(pages))):
        new = pool + n * mmap.PAGESIZE
        ctypes.memmove(new, page, mmap.PAGESIZE)
        done(libc.mprotect(new, mmap.PAGESIZE, READ_EXECUTE))
        done(libc.mremap(new, mmap.PAGESIZE, mmap.PAGESIZE, MOVE_THERE, page))
        memory(new, 1, FIXED)


@functools.cache
def tick() -> float:
    """Nanoseconds of a tick; from here on the process stays on one CPU."""
    from kvm_vmx import Machine
    from kvm_vmx.measure.child import calibrate, settle
    from kvm_vmx.measure.loops import loaded

    settle()
    with Machine(cpus=1, insn="call") as machine, loaded(machine) as world:
        return 1e9 / calibrate(world)["tsc_hz"]


def drawn(enlightened: bool, draws: int) -> list[float]:
    """Nanoseconds of an exit at each draw."""
    from kvm_vmx import Machine
    from kvm_vmx.measure.loops import loaded
    from kvm_vmx.measure.rounds import Loops

    ns = tick() / EXITS
    with Machine(cpus=1, insn="call") as machine, loaded(machine, "hyperv", enlightened) as world:
        pages, pool, found = text(), memory(None, POOL), []
        for _ in range(draws):
            move(pages, pool)
            ticks = Loops(machine._kernel, 0, [world.exits]).timed(BATCHES, EXITS)[0]
            # what disturbs a batch makes it longer
            found.append(statistics.quantiles(ticks, n=4)[0] * ns)
    return found


def process(tree: pathlib.Path, draws: int) -> dict[str, list[float]]:
    """What a fresh process draws, by mode."""
    python = tree / ".venv/bin/python"
    done = subprocess.run(
        [python if python.exists() else sys.executable, "-P", __file__, tree, "--draws",
         str(draws), "--processes", "0"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print how the times of each tree are distributed over all draws."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=pathlib.Path, nargs="*", default=[HERE], help="a built tree")
    parser.add_argument("--processes", type=int, default=20, help="0: this one, as JSON")
    parser.add_argument("--draws", type=int, default=10, help="places of the text in each")
    chosen = parser.parse_args()
    trees = [tree.resolve() for tree in chosen.tree]
    if not chosen.processes:
        sys.path.insert(0, str(trees[0]))
        print(json.dumps({mode: drawn(on, chosen.draws) for mode, on in MODES.items()}))
        return
    found = [{tree: process(tree, chosen.draws) for tree in trees}
             for _ in range(chosen.processes)]
    print(f"ns an exit, {chosen.draws} draws in each of {chosen.processes} processes, "
          "measured here")
    for tree in trees:
        print(tree)
        print(f"{'':7}", *(f"{share:>7}" for share in SHARES))
        for mode in MODES:
            ns = sorted(value for one in found for value in one[tree][mode])
            print(f"{mode:7}", *(f"{ns[int(at * (len(ns) - 1))]:7.1f}" for at in SHARES.values()))


if __name__ == "__main__":
    main()
