# SPDX-License-Identifier: GPL-2.0-only
"""JSON Schemas (2020-12) of everything that the commands print with --json."""

import importlib.resources
import json
from typing import Any


def names() -> list[str]:
    """The names of the schemas, as in "kvm_vmx.NAME/VERSION"."""
    return sorted(file.name.removesuffix(".json") for file in importlib.resources.files(
        __name__).iterdir() if file.name.endswith(".json"))


def text(name: str) -> str:
    """A schema as it stands in its file."""
    return (importlib.resources.files(__name__) / f"{name}.json").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """A schema of names(), as an object."""
    found: dict[str, Any] = json.loads(text(name))
    return found


def identity(schema: dict[str, Any]) -> str:
    """What a value of this schema has as its "schema": its name and version."""
    value: str = schema["properties"]["schema"]["const"]
    return value
