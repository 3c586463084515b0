# SPDX-License-Identifier: GPL-2.0-only
"""Prints what the command line brings beside itself: docs/json.md of the schemas, a manual page
of each command, and the completions of the shells that look for theirs in share/."""

import json

from cheaders import ROOT

LICENCE = "<!-- SPDX-License-Identifier: GPL-2.0-only -->"
HEAD = """\
# What `--json` prints

Every command prints one JSON object with `--json`. Its `schema` names what it keeps to and the
version of that: the number grows when a program that reads it would have to change. The schemas
(JSON Schema 2020-12) come with the package; `kvm-vmx schema NAME` prints one:

```
kvm-vmx run --json > run.json
kvm-vmx schema run > schema.json
python -m jsonschema -i run.json schema.json
```

This page is printed from them by `dev/regenerate.py`. A member is always there where nothing else
is said, and nothing that is not listed is. Numbers of 64 bits are hexadecimal text, as in `0x1f`,
but in lessons, where they are numbers as the student's function gets them.
"""
COMPLETIONS = {"bash": "share/bash-completion/completions/kvm-vmx",
               "zsh": "share/zsh/site-functions/_kvm-vmx",
               "fish": "share/fish/vendor_completions.d/kvm-vmx.fish"}
WORDS = {"string": "text", "boolean": "true or false", "object": "object", "null": "null"}


def files():
    """path: text of everything; and what could not be printed."""
    made = {"docs/json.md": page()}
    try:
        from kvm_vmx import cli
    except ImportError:
        return made, ["the package is not built: manual pages and completions stay as they are"]
    from kvm_vmx.about import roff, shells
    from kvm_vmx.about.commands import all_of

    commands = all_of(cli.parser())
    for command in commands:
        name = command.title.replace(" ", "-")
        made[f"share/man/man1/{name}.1"] = roff.page(command, commands, cli.VERSION)
    for shell, path in COMPLETIONS.items():
        made[path] = shells.SHELLS[shell](commands)
    return made, []


def page():
    """docs/json.md."""
    parts = [f"{LICENCE}\n{HEAD}"]
    for path in sorted((ROOT / "kvm_vmx/schemas").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        name = path.name.removesuffix(".json")
        parts.append(f"## {name}\n\n`{schema['title']}`: `{identity(schema)}`. "
                     f"{schema['description']}\n")
        for one in schema.get("oneOf", ()):
            parts.append(section(one["title"], one, schema))
        if "oneOf" not in schema:
            parts.append(table(schema, schema))
        for other, one in schema.get("$defs", {}).items():
            parts.append(section(f"{name}: {other}", one, schema))
    return "\n".join(parts)


def section(title, one, schema):
    """A part of a schema that has a name of its own."""
    means = one["description"]
    text = f"### {title}\n\n{means[0].upper()}{means[1:]}.\n"
    return f"{text}\n{table(one, schema)}" if "properties" in one else text


def identity(schema):
    """The value of its member "schema"."""
    return schema["properties"]["schema"]["const"]


def table(schema, root):
    """Its members, and theirs."""
    lines = ["| member | is | means |", "|---|---|---|"]
    lines += [f"| `{path}` | {kind} | {means} |" for path, kind, means in rows(schema, root, "")]
    return "\n".join(lines) + "\n"


def rows(schema, root, path):
    """(path, type, meaning) of every member of an object."""
    for name, one in schema.get("properties", {}).items():
        if one is True:
            continue
        here = f"{path}{name}"
        said = one if "description" in one else root["$defs"][one["$ref"].rpartition("/")[2]]
        means = said["description"].replace("|", "\\|")
        means = means if name in schema["required"] else f"(not always) {means}"
        yield here, kind_of(one), means
        inner = one
        while "items" in inner or isinstance(inner.get("additionalProperties"), dict):
            here += "[]" if "items" in inner else ".NAME"
            inner = inner.get("items") or inner["additionalProperties"]
        yield from rows(inner, root, f"{here}.")


def kind_of(one):
    """The type of a value in words."""
    if "$ref" in one:
        return f"{one['$ref'].rpartition('/')[2]}, below"
    if "const" in one:
        return f"`{one['const']}`"
    if "enum" in one:
        return "one of " + ", ".join(f"`{value}`" for value in one["enum"])
    if "anyOf" in one:
        return " or ".join(kind_of(other) for other in one["anyOf"])
    kinds = one["type"] if isinstance(one["type"], list) else [one["type"]]
    return " or ".join(spelled(kind, one) for kind in kinds)


def spelled(kind, one):
    """One type."""
    if kind == "array":
        return f"list of {kind_of(one['items'])}" if "items" in one else "list"
    if kind == "object" and isinstance(one.get("additionalProperties"), dict):
        return f"by name: {kind_of(one['additionalProperties'])}"
    if kind in ("integer", "number"):
        low, high = one.get("minimum"), one.get("maximum")
        return kind + (f" from {low}" if low is not None else "") + (
            f" to {high}" if high is not None else "")
    return "hexadecimal text" if "0x" in one.get("pattern", "") else WORDS[kind]
