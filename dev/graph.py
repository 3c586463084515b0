# SPDX-License-Identifier: GPL-2.0-only
"""The import graph, from cimports, includes and imports: rooms, arrows up, cycles, counts.

usage: python dev/graph.py [--dot]
The status is 1 where an arrow goes up, or a cycle is not the kernel's own.
"""

import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".pyx", ".pxd", ".pxi", ".h"}
# From the ground up; rooms of one floor know nothing of each
# other, but for those on the ground.
FLOORS = [
    ["include"],
    ["words", "streams", "errors", "host", "frame", "rendering", "progress", "console", "evidence",
     "conditions", "building", "build_info", "schemas", "tarball", "xz"],
    ["abi"],
    ["l1", "l0", "profiles"],
    ["trap"],
    ["machine"],
    ["kernel"],
    ["decode"],
    ["__init__"],               # what `import kvm_vmx` shows
    ["tables", "compare", "conform", "measure", "boot"],
    ["run", "lessons", "doctor", "testing", "trial"],
    ["about"],
    ["cli"],
    ["__main__"],
]
# Asked while it runs, not to be there: the host executes an opcode.
LATE = {("kvm_vmx/host", "kvm_vmx/trap/engine")}
# A file or a class that plays the same part wherever it stands is called after that part: it
# means one thing. Any other name may stand once.
FILE_ROLES = {
    "command": "a subcommand of kvm-vmx: its options, and what it calls",
    "report": "what a tool found, before anybody prints it",
    "page": "the same as one HTML page",
    "terminal": "the same on a terminal",
    "kernel": "the kernel that is L1: the port's, or a tree's own",
    "lints": "what L0 noticed: kept by it, and shown to Python",
    "outcome": "how an instruction of L1 ended: in L0, and as a value of Python",
    "partition": "the emulated Hyper-V: in L0, and for Python",
    "refusal": "which check refused: kept by L0, and shown to Python",
    "trace": "the instructions of L1: kept by L0, and shown to Python",
    "exit": "a VM exit: what L0 does, and the lesson that follows one",
    "host_rsp": "HOST_RSP noted for the exit: the loops, and what they cost",
}
CLASS_ROLES = {
    "Kernel": "the kernel that is L1: the port's, or a tree's own",
    "GuestMemory": "L2's memory, as either of them offers it, with the same members",
    "Registers": "a vCPU's registers, as either of them offers them, with the same members",
    "Report": "what a tool found, before anybody prints it",
}
# The files of the port are called as the kernel's are, whatever else bears the name.
NAMED_BY_THE_KERNEL = re.compile(r"kvm_vmx/l1/(?!bench/)")
# The kernel's own: x86.c, kvm_main.c and mmu.c call each other.
OWN_CYCLES = {"l1"}
PATTERNS = [
    re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([^#\n]*)", re.M),
    re.compile(r"^\s*c?import\s+([\w.]+)()", re.M),
]
INCLUDED = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
EXTERN = re.compile(r'^\s*cdef extern from "([^"]+)"', re.M)
TEXT = re.compile(r'^include "([^"]+)"', re.M)


# Names for annotations alone are no arrow: nothing of them is there when it runs.
FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.M)


def files():
    """path: text of every source file of the package."""
    return {str(path.relative_to(ROOT)): path.read_text()
            for room in ("include", "kvm_vmx") for path in sorted((ROOT / room).rglob("*"))
            if path.suffix in SUFFIXES}


def unit(path):
    """What counts as one place: a .pyx and its .pxd; a header by itself, and an included text,
    beside which a .py may show it to Python under the name of its job."""
    return path if path.endswith((".h", ".pxi")) else path.rsplit(".", 1)[0]


def room(path):
    parts = pathlib.Path(path).parts
    if parts[0] == "include":
        return "include"
    return parts[1].split(".")[0] if len(parts) > 2 else pathlib.Path(parts[1]).stem


def target(name, paths):
    """The files that a dotted name stands for."""
    stem = name.replace(".", "/")
    return [f"{stem}{suffix}" for suffix in (".pyx", ".pxd", ".py", "/__init__.py")
            if f"{stem}{suffix}" in paths]


def edges(texts):
    """(from, to) of every arrow between two places."""
    found = set()
    for path, text in texts.items():
        text, to = FOR_TYPES.sub("", text), []
        for pattern in PATTERNS:
            for name, what in pattern.findall(text):
                if name.startswith("kvm_vmx"):
                    inner = [target(f"{name}.{word.strip()}", texts)
                             for word in re.split(r"[,\s]+", what) if word.isidentifier()]
                    to += sum(inner, []) or target(name, texts)
        for name in INCLUDED.findall(text) + EXTERN.findall(text):
            to += [one for one in (name, f"include/{name}") if one in texts]
        for name in TEXT.findall(text):
            to += [str(pathlib.PurePath(path).parent / name)]
        found |= {(unit(path), unit(one)) for one in to if unit(one) != unit(path)}
    return found


def cycles(arrows):
    """The strongly connected components of more than one place (Tarjan's algorithm)."""
    graph = collections.defaultdict(list)
    for here, there in arrows:
        graph[here].append(there)
    index, low, stack, on, out = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = []
            while part[-1:] != [node]:
                part.append(stack.pop())
                on.discard(part[-1])
            if len(part) > 1:
                out.append(sorted(part))

    for node in sorted({node for arrow in arrows for node in arrow}):
        if node not in index:
            visit(node)
    return out


def floor(name):
    return next((n for n, rooms in enumerate(FLOORS) if name in rooms), None)


def arrows_up(arrows):
    """The arrows from a floor to one above it, or between two rooms of one floor."""
    found = []
    for here, there in sorted(arrows):
        a, b = room(here), room(there)
        low, high = floor(a), floor(b)
        if a != b and low is not None and high is not None and high >= low and not low == high == 1:
            found.append((here, there))
    return found


def counts(texts):
    """What the house is made of."""
    lines = collections.Counter()
    for path, text in texts.items():
        lines[path.rsplit(".", 1)[1]] += text.count("\n")
    classes = collections.Counter(name for path, text in texts.items()
                                  if path.endswith((".py", ".pyx", ".pxi"))
                                  for name in set(
                                      re.findall(r"^(?:cdef )?class (\w+)", text, re.M)))
    stems = collections.Counter(pathlib.PurePath(place).stem for place in {
        path.rsplit(".", 1)[0] for path in texts
        if path.endswith((".py", ".pyx", ".pxi")) and "__" not in path
        and not NAMED_BY_THE_KERNEL.match(path)})
    return {
        "files": len(texts), "modules": sum(path.endswith(".pyx") for path in texts),
        **{f"lines of .{suffix}": count for suffix, count in sorted(lines.items())},
        "marks": sum(len(re.findall(r"# C[-~+]", text)) for path, text in texts.items()
                     if "/l1/" in path),
        "class names that mean two things": sorted(
            n for n, c in classes.items() if c > 1 and n not in CLASS_ROLES),
        "file names that mean two things": sorted(
            n for n, c in stems.items() if c > 1 and n not in FILE_ROLES),
        "names of a part that stands in several rooms": sorted(
            {n for n, c in stems.items() if c > 1 and n in FILE_ROLES}
            | {n for n, c in classes.items() if c > 1 and n in CLASS_ROLES}),
    }


def main(arguments):
    texts = files()
    arrows = edges(texts) - LATE
    between = collections.Counter((room(a), room(b)) for a, b in arrows if room(a) != room(b))
    if "--dot" in arguments:
        print("digraph house { rankdir=BT;")
        for (a, b), count in sorted(between.items()):
            print(f'  "{a}" -> "{b}" [label={count}];')
        print("}")
        return 0
    for name, value in counts(texts).items():
        print(f"{name}: {value if isinstance(value, int) else ', '.join(value) or 'none'}")
    print(f"places: {len({n for arrow in arrows for n in arrow})}, arrows: {len(arrows)}")
    for (a, b), count in sorted(between.items()):
        print(f"  {a} -> {b}: {count}")
    up, rings = arrows_up(arrows), cycles(arrows)
    for here, there in up:
        print(f"up: {here} -> {there}")
    for ring in rings:
        print(f"cycle: {', '.join(ring)}")
    return int(bool(up) or any({room(one) for one in ring} - OWN_CYCLES for ring in rings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
