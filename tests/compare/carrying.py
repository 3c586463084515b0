# SPDX-License-Identifier: GPL-2.0-only
"""A mark of the port carried elsewhere together with its statements, as an edit of the text."""

from kvm_vmx.compare.align import weave
from kvm_vmx.compare.marks import Mark


def edits(source: str, lines, places):
    """(begin, end, the text there then) of each mark with its statements behind the line that
    follows them: in its block, in the one that it opens, or out of theirs."""
    starts = [line.tokens[0].offset - line.indent for line in lines]
    for begin, end in places:
        first = next((n for n, at in enumerate(starts) if at >= begin), len(starts))
        after = next((n for n, at in enumerate(starts) if at >= end), len(starts))
        if first == after or after == len(starts) \
                or lines[after].tokens[0].text in ("cdef", "else", "elif"):
            continue
        last = lines[after].tokens[-1]
        stop = starts[after + 1] if after + 1 < len(starts) else last.offset + len(last.text)
        more = lines[after].indent + 4 * (last.text == ":") - lines[first].indent
        if all(line.indent + more >= 0 for line in lines[first:after]):
            yield begin, stop, f"{source[end:stop].rstrip()}\n{indented(source[begin:end], more)}"


def marked(file, name: str) -> list[tuple[int, int]]:
    """Where the lines of each mark begin, and where those of its statements end."""
    found = []
    function, *_ = file.functions[name]
    items = weave(function.units, function.marks)
    for n, mark in enumerate(items):
        if not isinstance(mark, Mark) or mark.line <= function.line or not mark.pin \
                or mark.trailing:
            continue
        mine = items[n + 1:n + 1 + mark.pin.port]
        if not any(isinstance(item, Mark) for item in mine) \
                and not all(unit.kind == "decl" for unit in mine):
            end = max(unit.end for unit in mine)
            found.append((file.lines.starts[mark.line - 1], file.lines.starts[end]))
    return found


def indented(text: str, more: int) -> str:
    """A text with each line so much further in."""
    return "".join(row if not row.strip() else " " * more + row if more >= 0 else row[-more:]
                   for row in text.splitlines(True))
