# SPDX-License-Identifier: GPL-2.0-only
"""What the units are held to: the rules of units.toml, the digests of units_4.19.json."""

import functools
import json
import pathlib
import re
import tomllib

HELD = pathlib.Path(__file__).with_name("units_4.19.json")
RULES = pathlib.Path(__file__).with_name("units.toml")
CURE = "`dev/regenerate.py --tree TREE` holds it anew, once it is read and has a reason"


@functools.cache
def rules() -> dict:
    """What units.toml says: the files in scope, and the reasons by class."""
    data = tomllib.loads(RULES.read_text())
    data["named"] = [re.compile(pattern) for pattern in data["named"]]
    for entry in data["rule"]:
        entry["name"] = re.compile(entry.get("name", ".*"))
        entry["file"] = re.compile(entry.get("file", ".*"))
    return data


@functools.cache
def held() -> dict:
    """The digests of v4.19's facts and of the port's: {side: {file: {kind name: digests}}}."""
    return json.loads(HELD.read_text()) if HELD.exists() else {"kernel": {}, "port": {}}


def reason(row_kind: str, fact) -> str:
    """Why a fact is adapted, left out or ours, "" if nothing says so."""
    for entry in rules()["rule"]:
        if entry["class"] == row_kind and fact.kind in entry.get("kinds", (fact.kind,)) \
                and entry["file"].fullmatch(fact.path) and entry["name"].fullmatch(fact.name):
            return entry["why"]
    return ""


def grouped(facts) -> dict[str, dict[str, str]]:
    """{file: {kind and name: the digests of the facts of that name, in order}}."""
    found = {}
    for fact in facts:
        of = found.setdefault(fact.path, {})
        key = f"{fact.kind} {fact.name}"
        of[key] = f"{of[key]} {fact.digest}" if key in of else fact.digest
    return found


def sorted_(digests) -> dict:
    """The digests in an order that a change of the files' order leaves alone."""
    return {path: dict(sorted(of.items())) for path, of in sorted(digests.items())}


def text_of(record) -> str:
    """HELD's text: a line for each unit."""
    return json.dumps(record, indent=0) + "\n"
