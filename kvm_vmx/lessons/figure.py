# SPDX-License-Identifier: GPL-2.0-only
"""A picture in SVG: what stands still, and what each step of the run lays over it.

A shape is [tag, attributes] or [tag, attributes, text]; pages carry shapes as JSON and their
script makes elements of them, so that a picture exists once. Lengths are in units of which a
picture is WIDTH wide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, TypeAlias

from kvm_vmx.frame import element

WIDTH = 400
# [tag, {attribute: value}] or [tag, {attribute: value}, text]
Shape: TypeAlias = list[Any]


@dataclass
class Figure:
    """One picture: shapes that stay, and those of each step."""

    title: str
    height: float
    still: list[Shape] = field(default_factory=list)
    steps: list[list[Shape]] = field(default_factory=list)

    def as_json(self, still: bool) -> dict[str, object]:
        """What the page's script needs of it: still too where another run may take its place."""
        return {"still": self.still if still else None, "steps": self.steps}

    def svg(self, step: int, **attributes: object) -> str:
        """The picture at one step."""
        still = "".join(shape(*parts) for parts in self.still)
        moving = "".join(shape(*parts) for parts in self.steps[step])
        return element(
            "svg", {"viewBox": f"0 0 {WIDTH} {self.height:g}", "role": "img",
                    "aria-label": self.title, **attributes},
            f'<g class="still">{still}</g><g class="moving">{moving}</g>')


def shape(tag: str, attributes: Mapping[str, object], text: str = "") -> str:
    """One shape as text."""
    return element(tag, attributes, escape(text))


def cut(text: str, room: int) -> str:
    """Text that fits into so many characters."""
    return text if len(text) <= room else text[:room - 1] + "…"
