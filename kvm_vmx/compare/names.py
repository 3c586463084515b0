# SPDX-License-Identifier: GPL-2.0-only
"""What `compare` is asked to show: functions by either name, globs, FILE:LINE, and things by name.

A thing is a macro, a table, a structure or a variable: it has no statements of its own, and is
shown as its text of the kernel beside the lines that define it here.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvm_vmx import rendering, words
from kvm_vmx.compare.lexer import C, tokens
from kvm_vmx.compare.patch_places import PatchPlaces, Spot
from kvm_vmx.console import Trouble
from kvm_vmx.streams import plain

if TYPE_CHECKING:
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.trees import Tree

PLACE = re.compile(r"(.*[^:]):(\d{1,9})")
LONGEST = 400  # lines of a thing


class Thing(NamedTuple):
    """Something of a name that is no function: where either side has it, and its text."""

    name: str
    kernel: Spot | None
    port: Spot | None


def chosen(names: Iterable[str], port: "Port", tree: "Tree") -> tuple[list[str], list[Thing]]:
    """The functions and the things that some names ask for; Trouble for one that is neither."""
    functions: dict[str, None] = {}
    things: list[Thing] = []
    for name in names:
        found = named(name, port, tree)
        if found:
            functions.update(dict.fromkeys(found))
        elif (thing := thing_of(name, port, tree)) is not None:
            things.append(thing)
        else:
            raise Trouble(unknown(name, port))
    return list(functions), things


def named(name: str, port: "Port", tree: "Tree") -> list[str]:
    """The functions of the port that a name, a glob or a place is of."""
    if name in port.subjects:
        return [name]
    by_kernel = [ours for ours, subject in port.subjects.items() if subject.kernel_name == name]
    if by_kernel:
        return by_kernel
    if any(mark in name for mark in "*?["):
        return [ours for ours, subject in port.subjects.items()
                if any(fnmatch.fnmatchcase(one, name) for one in (ours, subject.kernel_name))]
    hit = PLACE.fullmatch(name)
    return at_place(hit[1], int(hit[2]), port, tree) if hit else []


def at_place(file: str, line: int, port: "Port", tree: "Tree") -> list[str]:
    """The function around a line of a file of either side; a file may be given by its end."""
    found = [ours for ours, subject in port.subjects.items()
             if ends(subject.function.path, file)
             and subject.function.line <= line <= subject.function.end]
    for path in tree.files if not found else ():
        if not ends(path, file):
            continue
        for name in tree.present(path).names():
            function = tree.present(path).defined(name)
            if function.line <= line <= function.end:
                found += [ours for ours, subject in port.subjects.items()
                          if (subject.kernel_name, subject.kernel_file) == (name, path)]
                if not found:
                    raise Trouble(f"{plain(file)}:{line} is in {name}(), which is not ported: see "
                                  "`kvm-vmx compare --scope`")
    return found


def ends(path: str, file: str) -> bool:
    """Whether a file's name is that of a path, or its end."""
    return f"/{path}".endswith("/" + file.removeprefix("./"))


def unknown(name: str, port: "Port") -> str:
    """What to say of a name that nothing has."""
    if PLACE.fullmatch(name):
        return f"no function of the port or of its kernel files stands at {plain(name)}: give " \
               "FILE:LINE of a function's line, or its name"
    hint = words.meant(name, port.subjects, words.NEAREST) or "see `kvm-vmx compare`"
    return f"the port has no function {plain(name)}: {hint}"


def thing_of(name: str, port: "Port", tree: "Tree") -> Thing | None:
    """A macro, a table, a structure or a variable by its name."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return None
    places = PatchPlaces(tree, port)
    kernel = first(Spot(path, line, whole(places.rows(path), line))
                   for path, line, text in places.pieces(name) if defines(text, name))
    ours = first(Spot(path, n, whole(rows, n)) for path, rows in places.ours.items()
                 for n, row in enumerate(rows, 1) if name in row and here(row, name))
    return Thing(name, kernel, ours) if kernel or ours else None


def first(spots: Iterable[Spot]) -> Spot | None:
    """The first one with a body, or the first of all."""
    found = list(spots)
    return next((spot for spot in found if "\n" in spot.text), found[0] if found else None)


def as_json(things: Iterable[Thing]) -> list[dict[str, object]]:
    """Things for programs."""
    return [{"name": thing.name, **{
        side: spot and {"file": spot.path, "line": spot.line, "text": spot.text}
        for side, spot in (("kernel", thing.kernel), ("port", thing.port))}} for thing in things]


DEFINES = (
    r"#\s*define\s+{0}\b", r"(?:typedef\s+)?(?:struct|union|enum)\s+{0}\s*\{{",
    r"DEFINE_\w+\(.*\b{0}\b", r"module_param\w*\({0}\b",
    r"(?!extern)[A-Za-z_][\w\s*]*\b{0}\s*(?:\[[^=]*\])?\s*(?:__\w+\s*)*(?:=|;)",
    r"[\w\s*()]*\(\*\s*(?:const\s+)?{0}\b",
)
HERE = (
    r"#\s*define {0}\b", r".*\b(?:struct|union|enum) {0}(?: \{{|:)",
    r".*ctypedef [\w *]*\b{0}(?:_t)?\b.*:?$", r".*_KEY_(?:TRUE|FALSE)\({0}\)", r"\s*{0} = ",
    r"cdef [\w *]+\b{0}(?:\[|\s*$| =)", r".*\b{0}\[\] = ",
)


def defines(text: str, name: str) -> bool:
    """Whether a piece of C defines a name: a macro, a structure, a variable with its value."""
    return any(re.match(rule.format(re.escape(name)), text) for rule in DEFINES)


def here(row: str, name: str) -> bool:
    """Whether a line of the port or of its headers defines a name."""
    return any(re.match(r"\s*" + rule.format(re.escape(name)), row) for rule in HERE)


def whole(rows: Sequence[str], line: int) -> str:
    """The text of what begins at a line: to the end of its braces, its line or its statement."""
    first, depth = rows[line - 1], 0
    found: list[str] = []
    deep = len(first) - len(first.lstrip())
    for row in rows[line - 1:line - 1 + LONGEST]:
        if found and first.rstrip().endswith(":") and row.strip() \
                and len(row) - len(row.lstrip()) <= deep:
            break
        found.append(row)
        depth += sum((token.text in "{([") - (token.text in "})]") for token in tokens(row, C)
                     if token.kind == "op" and len(token.text) == 1)
        if depth <= 0 and not row.endswith("\\") and not first.rstrip().endswith(":"):
            break
    return "\n".join(found).rstrip()


def show(things: Iterable[Thing]) -> None:
    """Things in two columns: the kernel's text and the port's."""
    from rich.table import Table

    from kvm_vmx.compare.hanging import Hanging

    for thing in things:
        grid = Table(box=None, expand=True, pad_edge=False, header_style="bold")
        for side in (thing.kernel, thing.port):
            grid.add_column(f"{thing.name}  {side.path}:{side.line}" if side else "not there",
                            ratio=1, overflow="fold")
        grid.add_row(*(Hanging(side.text.expandtabs(4) if side else "")
                       for side in (thing.kernel, thing.port)))
        rendering.console().print(grid)
        print()
