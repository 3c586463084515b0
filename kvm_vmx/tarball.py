# SPDX-License-Identifier: GPL-2.0-only
"""A tarball from its beginning to its end, with little work for each of its members.

A kernel's has a hundred thousand, of which a few are wanted. What the standard library does for
each, and for each block of what it passes over, takes as long as the unpacking itself.
"""

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol, Self

# What reading one raises that is not whole.
BROKEN = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)
MOST_UNPACKED = 16 << 30    # a release of Linux unpacks to 2 GB
LONGEST_NAME = 1 << 20  # of a member of a tarball, in bytes
DESCRIBING = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
              tarfile.GNUTYPE_LONGLINK}
AT_ONCE = 1 << 16
PLAIN = b"0"
NAME, SIZE, SUM, TYPE, PREFIX = (
    slice(0, 100), slice(124, 135), slice(148, 156), slice(156, 157), slice(345, 500))
BLANK = sum(b" " * 8)   # what the sum of a header counts for the sum itself


def path_of(member: tarfile.TarInfo) -> str:
    """Where a member stands in the tree that is packed."""
    return member.name.removeprefix("./").partition("/")[2]


def named(names: Iterable[str]) -> re.Pattern[str]:
    """What is called so, or lies in a folder that is; a star is for all that has no slash."""
    return re.compile("(?:%s)(?:/.*)?" % "|".join(
        re.escape(name).replace(r"\*", "[^/]*") for name in names))


def only(names: Iterable[str]) -> list[str]:
    """How GNU tar is told the same."""
    return ["--strip-components=1", "--wildcards", "--no-wildcards-match-slash",
            *(f"*/{name}" for name in names)]


class ForwardStream(Protocol):
    """What can be read on."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Put the next bytes there; how many they are."""


class Forward:
    """A stream as a file that can only be gone forward in."""

    def __init__(self, stream: ForwardStream):
        self.stream, self.at = stream, 0
        self.waste = memoryview(bytearray(AT_ONCE))

    def tell(self) -> int:
        """How many bytes were read or passed over."""
        return self.at

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        found = self.stream.read(size)
        self.at += len(found)
        return found

    def seek(self, place: int) -> None:
        """Pass over what lies before a place, or all there is."""
        if place < self.at:
            raise tarfile.StreamError("a member lies before the one that was read last")
        while self.at < place:
            count = self.stream.readinto(self.waste[:min(place - self.at, AT_ONCE)])
            if not count:
                break
            self.at += count


class Member(tarfile.TarInfo):
    """A member of a tarball; what describes it is read into memory, and so has a limit."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A member by its header: of a plain file no more than its name and its size."""
        if buf[TYPE] == PLAIN and len(buf) == tarfile.BLOCKSIZE and buf[SIZE].isdigit():
            said = buf[SUM].strip(b" \0")
            if said.isdigit() and int(said, 8) == sum(buf) - sum(buf[SUM]) + BLANK:
                member = cls("/".join(
                    part.partition(b"\0")[0].decode(encoding, errors)
                    for part in (buf[PREFIX], buf[NAME]) if part[0]))
                member.size, member.type = int(buf[SIZE], 8), tarfile.REGTYPE
                return member
        return super().frombuf(buf, encoding, errors)

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        if self.size > LONGEST_NAME and self.type in DESCRIBING:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        # what tarfile calls for a subclass to change is in no stub
        member: Self = super()._proc_member(archive)  # type: ignore[misc]
        return member


def forward(stream: ForwardStream) -> tarfile.TarFile:
    """An archive that is not packed, to be read from its beginning to its end."""
    # the stubs ask for a file that is written as well
    archive: tarfile.TarFile = tarfile.open(  # type: ignore[call-overload]
        fileobj=Forward(stream), mode="r:", tarinfo=Member)
    return archive


def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members one after another; none is kept."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # documented, and in no stub
        yield member
