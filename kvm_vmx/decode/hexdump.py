# SPDX-License-Identifier: GPL-2.0-only
"""Reads a page that somebody has printed: xxd, hexdump, od, gdb, crash, QEMU, windbg, plain hex."""

import re
from collections.abc import Iterator

from kvm_vmx.decode.dumps import cleaned

LONGEST = 1 << 20          # bytes of a page, and of some
# An address before the data: "00000010:", "0000010 ", "0xffff...:  ", "fffff800`12345678 ".
ADDRESS = re.compile(r"(?:0x)?([0-9a-fA-F]+(?:`[0-9a-fA-F]{8})?)(:?)(?:\s+<[^>]*>:?)?(\s+|$)")
PLAIN = re.compile(r"[0-9a-fA-F]+$")
WORD = re.compile(r"(?:0x)?([0-9a-fA-F]+)$")


class _Line:
    """A line of a dump: its address as text, "" without one, is a colon behind it, the words."""

    def __init__(self, digits: str, colon: bool, words: list[str]) -> None:
        self.digits, self.colon, self.words = digits, colon, words
        self.address = int(digits, 16) if digits else None


def read_hex(text: str) -> list[bytes]:
    """What the text may stand for: its bytes as printed and, where it has words, also as
    little-endian words; none where it is no dump. The likelier reading comes first."""
    lines = _addressed(list(_lines(cleaned(text))))
    words = [word for line in lines if isinstance(line, _Line) for word in line.words]
    if sum(map(len, words)) < 32:
        return []
    found = []
    wide = len(words[0]) > 2
    colon = any(isinstance(line, _Line) and line.colon for line in lines)
    prefixed = "0x" in text
    orders = [True, False] if wide and (prefixed or not colon) else [False, True]
    plain = all(isinstance(line, _Line) and line.address is None for line in lines)
    for little in orders if not plain else [False]:
        data = _together(lines, little)
        if data and data not in found:
            found.append(data)
    return found


def _addressed(lines: list["_Line | str"]) -> list["_Line | str"]:
    """The lines, where some have addresses without the others; a word alone is the end's."""
    if not any(isinstance(line, _Line) and line.address is not None for line in lines):
        return lines
    found: list[_Line | str] = []
    for line in lines:
        if isinstance(line, str) or line.address is not None:
            found.append(line)
        elif len(line.words) == 1 and found and len(line.words[0]) > 4:
            found.append(_Line(line.words[0], False, []))
    return _in_octal(found)


def _in_octal(lines: list["_Line | str"]) -> list["_Line | str"]:
    """The lines, their addresses in octal where that fits the first two, as od has it."""
    first = [line for line in lines if isinstance(line, _Line) and line.words][:2]
    if len(first) == 2 and all(re.fullmatch("[0-7]+", line.digits) for line in first):
        length = sum(map(len, first[0].words)) // 2
        if int(first[1].digits, 8) - int(first[0].digits, 8) == length:
            for line in lines:
                if isinstance(line, _Line) and re.fullmatch("[0-7]+", line.digits):
                    line.address = int(line.digits, 8)
    return lines


def _lines(text: str) -> Iterator["_Line | str"]:
    """The lines that have data, and "*" where hexdump and od leave out what is the same."""
    for line in map(str.strip, text.splitlines()):
        if line == "*":
            yield line
        elif (found := _with_address(line) or _bare(line)) is not None:
            yield found


def _with_address(line: str) -> _Line | None:
    start = ADDRESS.match(line)
    if start is None or not (start[2] or start[3]):
        return None
    words = _words(line[start.end():])
    if not words:
        # the last line of hexdump is an address alone
        return None
    if not start[2] and len(start[1]) == len(words[0]) and len(start[1]) <= 2:
        return None                 # bytes, and no address before them
    return _Line(start[1].replace("`", ""), bool(start[2]), words)


def _bare(line: str) -> _Line | None:
    words = line.split()
    if not all(len(word) == len(words[0]) and not len(word) % 2 and PLAIN.match(word)
               for word in words):
        words = _words(line)
    return _Line("", False, words) if words else None


def _words(text: str) -> list[str]:
    """The words of data at the start, all equally long; what stands behind is their letters."""
    words: list[str] = []
    for part in re.split(r"(\s+)", text.replace("-", " ")):
        if not part or part.isspace():
            if words and len(part) > 2 and sum(map(len, words)) >= 32:
                break                # the column of letters
            continue
        hit = WORD.match(part)
        if hit is None or len(hit[1]) % 2 or (words and len(hit[1]) != len(words[0])):
            break
        words.append(hit[1])
        if sum(map(len, words)) >= 128 and len(words[0]) <= 16:
            break
    return words


def _together(lines: list["_Line | str"], little: bool) -> bytes:
    """The bytes of all lines, each at its address; b"" where they cannot be put together."""
    data, base, repeat = bytearray(), None, False
    last = b""
    for line in lines:
        if isinstance(line, str):
            repeat = True
            continue
        try:
            part = b"".join(bytes.fromhex(word)[::-1 if little else 1] for word in line.words)
        except ValueError:
            return b""
        if line.address is not None:
            base = line.address - len(data) if base is None else base
            gap = line.address - base - len(data)
            if not 0 <= gap <= LONGEST or gap and not repeat:
                gap = 0
            data += (last * (gap // len(last) + 1))[:gap] if gap and last else b""
        data += part
        last, repeat = part or last, False
        if len(data) > LONGEST:
            return b""
    if repeat and last and len(data) < 4096:
        data += (last * (4096 // len(last)))[:4096 - len(data)]
    return bytes(data)
