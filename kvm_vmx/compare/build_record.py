# SPDX-License-Identifier: GPL-2.0-only
"""What became of each line of the port: the C that Cython wrote, and the machine's code.

Both are read from what lies beside the sources, or from what the build recorded: the hash of each
source that it compiled, and the C of its lines. Where there is neither, it is said what is missing.
"""

import hashlib
import json
import pathlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import TypeAlias, TypedDict

ROOT = pathlib.Path(__file__).parents[2]
Became: TypeAlias = dict[tuple[str, int], list[str]]    # by file and line of the port
MOST = 24  # lines of either kind kept a row
RECORD = "kvm_vmx/compare/built.json"

LINE = re.compile(r'#line (\d+) "([^"]+)"')
PLACE = re.compile(r"^(?:inlined by )?\./(\S+):(\d+)(?: \(.*\))?$")
OWNER = re.compile(r"^[0-9a-f]+ <(\S+)>:$")
BEHIND = "static PyMethodDef __pyx_methods"  # what Cython writes behind the last function
CODE = re.compile(r"^ +([0-9a-f]+):\t(.*)$")
SYMBOL = re.compile(r"\b__pyx_[a-z]+_(\d+[a-z]\w*)")


class Built(TypedDict, total=False):
    """What a build records: the hash of each source, and by file and line the C of its lines."""

    sources: dict[str, str]
    lines: dict[str, dict[str, list[str]]]


def record(paths: Iterable[str], root: pathlib.Path = ROOT) -> Built:
    """What a build of some sources leaves behind: the hash of each, and the C of its lines."""
    found, _ = generated(paths, root, {})
    lines: dict[str, dict[str, list[str]]] = {}
    for (path, line), texts in found.items():
        lines.setdefault(path, {})[str(line)] = texts
    return {"sources": {str(path): digest(root / path) for path in paths}, "lines": lines}


def digest(path: pathlib.Path) -> str:
    """The hash of a source as a build records it."""
    return hashlib.blake2s(path.read_bytes(), digest_size=8).hexdigest()


def recorded(root: pathlib.Path = ROOT) -> Built:
    """What the build recorded, or nothing."""
    try:
        found: Built = json.loads((root / RECORD).read_text())
        return found if isinstance(found.get("sources"), dict) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def generated(paths: Iterable[str], root: pathlib.Path = ROOT,
              built: Built | None = None) -> tuple[Became, str]:
    """The C of each line, by (path, line), out of Cython's line markers; and what is missing."""
    made: dict[tuple[str, int], tuple[pathlib.Path, list[str]]] = {}
    missing = "no generated C beside the sources: build in place to see it"
    built = recorded(root) if built is None else built
    sources = {pathlib.Path(path).with_suffix(".c"): path for path in sorted(paths)}
    for name, path in sources.items():  # a .pxd and its .pyx are written into one .c
        place = root / "build" / "cython" / name
        if not place.exists():
            continue
        if older(place, root, path, built):
            missing = f"{path} is younger than its build: build again to see its C"
            continue
        missing = ""
        for line, text in marked(place.read_text()):
            owner, lines = made.setdefault(line, (name, []))
            if owner == name and len(lines) < MOST:
                lines.append(text)
    found: Became = {line: lines for line, (_, lines) in made.items()}
    for path, known in built.get("lines", {}).items() if not found else ():
        if (root / path).is_file() and built["sources"].get(path) == digest(root / path):
            found.update({(path, int(n)): texts for n, texts in known.items()})
    return found, "" if found else missing


def marked(text: str) -> Iterator[tuple[tuple[str, int], str]]:
    """(line of the port, statement of C) of what follows Cython's markers."""
    place: tuple[str, int] | None = None
    note = False
    for line in map(str.strip, text.split("\n")):
        if hit := LINE.match(line):
            place = (hit[2], int(hit[1]))
        elif line.startswith(BEHIND):
            place = None
        elif place and not note and line and not line.startswith("/*"):
            if line not in ("{", "}", ";"):
                yield place, plain(line)
        note = (note or line.startswith("/*")) and not line.endswith("*/")


def machine_code(root: pathlib.Path = ROOT) -> tuple[Became, str]:
    """The instructions of each line, by (path, line), out of the modules' line tables."""
    from kvm_vmx import host

    if not host.has("objdump"):
        return {}, host.absent("objdump")
    made: dict[tuple[str, int], tuple[str, list[str]]] = {}
    missing = "no built module beside the sources: build in place to see its code"
    built = recorded(root)
    for module in sorted((root / "kvm_vmx" / "l1").rglob("*.so")):
        name = module.name.partition(".")[0]
        source = module.with_name(f"{name}.pyx")
        if not source.exists():  # another build of the same source
            continue
        if older(module, root, str(source.relative_to(root)), built):
            missing = f"{name}.pyx is younger than its module: build again to see its code"
            continue
        command = ["objdump", "-dl", "--inlines", "--no-show-raw-insn", str(module)]
        run = subprocess.run(command, capture_output=True, text=True)
        for place, owner, text in instructions(run.stdout):
            first, lines = made.setdefault(place, (owner, []))
            if first == owner and len(lines) < MOST:
                lines.append(text)
    found: Became = {place: lines for place, (_, lines) in made.items()}
    return found, "" if found else missing


def instructions(listing: str) -> Iterator[tuple[tuple[str, int], str, str]]:
    """(line of the port, function it was compiled into, instruction) of a disassembly.

    What the kernel's headers inline counts for the line of the port that asks for it.
    """
    place: tuple[str, int] | None = None
    owner, fresh = "", True
    for text in listing.split("\n"):
        if hit := CODE.match(text):
            fresh = True
            if place:
                yield place, owner, f"{hit[1]}  {plain(' '.join(hit[2].split()))}"
        elif hit := OWNER.match(text):
            owner, place = hit[1], None
        elif hit := PLACE.match(text):
            if fresh and not text.startswith("inlined"):
                place, fresh = None, False
            if place is None and hit[1].startswith("kvm_vmx/"):
                place = (hit[1], int(hit[2]))


def plain(text: str) -> str:
    """Names without what Cython puts before them: the module, each part with its length."""
    return SYMBOL.sub(lambda hit: unmangled(hit[1]), text).replace("__pyx_v_", "")


def unmangled(name: str) -> str:
    """`7kvm_vmx_2l1_3vmx_vmx_exit` as vmx_exit."""
    while hit := re.match(r"\d+", name):
        name = name[hit.end() + int(hit[0]) + 1:]
    return name


def older(made: pathlib.Path, root: pathlib.Path, path: str, built: Built) -> bool:
    """Whether a file was made of another source than this one: by the hash that the build
    recorded, and without one by time."""
    source = root / path
    if not source.exists():
        return False
    if path in built.get("sources", {}):
        return built["sources"][path] != digest(source)
    return made.stat().st_mtime < source.stat().st_mtime
