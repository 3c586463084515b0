# SPDX-License-Identifier: GPL-2.0-only
"""The rules that the emulated Hyper-V is held to, as data."""

import dataclasses
import importlib.resources
import tomllib
from typing import NotRequired, TypedDict


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule: its id (R39, K3), what it says, the profile it belongs to ("" for every one),
    and why it does not apply ("" where it does)."""

    id: str
    text: str
    profile: str = ""
    not_applicable: str = ""


class EndedTest(TypedDict):
    """How a tagged test ended, and the rules that it shows."""

    rules: list[str]
    passed: bool
    why: NotRequired[str]


def rules() -> dict[str, Rule]:
    """Every rule by its id, in the order of the data file."""
    text = (importlib.resources.files(__name__) / "rules.toml").read_text(encoding="utf-8")
    return {id: Rule(id, **entry) for id, entry in tomllib.loads(text).items()}
