# SPDX-License-Identifier: GPL-2.0-only
"""The marks of the port: what is left out, adapted or ours, pinned to what it stands for.

    # C- what: why                   the kernel's next statements are left out
    # C- 22 statements: what: why    so many of them
    # C- call(x): why                one statement, named by itself, is left out
    # C~ what: why                   the kernel's next statements stand as the next of the port
    # C+ why                         the next statements of the port are ours

How many statements of each side, and a digest of them, is a mark's pin: marks_4.19.json has those
of each function, in the order of its marks. The digest takes every statement with the headers of
the blocks around it, and a header with how many statements its own holds: a mark fits what its
author read, and nothing else. Where the kernel has nothing, which says where, the digest takes the
place too: behind which statement of the port it is. Comments and layout do not count, and neither
does the text of the mark.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from kvm_vmx.compare.units import Unit
from kvm_vmx.console import Trouble
from kvm_vmx.streams import plain

FILE = pathlib.Path(__file__).with_name("marks_4.19.json")
SHAPE = re.compile(r"# C([-~+])\s*(?:(\d+) statements?: )?(.*)", re.S)
PIN = re.compile(r"([-~+])(\d+)/(\d+) ([0-9a-f]{6})")
CURE = "`dev/regenerate.py --tree TREE` pins it"


class Pin(NamedTuple):
    """What a mark of some kind stands for: so many statements of each side, by digest."""

    kind: str
    kernel: int
    port: int
    digest: str

    def __str__(self) -> str:
        return f"{self.kind}{self.kernel}/{self.port} {self.digest}"


@dataclasses.dataclass(slots=True, eq=False)
class Mark:
    """One mark: its kind, its text, whether that gives a reason, and its pin.

    `count` is how many statements its text says, 0 if none. While marks are pinned anew `choice`
    are the pins that may be its own, and `sizes` how many statements of each side it may take
    whatever they are, any if there are none."""

    kind: str
    line: int
    pin: Pin | None
    what: str
    reason: str
    trailing: bool
    count: int = 0
    choice: tuple[Pin, ...] = ()
    sizes: tuple[tuple[int, int], ...] | None = None

    @property
    def fault(self) -> str:
        """What is wrong with the mark itself."""
        if not self.reason:
            return "a mark needs a reason: `what: why`"
        if self.pin is None and not self.choice and self.sizes is None and self.kind != "-":
            return f"a mark of this kind needs its pin: {CURE}"
        if self.pin and self.count not in (0, self.pin.kernel):
            return f"the mark is of {self.pin.kernel} statements"
        return ""


def read_mark(text: str, line: int, place: int, pin: str = "") -> Mark:
    """A mark out of its comment; place < 0 says that a statement stands before it."""
    hit = SHAPE.match(text)
    assert hit  # whoever calls has looked for a kind
    kind, count = hit[1], hit[2]
    rest = " ".join(hit[3].split())
    held = read_pin(pin) if pin[:1] == kind else None
    what, colon, reason = rest.rpartition(": ") if kind == "-" and not held \
        else rest.partition(": ")
    if kind == "+" and not colon:
        what, reason = "", rest
    return Mark(kind, line, held, what, reason, place < 0, int(count or 0))


def read_pin(text: str) -> Pin:
    """A pin as the file of pins has it."""
    hit = PIN.fullmatch(text)
    if hit is None:
        raise Trouble(f"{plain(text)[:40]} is no pin of a mark: {CURE}")
    return Pin(hit[1], int(hit[2]), int(hit[3]), hit[4])


def pins() -> dict[str, list[str]]:
    """{function: its marks' pins, "" for one without}: what the port was last compared with."""
    found: dict[str, list[str]] = json.loads(FILE.read_text())
    return found


def pin(kind: str, kernel_units: Sequence[Unit], port_units: Sequence[Unit],
        whole: Sequence[Unit] = ()) -> Pin:
    """The pin of a mark of these statements; `whole` are the units of the port's function."""
    where = "" if kernel_units else place(whole, port_units)
    return Pin(kind, len(kernel_units), len(port_units), digest(
        [spelled(unit) for unit in kernel_units], [spelled(unit) for unit in port_units], where))


def spelled(unit: Unit) -> str:
    """A statement as the digest takes it: with its blocks' headers, and the extent of its own."""
    if unit.kind == "decl":
        return repr(unit.key)
    above, around = unit.parent, []
    while above is not None:
        around.append(repr(above.key))
        above = above.parent
    return f"{unit.key!r}{unit.inside or ''}{''.join(around)}"


def place(whole: Sequence[Unit], units: Sequence[Unit]) -> str:
    """Where some units of a function stand: behind which statement, and the how-manieth of those
    words. Declarations stand nowhere: they may be hoisted."""
    if all(unit.kind == "decl" for unit in units):
        return ""
    before = []
    for unit in whole:
        if unit is units[0]:
            break
        if unit.kind not in ("decl", "def") and not unit.silent:
            before.append(unit.key)
    return f"{before.count(before[-1])} {before[-1]!r}" if before else "first"


def digest(kernel: Sequence[str], port: Sequence[str], where: str = "") -> str:
    """Six digits over the spelled statements of both sides, and where they stand."""
    text = f"[{', '.join(kernel)}]|[{', '.join(port)}]{where}"
    return hashlib.blake2s(text.encode(), digest_size=3).hexdigest()
