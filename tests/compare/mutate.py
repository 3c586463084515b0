# SPDX-License-Identifier: GPL-2.0-only
"""Random edits of a function on either side, as small as a reader could overlook."""

import dataclasses

from snippets import pins_of

from kvm_vmx.compare import rows
from kvm_vmx.compare.align import weave
from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.lexer import C, CYTHON, tokens
from kvm_vmx.compare.marks import Mark
from kvm_vmx.compare.pysource import PortFile

OPERATORS = {
    "+": "-", "&&": "||", "||": "&&", "==": "!=", "!=": "==", "<": ">=", ">": "<=", "<=": ">",
    ">=": "<", "|": "^", "|=": "&=", "&=": "|=", "<<": ">>", "+=": "-=", "-=": "+=",
    "and": "or", "or": "and",
}
KINDS = ("operator", "constant", "field", "negation", "arguments", "drop", "swap", "block")
STATEMENTS = {"=", "call", "return", "goto", "break", "continue", "asm", "post"}


def operator(source, found, random):
    """Another operator in the place of one."""
    return exchange(source, [token for token in found if token.text in OPERATORS], random,
                    lambda text: OPERATORS[text])


def constant(source, found, random):
    """Another number, or another name in capitals; not of a case that default stands beside:
    there every number does the same."""
    beside = {id(one) for one, colon, word in zip(found, found[1:], found[2:])
              if (colon.text, word.text) == (":", "default")}
    fit = [token for token in found if id(token) not in beside and (token.kind == "num" or (
        token.kind == "id" and token.text.isupper() and len(token.text) > 3))]
    return exchange(source, fit, random, lambda text: f"{text}_" if text[0].isalpha() else "7654")


def field(source, found, random):
    """Another member of a structure."""
    fit = [behind for dot, behind in zip(found, found[1:])
           if dot.text in ("->", ".") and behind.kind == "id"]
    return exchange(source, fit, random, lambda text: f"{text}_other")


def negation(source, found, random):
    """Without one `!` or `not`."""
    return exchange(source, [token for token in found if token.text in ("!", "not")], random,
                    lambda text: "")


def arguments(source, found, random):
    """Two different arguments of a call, exchanged."""
    fit = []
    for name, bracket in zip(found, found[1:]):
        if bracket.text == "(" and name.kind == "id" and name.text not in WORDS:
            places = spans(source, found, bracket)
            fit += [pair for pair in zip(places, places[1:])
                    if source[slice(*pair[0])].strip() != source[slice(*pair[1])].strip()]
    if not fit:
        return None
    (a, b), (c, d) = random.choice(fit)
    return source[:a] + source[c:d] + source[b:c] + source[a:b] + source[d:]


def spans(source, found, bracket):
    """Where each argument stands behind an opening bracket."""
    depth, begin, places = 0, bracket.offset + 1, []
    for token in found[found.index(bracket):]:
        depth += (token.text in "([{") - (token.text in ")]}")
        if depth == 0 or (depth == 1 and token.text == ","):
            places.append((begin, token.offset))
            begin = token.offset + 1
        if depth == 0:
            break
    return places


def exchange(source, fit, random, change):
    """The source with one of the fitting tokens changed, or None."""
    if not fit:
        return None
    token = random.choice(fit)
    end = token.offset + len(token.text)
    return source[:token.offset] + change(token.text) + source[end:]


def drop(units, random):
    """The units without one statement, or None."""
    fit = [n for n, unit in enumerate(units) if whole(unit)]
    if not fit:
        return None
    place = random.choice(fit)
    return units[:place] + units[place + 1:]


def swap(units, random):
    """The units with two neighbours exchanged, between the marks around them, or None; `carried`
    takes a mark along."""
    fit = [n for n, (one, two) in enumerate(zip(units, units[1:]))
           if whole(one) and whole(two) and one.parent is two.parent and one.key != two.key]
    if not fit:
        return None
    place = random.choice(fit)
    one, two = units[place:place + 2]
    return [*units[:place], dataclasses.replace(two, line=one.line, end=one.end),
            dataclasses.replace(one, line=two.line, end=two.end), *units[place + 2:]]


def block(units, random):
    """The units with the last statement of a block moved out of it, or None."""
    heads = {id(unit.parent) for unit in units}
    fit = [n for n, unit in enumerate(units) if whole(unit) and unit.parent is not None
           and id(unit) not in heads and all(
               other.parent is not unit.parent for other in units[n + 1:] if not other.silent)]
    if not fit:
        return None
    place = random.choice(fit)
    moved = dataclasses.replace(units[place], parent=units[place].parent.parent)
    return [*units[:place], moved, *units[place + 1:]]


def carried(function, mark, behind):
    """A function of the port in which a mark and its statements stand behind another unit, inside
    its block if it heads one; None where that says the same."""
    items = weave(function.units, function.marks)
    begin = items.index(mark)
    run = items[begin:begin + 1 + mark.pin.port]
    if any(behind is item for item in run):
        return None
    rest = [item for item in items if not any(item is one for one in run)]
    at = next(n for n, item in enumerate(rest) if item is behind) + 1
    inside = any(unit.parent is behind for unit in function.units) or behind.kind == "def"
    parent = behind if inside and behind.kind != "def" else behind.parent
    new, found, marks = {}, [], []
    for line, item in enumerate([*rest[:at], *run, *rest[at:]], 1):
        other = dataclasses.replace(item, line=line)
        if isinstance(item, Mark):
            marks.append(other)
            continue
        other.end = line
        above = item.parent
        if any(item is one for one in run) and not any(above is one for one in run):
            above = parent
        if above is not None and id(above) not in new:
            return None  # a block before its header
        other.parent = above and new[id(above)]
        new[id(item)] = other
        found.append(other)
    if said(found) == said(function.units):
        return None
    return dataclasses.replace(function, units=found, marks=marks)


def said(units):
    """What some units say in order: each in its blocks, declarations anywhere."""
    places = {id(unit): n for n, unit in enumerate(
        unit for unit in units if unit.kind != "decl" and not unit.silent)}
    return [(unit.key, unit.parent and places.get(id(unit.parent))) for unit in units
            if id(unit) in places]


def whole(unit) -> bool:
    """Whether a unit is a statement that stands for itself."""
    return unit.kind in STATEMENTS and not unit.silent


WORDS = {"if", "elif", "while", "for", "switch", "return", "and", "or", "not", "sizeof"}
TOKENS = {"operator": operator, "constant": constant, "field": field, "negation": negation,
          "arguments": arguments}
UNITS = {"drop": drop, "swap": swap, "block": block}


def edited_c(function, source: str, kind: str, random, config=None):
    """A function of the kernel with one edit, or None where no edit of the kind fits.

    `source` is the function's text, `function` what was read of it, stubs included.
    """
    if kind in UNITS:
        units = UNITS[kind](function.units, random)
        return units and dataclasses.replace(function, units=units)
    file = CFile(function.path, source, config)
    place = file.places[function.name]
    found = tokens(file.active.text, C, place.open + 1, place.close)
    changed = TOKENS[kind](source, found, random)
    if changed is None:
        return None
    again = CFile(function.path, changed, config).function(function.name)
    units = list(again.units)
    for n, unit in enumerate(function.units):
        if unit.kind == "stub":
            units.insert(n, unit)
    return dataclasses.replace(function, units=units)


def edited_port(function, source: str, kind: str, random):
    """A function of the port with one edit, or None where no edit of the kind fits."""
    if kind in UNITS:
        units = UNITS[kind](function.units, random)
        return units and dataclasses.replace(function, units=units)
    found = tokens(source, CYTHON, source.index("nogil:"))
    changed = TOKENS[kind](source, found, random)
    if changed is None:
        return None
    return PortFile(function.path, changed, pins_of(function)).functions[function.name][0]


def unexplained(kernel, port) -> int:
    """How many rows nothing explains."""
    void = port.units[0].key[1][1:] == ("void", 0)
    return sum(row.kind == "unexplained" for row in rows.compare(kernel, port, void))
