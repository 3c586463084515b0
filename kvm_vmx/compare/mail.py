# SPDX-License-Identifier: GPL-2.0-only
"""The patches of a mail, a mailbox or `git format-patch`: hunks, and what was said between them.

A patch may be quoted to any depth. What stands at a lesser depth between its lines is a remark
of whoever wrote at that depth. Nothing here runs, and nothing of a file is believed: sizes have
limits, and control characters are spelled.
"""

import email
import email.errors
import email.policy
import email.utils
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from typing import NamedTuple

from kvm_vmx.console import Trouble, told
from kvm_vmx.streams import plain, readable

MOST, MOST_LINES, DEEPEST = 16 << 20, 200_000, 12
MAILBOX = re.compile(rb"^From [^\s]+ .*\d\d:\d\d:\d\d.*$\n", re.M)
QUOTE = re.compile(r"(?:>[ ]?)*")
HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@ ?(.*)")
WROTE = re.compile(r"(?:.*(?:, |\d ))?(?P<name>[^,<>\d][^,<>]*?)\s*(?:<[^>]*>)?"
                   r"\s+(?:writes|wrote):$")
JOINED = re.compile(r"(?<=[;{})])> ?(?=[-+ ](?:\t|  |[}#/]|$))")
CUT = re.compile(r"\[?(?:\.\.\.+|…|snip|SNIP|--8<--)\]?\s*$")
STAT = re.compile(r"(\d+) insertions?\(\+\)")


class HunkLine(NamedTuple):
    """One line of a hunk: its sign, its text, its line in the file read."""

    sign: str
    text: str
    number: int


@dataclass
class Remark:
    """What somebody said behind a line of a hunk; `after` counts the hunk's lines before it."""

    author: str
    number: int
    after: int
    text: str


@dataclass
class Hunk:
    """One hunk: where it says to stand, the lines that are there, and the remarks among them."""

    file: str
    old: tuple[int, int]
    new: tuple[int, int]
    heading: str
    number: int
    lines: list[HunkLine] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def quoted(self, drop: str) -> int:
        """How many lines of one side are here."""
        return sum(line.sign != drop for line in self.lines)

    @property
    def full(self) -> bool:
        """Whether both sides have the lines that the hunk's header promises."""
        return self.quoted("+") >= self.old[1] and self.quoted("-") >= self.new[1]

    @property
    def cut(self) -> str:
        """What of the hunk is not in the mail, in words."""
        old, new = self.old[1] - self.quoted("+"), self.new[1] - self.quoted("-")
        if old <= 0 and new <= 0:
            return ""
        return (f"{self.quoted('-')} of {self.new[1]} lines are quoted" if new > 0 else
                f"{self.quoted('+')} of {self.old[1]} old lines are quoted")


@dataclass
class Patch:
    """One patch: its subject, who wrote it, and its hunks in order."""

    subject: str
    author: str
    date: str = ""
    hunks: list[Hunk] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    insertions: int | None = None

    def missing(self) -> list[tuple[Hunk, int]]:
        """Each hunk before which others are not quoted, with the net lines of these."""
        found: dict[int, tuple[Hunk, int]] = {}
        shift: dict[str, int] = {}
        for hunk in self.hunks:
            gap = hunk.new[0] - hunk.old[0] - shift.get(hunk.file, 0)
            if gap:
                found[id(hunk)] = (hunk, gap)
            shift[hunk.file] = hunk.new[0] - hunk.old[0] + hunk.new[1] - hunk.old[1]
        return list(found.values())


def read(path: str) -> list[Patch]:
    """The patches of a file; Trouble where it has none."""
    patches = [patch for message in messages(content(path)) for patch in in_message(*message)]
    if not patches:
        raise Trouble(f"no patch in {plain(path)}: give a mail, an mbox, or what "
                      "`git format-patch` writes")
    return patches


def content(path: str, cure: str = "give a mail or a patch") -> bytes:
    """What a file holds; nothing that could block or never end is read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Trouble(f"cannot read {plain(path)}: it is no regular file: {cure}")
            data = file.read(MOST + 1)
    except (OSError, ValueError) as error:
        text = told(error) if isinstance(error, ValueError) else error.strerror
        raise Trouble(f"cannot read {plain(path)}: {text}: {cure}") from error
    if len(data) > MOST:
        raise Trouble(f"cannot read {plain(path)}: more than {MOST:,} bytes: {cure}")
    return data


def messages(data: bytes) -> Iterator[tuple[str, str, str, str]]:
    """(subject, author, date, text) of each message of a file."""
    parts = [part for part in MAILBOX.split(data) if part.strip()]
    for part in parts:
        if not re.match(rb"[\w-]+:", part):
            yield "", "", "", readable(part.decode("utf-8", "replace"))
            continue
        mail = email.message_from_bytes(part, policy=email.policy.compat32)
        subject, author, date = (plain(header(mail, name)) for name in ("Subject", "From", "Date"))
        yield subject, author, date, body(mail)


def header(mail: Message, name: str) -> str:
    """One header, decoded, its folds undone."""
    from email.header import decode_header, make_header

    text = mail.get(name) or ""
    try:
        text = str(make_header(decode_header(text)))
    except (LookupError, ValueError, email.errors.MessageError):
        text = str(text)
    return " ".join(text.partition("\t[")[0].split())


def body(mail: Message) -> str:
    """The text of a message: of all its parts that are text."""
    found = []
    for part in mail.walk():
        if part.get_content_maintype() != "text":
            continue
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):     # it says that it is text, and has parts
            data = b""
        try:
            found.append(data.decode(part.get_content_charset() or "utf-8", "replace"))
        except LookupError:
            found.append(data.decode("utf-8", "replace"))
    return readable("\n".join(found))


def quoted(text: str) -> Iterator[tuple[int, int, str, bool]]:
    """(number, depth, what is said) of each line; two lines that ran together are two again."""
    for number, row in enumerate(text.split("\n")[:MOST_LINES], 1):
        hit = QUOTE.match(row)
        marks = hit[0] if hit else ""
        depth = min(marks.count(">"), DEEPEST)
        row = row[len(marks):]
        parts = JOINED.split(row) if depth else [row]
        for n, part in enumerate(parts):
            yield number, depth, part, n > 0


def name_of(address: str) -> str:
    """Who an address is of."""
    return email.utils.parseaddr(address)[0] or address


class MailState:
    """The state of reading one message."""

    def __init__(self, subject: str, author: str, date: str):
        self.subject, self.date = subject, date
        self.authors = {0: name_of(author)}
        self.patches: list[Patch] = []
        self.patch: Patch | None = None
        self.hunk: Hunk | None = None
        self.depth = -1
        self.files = ["", ""]
        self.over: set[int] = set()     # depths at which a signature began
        self.insertions: int | None = None
        self.before: list[tuple[int, int, str]] = []

    def take(self, number: int, depth: int, text: str, joined: bool) -> None:
        """One line of the message."""
        if depth < 1 and text.rstrip() == "--" and self.depth != 0:
            self.over.add(depth)
        if hit := WROTE.match(text.strip()):
            self.authors[depth + 1] = hit["name"].strip()
            return
        if hit := STAT.search(text):
            self.insertions = int(hit[1])
        if self.opened(depth, text) or self.header(number, depth, text):
            return
        if self.hunk is None:
            self.before.append((number, depth, text))
        elif depth == self.depth:
            self.line(self.hunk, number, text, joined)
        elif depth < self.depth and depth not in self.over:
            self.remark(self.hunk, number, depth, text)

    def opened(self, depth: int, text: str) -> bool:
        """Whether a line begins a patch or names its files."""
        if not text.startswith(("diff --git ", "--- a/", "--- /dev/null", "+++ ")):
            return False
        if self.hunk is not None and depth == self.depth and not self.hunk.full \
                and not text.startswith("diff "):
            return False
        if text.startswith("diff --git ") or self.patch is None:
            self.depth = depth
            if self.patch is None or self.hunk is None and not self.patch.hunks:
                self.begin(depth)
            self.hunk = None
        if not text.startswith("diff --git "):
            name = text[4:].split("\t")[0].strip()
            self.files[text.startswith("+++")] = name.partition("/")[2] \
                if name[:2] in ("a/", "b/") else ""
            self.hunk = None
        return True

    def begin(self, depth: int) -> Patch:
        """A patch begins at a depth."""
        if self.patch is not None and not self.patch.hunks:
            return self.patch
        author = self.authors.get(depth, "") or (self.authors[0] if depth == 0 else "")
        self.patch = Patch(self.subject, author, self.date, insertions=self.insertions)
        self.patches.append(self.patch)
        for number, other, text in self.before:
            if other < depth and text.strip():
                said = self.patch.remarks
                if said and said[-1].author == self.authors.get(other, ""):
                    said[-1].text += "\n" + text
                else:
                    said.append(Remark(self.authors.get(other, ""), number, 0, text))
        self.before = []
        return self.patch

    def header(self, number: int, depth: int, text: str) -> bool:
        """Whether a line is the header of a hunk."""
        hit = HUNK.match(text)
        if not hit:
            return False
        patch = self.patch or self.begin(depth)
        self.depth = depth
        old, olds, new, news = (int(part) if part else 1 for part in hit.groups()[:4])
        file = self.files[1] or self.files[0]
        self.hunk = Hunk(file, (old, olds), (new, news), hit[5].strip(), number)
        patch.hunks.append(self.hunk)
        return True

    def line(self, hunk: Hunk, number: int, text: str, joined: bool) -> None:
        """A line at the patch's depth: of the hunk, or behind it."""
        if hunk.full or text[:1] == "\\":
            return
        if text.rstrip() == "--" and text[:3] == "-- ":
            hunk.notes.append("the hunk ends at a signature")
            self.hunk = None
            return
        if text[:1] not in (" ", "+", "-", ""):
            hunk.notes.append(f"line {number} has no sign: it may be the end of the one before")
            if hunk.lines:
                last = hunk.lines[-1]
                hunk.lines[-1] = last._replace(text=f"{last.text} {text}")
            return
        if joined:
            hunk.notes.append(f"line {number} holds two lines of the patch")
        hunk.lines.append(HunkLine(text[:1] or " ", text[1:], number))

    def remark(self, hunk: Hunk, number: int, depth: int, text: str) -> None:
        """A line of somebody who answers."""
        author = self.authors.get(depth, "")
        if CUT.match(text.strip()):
            hunk.notes.append(f"{author or 'somebody'} cut the quote at line {number}")
            return
        last = hunk.remarks[-1] if hunk.remarks else None
        if last is not None and last.author == author and last.after == len(hunk.lines):
            last.text += "\n" + text
        elif text.strip():
            hunk.remarks.append(Remark(author, number, len(hunk.lines), text))


def in_message(subject: str, author: str, date: str, text: str) -> list[Patch]:
    """The patches of one message."""
    reading = MailState(subject, author, date)
    for line in quoted(text):
        reading.take(*line)
    patches = [patch for patch in reading.patches if patch.hunks]
    for patch in patches:
        for remark in (*patch.remarks, *(r for hunk in patch.hunks for r in hunk.remarks)):
            remark.text = remark.text.strip()
    return patches
