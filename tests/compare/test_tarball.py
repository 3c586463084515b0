# SPDX-License-Identifier: GPL-2.0-only
"""The quick way through a tarball against the standard library's: the same members, fewer calls."""

import io
import random
import sys
import tarfile

import pytest

from kvm_vmx.tarball import Forward, Member, members

LONG = "linux-6.1/" + "d" * 60 + "/" + "e" * 60 + "/" + "f" * 30 + ".c"


def archive(form, count=40):
    """A tarball with directories, links, names of every length, and what is in each file."""
    chance = random.Random(form)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("linux-6.1")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for n in range(count):
            member = tarfile.TarInfo(LONG if n == 7 else f"linux-6.1/dir{n % 5}/file{n}.c")
            member.size = chance.choice((0, 1, 511, 512, 513, 70_000))
            tar.addfile(member, io.BytesIO(bytes([n % 256]) * member.size))
        link = tarfile.TarInfo("linux-6.1/link.c")
        link.type, link.linkname = tarfile.SYMTYPE, "dir0/file0.c"
        tar.addfile(link)
    return made.getvalue()


def quick(data):
    with tarfile.open(fileobj=Forward(io.BytesIO(data)), mode="r:", tarinfo=Member) as tar:
        return [(one.name, one.isfile(), one.size,
                 tar.extractfile(one).read() if one.isfile() and "3" in one.name else b"")
                for one in members(tar)]


def usual(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        return [(one.name, one.isfile(), one.size,
                 tar.extractfile(one).read() if one.isfile() and "3" in one.name else b"")
                for one in tar]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_members_are_the_librarys(form):
    data = archive(form)
    assert quick(data) == usual(data)
    assert any(name == LONG for name, *_ in quick(data))


@pytest.mark.parametrize("place", [0, 100, 124, 148, 257, 512 * 3 + 150])
def test_a_header_that_is_none_is_told_as_the_library_tells_it(place):
    data = bytearray(archive(tarfile.USTAR_FORMAT))
    data[place] ^= 0x21
    results = []
    for way in (quick, usual):
        try:
            results.append(way(bytes(data)))
        except tarfile.TarError as error:
            results.append(type(error))
    assert results[0] == results[1]


def test_an_end_that_comes_early_is_no_end():
    data = archive(tarfile.USTAR_FORMAT)
    with pytest.raises(tarfile.ReadError):
        quick(data[:len(data) // 2 - 7])


def test_nobody_goes_back():
    file = Forward(io.BytesIO(b"x" * 100))
    file.seek(50)
    assert file.read(3) == b"xxx" and file.tell() == 53
    with pytest.raises(tarfile.StreamError):
        file.seek(52)
    file.seek(1000)
    assert file.read(1) == b"" and file.tell() == 100


def calls(way, data) -> int:
    """How many functions a way through a tarball calls, the interpreter's own among them."""
    count = 0

    def note(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        way(data)
    finally:
        sys.setprofile(None)
    return count


def test_a_member_that_nobody_wants_costs_half_the_calls():
    data = archive(tarfile.USTAR_FORMAT, 2000)
    assert 2 * calls(quick, data) < calls(usual, data)
