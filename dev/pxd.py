# SPDX-License-Identifier: GPL-2.0-only
"""Prints the .pxd that restates our headers; dev/pxd.toml says what C leaves unsaid."""

import keyword
import re
import tomllib

from cheaders import ROOT, numbers, read

SPEC = tomllib.loads((ROOT / "dev/pxd.toml").read_text())
INDENT = "    "
LONGEST = 99


class Printer:
    """One .pxd file."""

    def __init__(self, spec):
        self.spec = spec
        self.truth = set(spec.get("bint", []))
        self.alias = SPEC["alias"]

    def type_of(self, member, owner=""):
        """The type of a member or parameter, as Cython spells it."""
        words = member.type.split()
        if member.name and f"{owner}.{member.name}".lstrip(".") in self.truth:
            return "bint "
        text = " ".join(self.alias.get(word, word) for word in words)
        text = re.sub(r"\bunsigned long\b(?! long)", "ulong", text)
        text = re.sub(r"\b(?:_Bool|bool)\b", "bint", text).replace(" *", "*").replace("*", " *", 1)
        return text if text.endswith("*") else text.strip() + " "

    def parameter(self, member, owner):
        if member.type == "...":
            return "..."
        if member.pointer:
            return self.function(member, owner)
        name = f"{member.name}_" if keyword.iskeyword(member.name) else member.name
        return self.type_of(member, owner) + name

    def function(self, member, owner=""):
        inner = ", ".join(self.parameter(one, member.name) for one in member.parameters)
        name = f"(*{member.name})({inner}) noexcept nogil" if member.pointer \
            else f"{member.name}({inner})"
        return self.type_of(member, owner) + name

    def struct(self, tag, members, kind="struct"):
        """The lines of a struct or a union; those of its unnamed inner structs first."""
        name = self.alias.get(tag, tag)
        if members is None:
            return [f'ctypedef struct {name} "struct {tag}"']
        lines, before = [], []
        for member in members:
            if member.members is not None and not member.name:  # an unnamed one: its members
                lines.extend(f"{self.type_of(one)}{one.name}" for one in member.members)
            elif member.members is not None:
                inner = f"{member.name}_t"
                place = f"__typeof__(((struct {tag} *)0)->{member.name})"
                before += [f'ctypedef struct {inner} "{place}":',
                           *(f"{INDENT}{self.type_of(one)}{one.name}" for one in member.members
                             if one.name and not one.name.startswith("reserved")), ""]
                lines.append(f"{inner} {member.name}{member.suffix}")
            elif member.pointer:
                lines.append(self.function(member, tag))
            elif member.suffix != "[]" and f"{tag}.{member.name}" not in self.spec.get("skip", []):
                lines.append(f"{self.type_of(member, tag)}{member.name}{member.suffix}")
        return [*before, f'ctypedef {kind} {name} "{kind} {tag}":',
                *(INDENT + line for line in lines or ["pass"])]

    def header(self, name):
        """The block of one header."""
        found, skip = read(name), set(self.spec.get("skip", []))
        out = [f'cdef extern from "{name}" nogil:']
        small = [one for one, (value, size) in found.constants.items()
                 if size == 4 and value <= 0x7fffffff]
        numbers = [one for one in small + found.enumerators if one not in skip]

        def block(lines, apart=False):
            lines = [INDENT + line if line else "" for line in lines]
            out.extend(([""] if apart and lines and len(out) > 1 else []) + lines)

        block(self.spec.get("first", {}).get(name, []))
        block(f"ctypedef {self.type_of(one)}{self.alias.get(one.name, one.name)}"
              for one in found.typedefs if one.name not in skip)
        if numbers:
            block(["enum:", *(INDENT + one for one in numbers)])
        block(f"const {'u32' if size == 4 else 'u64'} {one}"
              for one, (_, size) in found.constants.items() if one not in small + [*skip])
        for tag, members in found.structs:
            if tag not in skip:
                block(self.struct(tag, members, "union" if tag in found.unions else "struct"),
                      apart=True)
        functions = [self.function(one) for one in found.functions if one.name not in skip]
        functions += [f"{self.type_of(one)}{one.name}{one.suffix}" for one in found.variables
                      if one.name not in skip]
        functions += self.spec.get("macros", {}).get(name, [])
        if functions:
            block(functions, apart=True)
        return out

    def text(self):
        """The whole file."""
        lines = ["# SPDX-License-Identifier: GPL-2.0-only", f"# {self.spec['job']}",
                 *self.spec.get("cimports", [])]
        for name in self.spec["headers"]:
            lines += ["", *self.header(name)]
        for name, words in self.spec.get("system", {}).items():
            lines += ["", f'cdef extern from "{name}" nogil:', f"{INDENT}enum:",
                      *(2 * INDENT + word for word in words)]
        return "\n".join(lines) + "\n"


def python(spec):
    """The text of a Python file with the numbers of headers."""
    lines = ["# SPDX-License-Identifier: GPL-2.0-only", f'"""{spec["job"]}"""']
    for name in spec["headers"]:
        found = read(name)
        known = numbers(name, [*found.constants, *found.enumerators])
        lines += ["", f"# {name}", *(f"{one} = 0x{value:X}" for one, (value, _) in known.items()
                                    if one not in spec.get("skip", []))]
    return "\n".join(lines) + "\n"


def files():
    """path: text of each file that is printed."""
    return {spec["path"]: Printer(spec).text() for spec in SPEC["pxd"]} | \
        {spec["path"]: python(spec) for spec in SPEC["python"]}
