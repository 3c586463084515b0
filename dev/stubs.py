# SPDX-License-Identifier: GPL-2.0-only
"""Print the .pyi of each compiled module that Python sees, from its .pyx and .pxd.

Usage: python dev/stubs.py. The modules must be built: the types of their constants are those of
the values.
"""

import importlib
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
# A module that Python imports whole, though it shows nothing.
IMPORTED = {ROOT / "kvm_vmx/l1/linux/test_static_keys.pyx"}
INTEGERS = {"int", "long", "size_t", "u8", "u16", "u32", "u64", "ulong", "unsigned int"}
TYPES = {**dict.fromkeys(INTEGERS, "int"), "bint": "bool", "object": "Any", "double": "float",
         "buffer": "bytes | bytearray | memoryview"}
SILENT = {"def __init__(self):"}  # which only refuses: nobody makes one
WHOLE = {"dict": "dict[str, Any]", "list": "list[Any]", "tuple": "tuple[Any, ...]",
         "set": "set[Any]"}
RETURNS = {"__init__": "None", "__len__": "int", "__exit__": "None",
           "__enter__": "Any", "__repr__": "str"}
FROM = re.compile(r"^from (kvm_vmx\.[\w.]+|collections(?:\.abc)?|typing) c?import "
                  r"(\((?:[^)]*)\)|.*)$", re.M)
BYTES = "const unsigned char[::1]"
NAME = re.compile(r"\b[A-Z]\w+\b")


def whole(path: pathlib.Path) -> str:
    """The text of a .pyx with what it includes."""
    return re.sub(r'^include "([^"]+)"$', lambda hit: (path.parent / hit[1]).read_text(),
                  path.read_text(), flags=re.M)


def statements(source: str):
    """(indent, text) of each def, class, decorator and annotation, on one line each."""
    lines = iter(re.sub(r'^ *(?:r|b)?"""(?:.|\n)*?""" *$', "", source, flags=re.M).split("\n"))
    for line in lines:
        text = line.strip()
        if not re.match(r"(?:def|class|cdef class|@\w)|[a-z_]\w*: [\w\[\], .|]+(?: = .*)?$", text):
            continue
        while text.count("(") > text.count(")"):
            text += " " + next(lines).strip()
        yield len(line) - len(line.lstrip()), text


def bare(kind: str) -> str:
    """An annotation whose generic types say of what."""
    return re.sub(r"\b(dict|list|tuple|set)\b(?!\[)", lambda hit: WHOLE[hit[1]], kind)


def split(text: str) -> list[str]:
    """A list of parameters, cut at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def parameter(text: str) -> str:
    """A parameter of Cython's or Python's as a stub has it."""
    text = text.replace(" not None", "").replace(BYTES, "buffer")
    left, equal, default = text.partition("=")
    default = " = ..." if equal else ""
    name, colon, kind = (part.strip() for part in left.partition(":"))
    if colon:
        return f"{name}: {bare(kind)}{default}"
    *kinds, name = name.split()
    if name in ("self", "cls", "*", "/"):
        return name
    kind = " ".join(kinds)
    kind = TYPES.get(kind, bare(kind)) or ("object" if name[0] == "*" else "Any")
    return f"{name}: {kind}{default}"


def function(text: str, setter: bool) -> str:
    """A def as a stub has it."""
    name, inside, returns = re.fullmatch(
        r"def (\w+)\((.*)\)(?: *-> *([^:]*(?:\[.*\])?))? *:.*", text).groups()
    # a stub may name what comes later
    returns = returns and bare(returns.strip(' "')) or (
        "None" if setter else RETURNS.get(name, "Any"))
    inside = ", ".join(map(parameter, split(inside)))
    if name in ("__getitem__", "__setitem__"):      # slots of the C type: by place alone
        inside += ", /"
    if name == "__cinit__":
        return f"def __new__(cls{inside.removeprefix('self')}) -> Self: ..."
    return f"def {name}({inside}) -> {returns}: ..."


def attributes(header: str) -> dict[str, list[str]]:
    """The attributes of each cdef class that Python may look at."""
    found, owner = {}, ""
    for line in header.split("\n"):
        if hit := re.match(r"cdef class (\w+)", line):
            owner = hit[1]
        elif hit := re.match(r"    cdef (?:readonly|public) (.+) (\w+)$", line):
            found.setdefault(owner, []).append(f"{hit[2]}: {TYPES.get(hit[1], bare(hit[1]))}")
    return found


def of_value(value) -> str:
    """The type of a constant."""
    if isinstance(value, dict):
        return f"dict[{of_all(value)}, {of_all(value.values())}]"
    if isinstance(value, tuple):
        return f"tuple[{of_all(value)}, ...]"
    return type(value).__name__


def of_all(values) -> str:
    """The types of some values."""
    return " | ".join(sorted({of_value(value) for value in values})) or "Any"


def body(path: pathlib.Path, module) -> list[str]:
    """The declarations of a module, in its order."""
    source, header = whole(path), path.with_suffix(".pxd")
    owned = attributes(source + "\n" + (header.read_text() if header.exists() else ""))
    lines, hidden, setter, decorators, begin = [], None, False, [], 0
    for name in re.findall(r"^([A-Za-z]\w*) = ", source, re.M):
        if not name.startswith("_") and not callable(getattr(module, name)):
            lines.append(f"{name}: {of_value(getattr(module, name))}")
    for indent, text in statements(source):
        if hidden is not None and indent > hidden:
            continue
        hidden = None
        if text.startswith("@cython."):  # of the C struct
            continue
        if text.startswith("@"):
            setter = text.endswith(".setter")
            decorators.append(" " * indent + text)
            continue
        word = re.match(r"(?:def|class|cdef class) (\w+)|(\w+):", text)
        name = word[1] or word[2]
        if re.match("_[^_]", name) or text in SILENT or name == "__dealloc__" or indent > 4 \
                or word[2] and (not indent or text.endswith(":")):
            hidden, decorators = indent, []
            continue
        if text.startswith(("class", "cdef class")):
            begin = len(lines)
            if text.startswith("cdef") and adds(getattr(module, name)):
                decorators.append("@disjoint_base")
            bases = f"({text.partition('(')[2]}" if "(" in text else ":"
            lines += ["", "", *decorators, f"class {name}{bases}"]
            lines += [f"    {line}" for line in owned.get(name, ())]
        elif word[2]:
            lines.append(f"    {text.partition(' = ')[0]}{' = ...' if ' = ' in text else ''}")
        else:
            if not indent and lines and lines[-1].startswith(" "):
                lines += ["", ""]
            line = wrapped(" " * indent + function(text, setter), indent + 8)
            if line not in lines[begin:] or setter:
                lines += [*decorators, line]
        decorators, setter = [], False
    return closed(lines)


def adds(kind: type) -> bool:
    """Whether a class has more in its C struct than the class it is made from."""
    return kind.__basicsize__ > kind.__base__.__basicsize__


def wrapped(line: str, indent: int) -> str:
    """A line of at most 100 columns, or as many lines as it takes."""
    if len(line) <= 100:
        return line
    for whole in (" = ", " -> ", ": "):
        line = line.replace(whole, whole.replace(" ", "\0"))
    return textwrap.fill(line, 100, subsequent_indent=" " * indent, break_long_words=False,
                         break_on_hyphens=False).replace("\0", " ")


def closed(lines: list[str]) -> list[str]:
    """Each class that has nothing in it with dots for that."""
    found = []
    for n, line in enumerate(lines):
        empty = line.startswith("class ") and not (lines[n + 1:n + 2] or [""])[0].startswith(" ")
        found.append(f"{line} ..." if empty else line)
    return found


def imports(path: pathlib.Path, text: str, shown) -> list[str]:
    """Where the names that a stub uses come from: the .pyx says, by import or by cimport."""
    found, names = [], set(NAME.findall(text)) - set(re.findall(r"^class (\w+)", text, re.M))
    if "dataclasses." in text:
        found.append("import dataclasses")
    if typing := sorted({"Any", "Self"} & names):
        found.append(f"from typing import {', '.join(typing)}")
    if "disjoint_base" in text:
        found.append("from typing_extensions import disjoint_base")
    source = whole(path) + (
        path.with_suffix(".pxd").read_text() if path.with_suffix(".pxd").exists() else "")
    seen = set()
    for module, inside in FROM.findall(source):
        words = set(re.findall(r"\b[A-Z]\w+", inside)) - seen
        # a class that a module imports is there for its users, too
        classes = {word for word in words if isinstance(getattr(shown, word, None), type)}
        used = words & names
        seen |= classes | used
        used = [f"{name} as {name}" if name in classes else name
                for name in sorted(classes.union(used))]
        if used:
            line = f"from {module} import {', '.join(used)}"
            if len(line) > 100:
                line = wrapped(f"from {module} import ({', '.join(used)})", 4)
            found.append(line)
    return found


def stub(path: pathlib.Path) -> str:
    """The whole .pyi of a .pyx, or nothing where Python sees nothing of it."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = importlib.import_module(name)
    lines = body(path, module)
    if not lines and path not in IMPORTED:
        return ""
    text = "\n".join(lines).strip("\n")
    head = ["# SPDX-License-Identifier: GPL-2.0-only",
            "# The types of the module beside it, printed by dev/stubs.py."]
    return "\n".join([*head, *imports(path, text, module), "", text]).rstrip("\n") + "\n"


def stubs() -> dict[pathlib.Path, str]:
    """Each .pyi of the package with its text."""
    sources = [path for room in ("machine", "measure", "trap", "kernel", "")
               for path in sorted((ROOT / "kvm_vmx" / room).glob("*.pyx"))]
    found = {path.with_suffix(".pyi"): stub(path) for path in [*sources, *sorted(IMPORTED)]}
    return {path: text for path, text in found.items() if text}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for path, text in stubs().items():
        path.write_text(text)
        print(path.relative_to(ROOT))
