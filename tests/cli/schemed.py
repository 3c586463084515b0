# SPDX-License-Identifier: GPL-2.0-only
"""JSON outputs held to their schemas, and every small way in which one could be wrong."""

import copy
import functools
import json

from kvm_vmx import host, schemas

# no member has an empty name
FOREIGN = {"": []}


def kept(value):
    """The value, which keeps to the schema that it names; nothing is checked without jsonschema."""
    if host.has("jsonschema"):
        name = value["schema"].removeprefix("kvm_vmx.").partition("/")[0]
        assert value["schema"] == schemas.identity(schemas.load(name))
        errors = sorted(validator(name).iter_errors(value), key=lambda error: list(error.path))
        assert not errors, f"{name}: {list(errors[0].path)}: {errors[0].message[:400]}"
    return value


def kept_text(text):
    """Likewise of what a command printed."""
    return kept(json.loads(text))


@functools.cache
def validator(name):
    """Of a schema."""
    import jsonschema

    return jsonschema.Draft202012Validator(schemas.load(name))


def strict(value):
    """The value, which is kept, while none of its faults is taken."""
    if host.has("jsonschema"):
        name, count = kept(value)["schema"].removeprefix("kvm_vmx.").partition("/")[0], 0
        for what, wrong in wrongs(name, kept(short(value))):
            assert not validator(name).is_valid(wrong), what
            count += 1
        assert count > 3
    return value


def resolved(schema, root, value):
    """The schema that speaks of a value, through references and alternatives."""
    import jsonschema

    while choices := {"$ref", "anyOf", "oneOf"} & schema.keys():
        if "$ref" in choices:
            schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        else:
            schema = next(one for one in schema[choices.pop()] if jsonschema.Draft202012Validator(
                {**one, "$defs": root.get("$defs", {})}).is_valid(value))
    return schema


def short(value):
    """A value with the beginning of its long lists: more of them are no other kind."""
    if isinstance(value, list):
        return [short(item) for item in value[:3]]
    return {key: short(item) for key, item in value.items()} if isinstance(value, dict) else value


def wrongs(name, value):
    """(what is wrong, a value with that fault) for each kind of object in a valid value."""
    root, seen = schemas.load(name), set()

    def walk(schema, here, path):
        schema = resolved(schema, root, here)
        if isinstance(here, list):
            for item in here:
                yield from walk(schema.get("items", {}), item, [*path, here.index(item)])
        elif isinstance(here, dict) and "properties" in schema:
            mark = json.dumps(sorted(schema["properties"]))
            if mark not in seen:
                seen.add(mark)
                yield from faults(schema, here, path)
            for key, item in here.items():
                part = schema["properties"][key]
                yield from walk({} if part is True else part, item, [*path, key])
        elif isinstance(here, dict) and isinstance(schema.get("additionalProperties"), dict):
            for key, item in here.items():
                yield from walk(schema["additionalProperties"], item, [*path, key])

    def faults(schema, here, path):
        for key in schema["required"]:
            yield f"without {key}", changed(path, lambda found: found.pop(key))
        yield "with more", changed(path, lambda found: found.update(more=1))
        for key in here:
            yield f"{key} is foreign", changed(path, lambda found: found.update({key: FOREIGN}))

    def changed(path, change):
        whole = copy.deepcopy(value)
        found = whole
        for step in path:
            found = found[step]
        change(found)
        return whole

    yield from walk(root, value, [])
