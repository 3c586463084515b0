# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's dump_vmcs() would print, from the format strings of its own source."""

import ast
import functools
import random
import re

from kvm_vmx.abi.numbers import Field

PATHS = ("arch/x86/kvm/vmx/vmx.c", "arch/x86/kvm/vmx.c")
PRINTED = re.compile(
    r"(pr_err|pr_cont|vmx_dump_sel|vmx_dump_dtsel)\(((?:\"(?:[^\"\\]|\\.)*\"|[^;\"])*)\);")
READ = re.compile(r"vmcs_read(?:16|32|64|l)\(([^()]*(?:\([^()]*\))?[^()]*)\)")
WIDTHS = (2, 8, 4, 8)
# Fields of later kernels, which v4.19 does not name and nothing here has.
LATER = {"TERTIARY_VM_EXEC_CONTROL": 0x2034, "VE_INFORMATION_ADDRESS": 0x202A}
KNOWN = {**LATER, **{field.name: int(field) for field in Field}}
# What stands in no field of the VMCS, whatever it is.
ELSEWHERE = re.compile(r"->|\bname\b|\befer\b")


def source_of(tree):
    return next(tree.files[path] for path in PATHS if path in tree.files)


def body_of(text, name):
    """The text of a function between its braces, without comments."""
    start = re.search(rf"^(?:static )?void {name}\(.*?\)\n\{{\n", text, re.M | re.S).end()
    body = text[start:text.index("\n}\n", start)]
    return re.sub(r"/\*.*?\*/", "", body, flags=re.S)


def arguments(text):
    """The arguments of a call, split at its own commas."""
    parts, depth, quoted, last = [], 0, False, 0
    for n, sign in enumerate(text):
        quoted ^= sign == '"' and text[n - 1] != "\\"
        depth += (sign in "([") - (sign in ")]") if not quoted else 0
        if sign == "," and not depth and not quoted:
            parts.append(text[last:n].strip())
            last = n + 1
    return [*parts, text[last:].strip()]


@functools.cache
def checked(text):
    """An expression of constants alone, compiled."""
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        assert isinstance(node, (ast.Expression, ast.BinOp, ast.Constant, ast.Name, ast.Load,
                                 ast.operator)), text
    return compile(tree, text, "eval")


class Printer:
    """dump_vmcs() of one tree on a VMCS of random values; told has the fields that it printed."""

    def __init__(self, tree, seed, efer="vmcs"):
        self.text = source_of(tree)
        self.body = body_of(self.text, "dump_vmcs")
        self.random = random.Random(seed)
        self.values, self.told, self.efer = {}, {}, efer
        self.locals = {name: READ.search(how)[1] for name, how in re.findall(
            r"\b(\w+) = (vmcs_read\w+\(\w+\))", self.body)}
        self.lines, self.open = [], False

    def value(self, field):
        if field not in self.values:
            bits = 8 * WIDTHS[field >> 13 & 3]
            # few bits, many bits, all of them
            self.values[field] = self.random.choice((
                self.random.getrandbits(bits), self.random.getrandbits(8), (1 << bits) - 1))
        if field not in LATER.values():
            self.told[Field(field).name] = self.values[field]
        return self.values[field]

    def number(self, text, names):
        """An argument as the kernel would compute it."""
        if text not in names:
            text = re.sub(r"\b[a-z]\w+\b", lambda hit: f"vmcs_read64({self.locals[hit[0]]})"
                          if hit[0] in self.locals else hit[0], text)
        text = READ.sub(lambda hit: str(self.value(self.constant(hit[1], names))), text)
        if ELSEWHERE.search(text):
            return 0x1234
        return self.constant(text, names)

    def constant(self, text, names):
        return eval(checked(text.strip()), {"__builtins__": {}}, {**KNOWN, **names})

    def emit(self, form, rest, names, going_on=False):
        pieces = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', form)).replace("\\n", "\n")
        pieces = re.sub(r"%([-0-9]*)l*([xudps])", r"%\1\2", pieces).replace("%p", "%x")
        pieces = pieces.replace("%u", "%d")
        kinds = re.findall(r"%[-0-9]*([xds])", pieces)
        values = [names["name"] if text == "name" else "" if kind == "s"
                  else self.number(text, names) for text, kind in zip(rest, kinds)]
        said = pieces % tuple(values)
        if going_on and self.open:
            self.lines[-1] += said.rstrip("\n")
        else:
            self.lines.append(said.rstrip("\n"))
        self.open = not said.endswith("\n")

    def wanted(self, form):
        """Of the lines that exclude each other, the one of this run."""
        return not form.startswith('"EFER=') or \
            {"vmcs": ")" not in form, "autoload": "(autoload)" in form,
             "effective": "(effective)" in form}[self.efer] or self.in_host

    def run(self):
        """The lines, as if every condition held."""
        self.in_host = False
        for call, inside in PRINTED.findall(self.body):
            form, *rest = arguments(inside)
            self.in_host |= "Host State" in form
            if call.startswith("vmx_dump"):
                inner = PRINTED.search(body_of(self.text, call))
                name = form.strip('"')
                place = {"sel": Field[rest[0]], "limit": Field[rest[0]], "name": name}
                self.emit(*_split(arguments(inner[2])), place)
            elif self.wanted(form):
                self.emit(form, rest, {"i": 2 if form.startswith('"CR3 target%u=%016lx\\n')
                                       else 0}, call == "pr_cont")
        if self.efer != "vmcs" and f"({self.efer})" in self.body:
            self.told.pop("GUEST_IA32_EFER", None)
        return self.lines


def _split(parts):
    return parts[0], parts[1:]
