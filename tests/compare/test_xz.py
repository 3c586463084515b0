# SPDX-License-Identifier: GPL-2.0-only
"""A tarball of which only some blocks are unpacked against the same one read whole."""

import io
import random
import subprocess
import tarfile
import tracemalloc

import pytest

from kvm_vmx import xz
from kvm_vmx.compare import opening
from kvm_vmx.compare.opening import TreeError, read_blocks, read_tarball
from kvm_vmx.tarball import only

BLOCK = 1 << 14
KERNEL = ["Makefile", "arch/x86/kvm/vmx.c", "arch/x86/kvm/vmx/nested.c", "arch/x86/hyperv/nested.c",
          "include/linux/kvm_host.h", "kernel/jump_label.c", "virt/kvm/kvm_main.c"]
FILLED = ["arch/arm/boot", "drivers/gpu/drm", "drivers/net", "fs/ext4", "sound/soc", "tools/perf"]


def packed(path, names, block=BLOCK, links=()):
    """A tarball of some files in this order, each of chance's bytes, in blocks of xz."""
    chance, made = random.Random(1), io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(f"linux-6.1/{name}")
            noise = chance.randbytes(chance.randrange(3000)).hex()
            text = f"/* {name} */\n{noise}".encode()
            member.size = len(text)
            if name in links:
                member.size, member.type, member.linkname = 0, tarfile.SYMTYPE, "kvm_main.c"
            archive.addfile(member, io.BytesIO(text))
    done = subprocess.run(["xz", "-0", f"--block-size={block}", "-c"], input=made.getvalue(),
                          capture_output=True, check=True)
    path.write_bytes(done.stdout)
    return path


def walk():
    """The names as a walk has them."""
    return sorted(KERNEL + [f"{place}/file{n}.c" for place in FILLED for n in range(40)])


@pytest.fixture
def tarball(tmp_path):
    return packed(tmp_path / "linux.tar.xz", walk())


@pytest.mark.host("xz")
def test_the_files_are_those_of_the_whole(tarball, monkeypatch):
    asked, real = [], xz.unpacked
    monkeypatch.setattr(xz, "unpacked", lambda file, block, most=-1: (
        asked.append(block) if most < 0 else None) or real(file, block, most))
    files = read_blocks(tarball)
    assert files == read_tarball(tarball) and set(files) == set(KERNEL)
    with open(tarball, "rb") as file:
        every = xz.blocks(file)
    assert len(every) > 20 and 0 < len(set(asked)) < len(every) / 2


@pytest.mark.host("xz")
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_every_order_of_the_folders(tmp_path, seed, soak):
    """A walk that takes folders as they come reads the same; another order is read whole."""
    if seed > 1 and not soak:
        pytest.skip("a soak has more orders")
    chance = random.Random(seed)
    tops = sorted({name.partition("/")[0] for name in walk()})
    chance.shuffle(tops)
    names = [name for top in tops for name in walk() if name.partition("/")[0] == top]
    path = packed(tmp_path / "walked.tar.xz", names)
    assert read_blocks(path) == read_tarball(path)
    chance.shuffle(names)
    path = packed(tmp_path / "strewn.tar.xz", names)
    assert read_blocks(path) in ({}, read_tarball(path))


@pytest.mark.host("xz")
def test_what_is_wrong_is_left_to_who_reads_all(tarball, tmp_path):
    data = tarball.read_bytes()
    with open(tarball, "rb") as file:
        last = xz.blocks(file)[-1]
    spoilt = bytearray(data)
    spoilt[last.place + last.packed // 2] ^= 0x40
    for text in (bytes(spoilt), data[:-7], data[:-40] + data[-12:], b"", data[:12] + data[-12:]):
        tarball.write_bytes(text)
        assert read_blocks(tarball) == {}
        with pytest.raises(TreeError):
            read_tarball(tarball)
    assert read_blocks(packed(tmp_path / "one.tar.xz", walk(), 1 << 26)) == {}
    assert opening.open_tree(str(packed(tmp_path / "other.tar.xz", walk()))).files


def test_where_a_wanted_file_can_lie():
    roots = opening.ROOTS
    for one, other, can in (
            ("l/drivers/gpu/a.c", "l/drivers/net/b.c", False),
            ("l/arch/a/x.c", "l/arch/b/y.c", True),
            ("l/arch/arm/x.c", "l/arch/arm/z.c", False), ("l/arch/x86/a.c", "l/arch/x86/z.c", True),
            ("l/arch/x86/kvm/a.c", "l/arch/x86/kvm/b.c", True), ("l/a.c", "l/fs/b.c", True),
            ("l/kernel/a.c", "l/kernel/trace/b.c", True), ("l/virt/a.c", "l/virt/b.c", True),
            ("l/lib/a.c", "l/lib/z.c", True),
            ("l/arch/x86/kvmx/a.c", "l/arch/x86/kvmx/b.c", False)):
        assert xz.can_hold(one, other, roots) is can, (one, other)


def test_where_what_a_star_names_can_lie():
    """It stands for a part of one name: all that named() takes can lie there."""
    roots = ("arch/x86/*/vmx.c", "tools/testing/*.h", "drivers/n*t", "*/core.c")
    for place, can in (
            ("arch/x86/kvm", True), ("arch/x86", True), ("arch/x86/kvm/vmx", False),
            ("arch/arm/kvm", False), ("tools/testing", True), ("tools/testing/kvm", False),
            ("tools/testing/odd.h", True), ("tools/perf", False), ("drivers/net/wan", True),
            ("drivers/gpu", False), ("fs", True), ("fs/ext4", False)):
        assert xz.can_hold(f"l/{place}/a.c", f"l/{place}/z.c", roots) is can, place


@pytest.mark.host("xz")
def test_what_is_named_is_unpacked_as_tar_does(tmp_path):
    """Out of few blocks; what is no plain file of the tree, or no such tarball, is left to tar."""
    # what the star names stands in a block between two others of its folder
    beside = [f"arch/x86/kvm/{letter}{n}.c" for letter in "aw" for n in range(16)]
    tarball = packed(tmp_path / "linux.tar.xz", sorted([*walk(), *beside]))
    wanted = ("Makefile", "virt/kvm", "drivers/net/file1*.c", "arch/x86/*/vmx.c", "fs/none")
    whole = tmp_path / "whole"
    whole.mkdir()
    subprocess.run(["tar", "-xf", tarball, "-C", whole, *only(wanted[:-1])], check=True)
    assert xz.unpack(tarball, wanted, tmp_path / "blocks")
    one, other = ({str(path.relative_to(folder)): path.read_bytes()
                   for path in folder.rglob("*") if path.is_file()}
                  for folder in (whole, tmp_path / "blocks"))
    assert one == other
    assert set(one) == {"Makefile", "virt/kvm/kvm_main.c", "arch/x86/kvm/vmx.c",
                        *(f"drivers/net/file{n}.c" for n in (1, *range(10, 20)))}
    assert not xz.unpack(packed(tmp_path / "one.tar.xz", walk(), 1 << 26), wanted, tmp_path / "no")
    for odd in ("virt/kvm/link.c", "virt/kvm/../../../evil.c"):
        path = packed(tmp_path / "odd.tar.xz", sorted([*walk(), odd]), links={"virt/kvm/link.c"})
        assert not xz.unpack(path, wanted, tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.host("xz")
@pytest.mark.parametrize("wanted, fits", [("drivers/net", True), ("tools", False)])
def test_no_more_is_unpacked_than_memory_has(tmp_path, wanted, fits):
    """A hole is as long as its member says, in a tarball of some KB."""
    path, made, size = tmp_path / "linux.tar.xz", bytearray(), tarfile.BLOCKSIZE
    for name in walk():
        member = tarfile.TarInfo(f"linux-6.1/{name}")
        member.size = size
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        if name.startswith("tools"):
            # one piece of data at the end of 32 MiB
            header[156:157] = tarfile.GNUTYPE_SPARSE
            header[386:410] = b"%011o\0%011o\0" % ((32 << 20) - size, size)
            header[483:495] = b"%011o\0" % (32 << 20)
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
        made += header + bytes(size)
    done = subprocess.run(["xz", "-0", f"--block-size={BLOCK}", "-c"], input=made + bytes(2 * size),
                          capture_output=True, check=True)
    path.write_bytes(done.stdout)
    tracemalloc.start()
    assert xz.unpack(path, [wanted], tmp_path / "to") is fits
    assert tracemalloc.get_traced_memory()[1] < 400 << 20
    tracemalloc.stop()
    assert (tmp_path / "to").exists() is fits
