# SPDX-License-Identifier: GPL-2.0-only
"""Of a tarball that xz has packed in blocks, the blocks alone in which a wanted file can lie.

Whoever packs a tree walks it, so what is in one folder stands together: between two members of
`drivers/gpu` there is nothing of `arch/x86`. The first member of each block is found by its
header, and a block between two members of a folder that holds nothing wanted stays packed.
"""

import concurrent.futures
import io
import lzma
import os
import pathlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeVar

from kvm_vmx.tarball import (BROKEN, MOST_UNPACKED, Member, forward, members, named,
                             path_of)

HEADER = FOOTER = 12
# Bytes of a block in which its first member is looked for, and then all of it.
PEEKS = (1 << 16, 1 << 19, 1 << 22, -1)
MOST_OF_A_BLOCK = 64 << 20
MOST_WANTED = 256 << 20     # kept in memory until all is known to be whole
THREADS = min(os.cpu_count() or 1, 4)
Task = TypeVar("Task")
Result = TypeVar("Result")
FEW = 4                 # blocks: fewer are read one after another


class Odd(Exception):
    """The archive is of another kind: it has to be read from its beginning to its end."""


class XzBlock(NamedTuple):
    """One block: where it lies, and how long it is packed and unpacked."""

    place: int
    packed: int
    size: int


def number(data: bytes, at: int) -> tuple[int, int]:
    """A number of the index, seven bits a byte, and where the next one is."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 56:
            raise Odd("a number without an end")
        value |= (data[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def blocks(file: BinaryIO) -> list[XzBlock]:
    """The blocks of a file with one stream, by the index at its end."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - FOOTER, 0))
    footer = file.read(FOOTER)
    if len(footer) < FOOTER or footer[-2:] != b"YZ":
        raise Odd("no footer")
    size = 4 * (int.from_bytes(footer[4:8], "little") + 1)
    if size > end - FOOTER - HEADER:
        raise Odd("an index longer than the file")
    file.seek(end - FOOTER - size)
    index = file.read(size)
    count, at = number(index, 1)
    found, place = [], HEADER
    for _ in range(count):
        packed, at = number(index, at)
        unpacked, at = number(index, at)
        found.append(XzBlock(place, packed, unpacked))
        place += packed + -packed % 4
    if index[:1] != b"\0" or place != end - FOOTER - size:
        raise Odd("more than one stream")
    return found


def unpacked(file: BinaryIO, block: XzBlock, most: int = -1) -> bytes:
    """What a block holds, or the beginning of it; a whole one is held to its checksum."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    packed = block.packed + -block.packed % 4 if most < 0 else min(block.packed, most)
    data = decoder.decompress(os.pread(file.fileno(), HEADER, 0)
                              + os.pread(file.fileno(), packed, block.place), most)
    if most < 0 and len(data) != block.size:
        raise Odd("a block of another length")
    return data


def first_header(data: bytes) -> tuple[int, str] | None:
    """Where the first header of a member is that an archive's bytes have, and the member's name."""
    at = data.find(b"ustar")
    while at >= 0:
        begin = at - 257
        header = data[begin:begin + tarfile.BLOCKSIZE] if begin >= 0 else b""
        if begin % tarfile.BLOCKSIZE == 0 and len(header) == tarfile.BLOCKSIZE:
            try:
                return begin, Member.frombuf(header, "utf-8", "replace").name
            except tarfile.HeaderError:
                pass
        at = data.find(b"ustar", at + 1)
    return None


def first_member(file: BinaryIO, block: XzBlock) -> tuple[bytes, tuple[int, str]]:
    """The beginning of a block, as far as its first header, and what that is."""
    for most in PEEKS:
        data = unpacked(file, block, most)
        if found := first_header(data):
            return data, found
    raise Odd("a block without a member")


def folders(name: str) -> list[str]:
    """The folders that a member stands in, without the archive's own."""
    return name.removeprefix("./").rstrip("/").split("/")[1:-1]


def can_hold(name: str, other: str, roots: Iterable[str]) -> bool:
    """Whether a wanted file can stand between two members."""
    common = os.path.commonprefix([folders(name), folders(other)])
    return not common or any(
        all(named([wanted]).fullmatch(folder) for folder, wanted in zip(common, root.split("/")))
        for root in roots)


def walked(names: list[str]) -> bool:
    """Whether the members come as a walk through a tree has them: no folder a second time."""
    tops = [(folders(name) or [""])[0] for name in names]
    left = [top for n, top in enumerate(tops) if n and tops[n - 1] != top and top]
    return len(left) == len(set(left))


def by_few(pool: concurrent.futures.ThreadPoolExecutor, function: Callable[[Task], Result],
           items: list[Task]) -> Iterator[tuple[Task, Result]]:
    """(item, result) in order, with no more results at once than there are threads."""
    for begin in range(0, len(items), THREADS):
        some = items[begin:begin + THREADS]
        yield from zip(some, pool.map(function, some))


def chosen(path: str | os.PathLike[str], roots: Iterable[str]
           ) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """(member, its archive) of the blocks in which a wanted file can lie; Odd where the archive is
    not one of which that is known."""
    with open(path, "rb") as file:
        every = blocks(file)
        if len(every) < FEW or sum(block.size for block in every) > MOST_UNPACKED \
                or max(block.size for block in every) > MOST_OF_A_BLOCK \
                or any(block.size % tarfile.BLOCKSIZE for block in every[:-1]):
            raise Odd("few blocks, or large ones")
        heads: list[bytes] = []
        starts: list[tuple[int, str]] = []
        for block in every:
            data, found = first_member(file, block)
            heads.append(data[:found[0]])
            starts.append(found)
        names = [name for _, name in starts]
        if starts[0][0] or not walked(names):
            raise Odd("not as a walk through a tree")
        wanted = [n for n in range(len(every)) if n + 1 == len(every)
                  or can_hold(names[n], names[n + 1], roots)]
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for n, data in by_few(pool, lambda n: unpacked(file, every[n]), wanted):
                rest = heads[n + 1] if n + 1 < len(every) else b""
                with forward(io.BytesIO(data[starts[n][0]:] + rest)) as archive:
                    for member in members(archive):
                        yield member, archive


def unpack(path: str | os.PathLike[str], names: Sequence[str],
           to: str | os.PathLike[str]) -> bool:
    """Unpack what is named, as tarball.only() says, out of the blocks that can have any; False,
    with nothing done, where it is not known which, or there is more than plain files, or than
    is kept in memory."""
    wanted, files, left = named(names), {}, MOST_WANTED
    try:
        for member, archive in chosen(path, names):
            name = path_of(member)
            if not wanted.fullmatch(name) or member.isdir():
                continue
            left -= tarfile.BLOCKSIZE + len(name) + member.size
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or ".." in name.split("/") or left < 0:
                return False
            files[name] = file.read()
    except (*BROKEN, OSError, Odd):
        return False
    for name, data in files.items():
        target = pathlib.Path(to, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return True
