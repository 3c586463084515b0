# SPDX-License-Identifier: GPL-2.0-only
"""The marks of the port: what is left out, adapted or ours, pinned to what it stands for.

    # C- [3 5f0c9a] what: why        the kernel's next 3 statements are left out
    # C- call(x): why                one statement, named by itself, is left out
    # C~ [3/2 5f0c9a] what: why      3 of the kernel's statements stand as the next 2 of the port
    # C+ [2 5f0c9a] why              the next 2 statements of the port are ours

The six digits are a digest of those statements on both sides, each with the header of its block,
and a header with how many statements its own holds: a mark fits what its author read, and nothing
else. Comments and
layout do not count, and neither does the rest of the line.
"""

import dataclasses
import hashlib
import re

SHAPE = re.compile(r"# C([-~+!])(?: \[(\d+)(?:/(\d+))? ([0-9a-f]{6})\])?\s*(.*)", re.S)


@dataclasses.dataclass(slots=True, eq=False)
class Mark:
    """One mark: its kind, what it is pinned to, its text, and whether the text gives a reason."""

    kind: str
    line: int
    kernel: int
    port: int
    digest: str
    what: str
    reason: str
    trailing: bool

    @property
    def fault(self) -> str:
        """What is wrong with the mark itself."""
        if not self.reason:
            return "a mark needs a reason: `what: why`"
        if not self.digest and self.kind != "-":
            return "a mark of this kind needs its pin"
        return ""


def read_mark(text: str, line: int, place: int) -> Mark:
    """A mark out of its comment; place < 0 says that a statement stands before it."""
    kind, first, second, digest, rest = SHAPE.match(text).groups()
    rest = " ".join(rest.split())
    what, colon, reason = rest.rpartition(": ") if kind == "-" and not digest \
        else rest.partition(": ")
    if kind in "+!" and not colon:
        what, reason = "", rest
    first, second = int(first or 0), int(second or 0)
    kernel, port = (0, first) if kind == "+" else (first, second)
    return Mark(kind, line, kernel, port, digest or "", what, reason, place < 0)


def pin(kernel_units, port_units) -> str:
    """The digest of some statements of both sides."""
    return digest([spelled(unit) for unit in kernel_units], [spelled(unit) for unit in port_units])


def spelled(unit) -> str:
    """A statement as the digest takes it: with the header of its block, and the extent of its own."""
    if unit.kind == "decl":
        return repr(unit.key)
    above = unit.parent.key if unit.parent else ""
    return f"{unit.key!r}{unit.inside or ''}{above or ''}"


def digest(kernel, port) -> str:
    """Six digits over the spelled statements of both sides."""
    text = f"[{', '.join(kernel)}]|[{', '.join(port)}]"
    return hashlib.blake2s(text.encode(), digest_size=3).hexdigest()


def pinned(kind: str, kernel_units, port_units) -> str:
    """How a mark of these statements begins."""
    digest = pin(kernel_units, port_units)
    counts = {
        "-": f"{len(kernel_units)}", "+": f"{len(port_units)}",
        "~": f"{len(kernel_units)}/{len(port_units)}",
    }[kind]
    return f"# C{kind} [{counts} {digest}]"
