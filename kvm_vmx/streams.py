# SPDX-License-Identifier: GPL-2.0-only
"""The standard streams of a command: open, fit for any text, and obeyed by no terminal."""

import codecs
import errno
import os
import re
import sys

# What a terminal would obey, or would show in another order than it stands in.
CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What an encoding without them has instead; "?" would be a sign of `compare`.
SPELLED = {"≈": "i", "↕": "m", "·": ".", "…": "...", "→": "->", "←": "<-", "«": "<<", "»": ">>",
           "‹": "<", "›": ">"}
# How writing to a stream fails, as against opening a file.
OUTPUT = {errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT}


def plain(text: object) -> str:
    """Text from elsewhere on one line: a control character is shown, as \\x1b, not obeyed."""
    return CONTROL.sub(lambda hit: escaped(hit[0]), str(text))


def readable(text: str) -> str:
    """Likewise of many lines: line ends become \\n, and other blanks that C knows a space."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return CONTROL.sub(
        lambda hit: hit[0] if hit[0] in "\n\t" else " " if hit[0] in "\r\f\v" else escaped(hit[0]),
        text)


def escaped(character: str) -> str:
    """A character as Python and C spell it."""
    return character.encode("unicode_escape").decode()


def spelled(error: UnicodeError) -> tuple[str, int]:
    """The handler of what an encoding cannot say: another sign for it, or its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start:error.end]
    return "".join(SPELLED.get(sign) or sign.encode("ascii", "backslashreplace").decode()
                   for sign in text), error.end


codecs.register_error("kvm_vmx.spelled", spelled)


def is_ascii() -> bool:
    """Has the user asked for the locale C, by name? Python would take that for UTF-8."""
    if os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8"):
        return False
    asked = (os.environ.get("LC_ALL"), category(), os.environ.get("LANG"))
    return next(filter(None, asked), "") in ("C", "POSIX")


def category() -> str:
    """LC_CTYPE as this process was given it: Python writes there what it makes of C."""
    try:
        with open("/proc/self/environ", "rb") as file:
            given = dict(word.partition(b"=")[::2] for word in file.read().split(b"\0"))
    except OSError:
        return os.environ.get("LC_CTYPE", "")
    return given.get(b"LC_CTYPE", b"").decode(errors="replace")


def prepare() -> None:
    """Give each standard stream a file, and let no text be an error of theirs.

    A file that is opened later could otherwise take the number of a closed stream. Writing to
    what stands for a closed standard output fails, as it must; what nobody hears may be lost.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)
    encoding = "ascii" if is_ascii() else None
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding, errors="kvm_vmx.spelled")


def complain(text: object, who: str = "kvm-vmx") -> None:
    """One line on standard error."""
    try:
        print(f"{who}: {plain(text)}", file=sys.stderr, flush=True)
    except OSError:
        silence(2)


def silence(number: int) -> None:
    """Nobody reads a stream any more: keep the interpreter from flushing into it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
