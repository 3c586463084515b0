# SPDX-License-Identifier: GPL-2.0-only
"""Reads a header of this project by way of the C compiler: its constants and declarations."""

import pathlib
import re
import subprocess
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEFINES = ["-DCONFIG_HYPERV=1", "-DCONFIG_JUMP_LABEL=1", "-DCONFIG_INSN_TRAP=1"]
GCC = ["gcc", "-std=gnu11", "-w", "-Iinclude", "-I.", *DEFINES]
MARKER = re.compile(r'# \d+ "([^"]*)"')
FIRST_ROW = 4
STORAGE = {"static", "inline", "__inline", "__inline__", "extern", "volatile"}
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\w+|\.\.\.|\S')


@dataclass
class Member:
    """A variable, member, parameter or function: what it is declared as."""
    type: str
    name: str
    suffix: str = ""                            # array sizes
    parameters: list["Member"] | None = None    # of a function, or of a pointer to one
    pointer: bool = False                       # to that function
    members: list["Member"] | None = None       # of an unnamed struct


@dataclass
class Header:
    """What a header declares, in its order."""
    enumerators: list[str] = field(default_factory=list)
    structs: list[tuple[str, list[Member] | None]] = field(default_factory=list)   # None: not yet
    unions: set[str] = field(default_factory=set)   # which of them are unions
    typedefs: list[Member] = field(default_factory=list)
    functions: list[Member] = field(default_factory=list)
    variables: list[Member] = field(default_factory=list)
    constants: dict[str, tuple[int, int]] = field(default_factory=dict)


def compiled(arguments, source):
    return subprocess.run([*GCC, *arguments, "-"], input=source, capture_output=True, text=True,
                          cwd=ROOT)


def own_lines(header):
    """The lines of a header itself after preprocessing, with the #defines that stand there."""
    done = compiled(["-E", "-dD", "-x", "c"], f"#include <{header}>\n")
    done.check_returncode()
    here, lines = False, []
    for line in done.stdout.splitlines():
        if found := MARKER.match(line):
            here = found[1].removeprefix("./") in (header, f"include/{header}")
        elif here:
            lines.append(line)
    return lines


def constants(header, lines):
    """The object-like macros that are integers, in order: name to (value, size in bytes)."""
    return numbers(header, [found[1] for line in lines
                            if (found := re.match(r"#define (\w+) +\S", line))])


def numbers(header, names):
    """Those of the names that are integers: name to (value, size in bytes). The compiler writes
    them into the data of its assembly."""
    while True:
        rows = "\n".join(f"(unsigned long long)({name}), sizeof(({name}) + 0)," for name in names)
        source = f"#include <{header}>\n\nunsigned long long numbers_[] = {{\n{rows}\n}};\n"
        done = compiled(["-x", "c", "-S", "-o", "-"], source)
        if not done.returncode:
            data = done.stdout.partition("\nnumbers_:\n")[2]
            words = re.match(r"(?:\t\.quad\t\S+\n)*", data)[0].split()[1::2]
            # an address, as that of a text, has no number yet
            found = [int(word) % (1 << 64) if word.lstrip("-").isdigit() else 0 for word in words]
            assert len(found) == 2 * len(names)
            return dict(zip(names, zip(found[::2], found[1::2])))
        lines_wrong = re.findall(r"<stdin>:(\d+):\d+: (?:error|note: in expansion)", done.stderr)
        wrong = {names[int(number) - FIRST_ROW] for number in lines_wrong}
        if not wrong:
            raise SystemExit(done.stderr)
        names = [name for name in names if name not in wrong]


def group(tokens, start, opening, closing):
    """The index behind the bracket that closes the one at start."""
    depth = 0
    for i in range(start, len(tokens)):
        depth += (tokens[i] == opening) - (tokens[i] == closing)
        if not depth:
            return i + 1
    raise ValueError(f"no {closing} for the {opening} of {' '.join(tokens[start:start + 9])}")


def without(tokens, names):
    """Tokens without an attribute, or another word with brackets behind it."""
    out, i = [], 0
    while i < len(tokens):
        if tokens[i] in names:
            i = group(tokens, i + 1, "(", ")")
        else:
            out.append(tokens[i])
            i += 1
    return out


def split(tokens, at=","):
    """Tokens cut at commas that stand in no bracket."""
    parts, depth = [[]], 0
    for token in tokens:
        depth += (token in "([{") - (token in ")]}")
        if token == at and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def parameters(tokens):
    return [] if tokens in ([], ["void"]) else [declared(part)[0] for part in split(tokens)]


def declared(tokens):
    """The variables, members or parameters of one declaration."""
    base, members = [], None
    i = 0
    while i < len(tokens):
        if tokens[i] in ("struct", "union", "enum"):
            if "{" in tokens[i:i + 3]:
                start = tokens.index("{", i)
                end = group(tokens, start, "{", "}")
                members = struct_members(tokens[start + 1:end - 1])
                i = end
                break
            else:
                base.append("int" if tokens[i] == "enum" else tokens[i + 1])
                i += 2
        elif re.match(r"\w", tokens[i]) and not (
                base and base[-1] != "const" and (i + 1 == len(tokens) or
                                                  tokens[i + 1] in ("[", "(", ",", ":", ";"))
                and tokens[i] not in ("int", "long", "char")):
            base.append(tokens[i])
            i += 1
        else:
            break
    type_ = " ".join(word for word in base if word not in STORAGE)
    if tokens == ["..."]:
        return [Member("...", "")]
    return [declarator(type_, part, members) for part in split(tokens[i:]) or [[]]]


def declarator(type_, tokens, members):
    stars = ""
    tokens = list(tokens[:tokens.index("=")] if "=" in tokens else tokens)
    while tokens and tokens[0] in ("*", "const", "volatile"):
        stars += "*" if tokens[0] == "*" else ""
        tokens.pop(0)
    if tokens[:2] == ["(", "*"]:                # a pointer to a function
        end = group(tokens, 3, "(", ")") if tokens[3] == "(" else 4
        return Member(type_ + " " + stars, tokens[2], pointer=True,
                      parameters=parameters(tokens[end + 1:-1]))
    name = tokens.pop(0) if tokens and re.match(r"\w", tokens[0]) else ""
    if tokens[:1] == ["("]:
        end = group(tokens, 0, "(", ")")
        return Member(type_ + " " + stars, name, parameters=parameters(tokens[1:end - 1]))
    suffix = "".join(tokens) if tokens[:1] == ["["] else ""
    return Member(type_ + " " + stars, name, suffix, members=members)


def struct_members(tokens):
    return [member for part in split(tokens, ";") for member in declared(part)]


def statements(text):
    """The declarations of a text: without the bodies of functions, and without attributes."""
    tokens = without(TOKEN.findall(text), {"__attribute__", "__asm__", "asm", "_Static_assert"})
    out, i, start = [], 0, 0
    while i < len(tokens):
        if tokens[i] == "{":
            end = group(tokens, i, "{", "}")
            if i and tokens[i - 1] == ")":      # the body of a function
                out.append(tokens[start:i])
                start = end
            i = end
        elif tokens[i] == ";":
            out.append(tokens[start:i])
            start = i = i + 1
        else:
            i += 1
    return [statement for statement in out if statement]


def read(header):
    """A Header."""
    lines = own_lines(header)
    found = Header(constants=constants(header, lines))
    for tokens in statements("\n".join(line for line in lines if not line.startswith("#"))):
        words = [word for word in tokens if word not in STORAGE]
        if words[0] == "enum" and "{" in words:
            found.enumerators += [part[0] for part in split(words[words.index("{") + 1:-1])]
        elif words[0] == "struct" and len(words) == 2:
            found.structs.append((words[1], None))
        elif words[0] in ("struct", "union") and words[2] == "{" \
                and group(words, 2, "{", "}") == len(words):
            found.structs.append((words[1], struct_members(words[3:-1])))
            found.unions |= {words[1]} if words[0] == "union" else set()
        elif words[0] == "typedef":
            found.typedefs += declared(words[1:])
        else:
            for one in declared(words):
                (found.functions if one.parameters is not None and not one.pointer
                 else found.variables).append(one)
    return found
