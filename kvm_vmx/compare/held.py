# SPDX-License-Identifier: GPL-2.0-only
"""What the units are held to: the rules of units.toml, the digests of units_4.19.json."""

import functools
import json
import pathlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NotRequired, TypeAlias, TypedDict

if TYPE_CHECKING:
    from kvm_vmx.compare.facts import Fact

HELD = pathlib.Path(__file__).with_name("units_4.19.json")
RULES = pathlib.Path(__file__).with_name("units.toml")
CURE = "`dev/regenerate.py --tree TREE` holds it anew, once it is read and has a reason"

Side: TypeAlias = Literal["kernel", "port"]
# {file: {kind and name: digests}}
Digests: TypeAlias = dict[str, dict[str, str]]
Rule = TypedDict("Rule", {
    "class": str, "kinds": NotRequired[list[str]], "file": re.Pattern[str],
    "name": re.Pattern[str], "why": str})


class Rules(TypedDict):
    """What units.toml says."""

    whole: list[str]
    named: list[re.Pattern[str]]
    rule: list[Rule]
    assembly: dict[str, dict[str, str]]


class HeldRecord(TypedDict):
    """What units_4.19.json says: the digests of both sides' facts and of assembly, the own names
    of functions, what they do in any words, the files that functions are in, and the names that
    no file of v4.19's has."""

    kernel: Digests
    port: Digests
    assembly: NotRequired[dict[str, str]]
    locals: NotRequired[dict[Side, dict[str, str]]]
    alike: NotRequired[dict[str, dict[str, str | None]]]
    homes: NotRequired[dict[str, str]]
    foreign: NotRequired[list[str]]


@functools.cache
def rules() -> Rules:
    """What units.toml says: the files in scope, and the reasons by class."""
    data = tomllib.loads(RULES.read_text())
    for entry in data["rule"]:
        entry["name"] = re.compile(entry.get("name", ".*"))
        entry["file"] = re.compile(entry.get("file", ".*"))
    return Rules(whole=data["whole"], named=[re.compile(name) for name in data["named"]],
                 rule=data["rule"], assembly=data["assembly"])


@functools.cache
def held() -> HeldRecord:
    """The digests of v4.19's facts and of the port's, and what else is held of them."""
    found: HeldRecord = json.loads(HELD.read_text()) if HELD.exists() \
        else {"kernel": {}, "port": {}}
    return found


def reason(row_kind: str, fact: "Fact") -> str:
    """Why a fact is adapted, left out or ours, "" if nothing says so."""
    for entry in rules()["rule"]:
        if entry["class"] == row_kind and fact.kind in entry.get("kinds", (fact.kind,)) \
                and entry["file"].fullmatch(fact.path) and entry["name"].fullmatch(fact.name):
            return entry["why"]
    return ""


def grouped(facts: "Iterable[Fact]") -> Digests:
    """{file: {kind and name: the digests of the facts of that name, in order}}."""
    found: Digests = {}
    for fact in facts:
        of = found.setdefault(fact.path, {})
        key = f"{fact.kind} {fact.name}"
        of[key] = f"{of[key]} {fact.digest}" if key in of else fact.digest
    return found


def sorted_(digests: Digests) -> Digests:
    """The digests in an order that a change of the files' order leaves alone."""
    return {path: dict(sorted(of.items())) for path, of in sorted(digests.items())}


def text_of(record: Mapping[str, object]) -> str:
    """HELD's text: a line for each unit."""
    return json.dumps(record, indent=0) + "\n"
