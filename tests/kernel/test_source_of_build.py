# SPDX-License-Identifier: GPL-2.0-only
"""A tree as it is built from: what is needed of it, its key, and how often it is read for both."""

import io
import tarfile

import pytest

from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import source

FILES = {"Makefile": "VERSION = 6\n", "arch/x86/kvm/Makefile": "obj-y\n",
         "arch/x86/kvm/vmx.c": "int a;\n", "scripts/run": "#!/bin/sh\n",
         "drivers/net/Kconfig": "config A\n"}
OTHERS = {"drivers/net/a.c": "int b;\n", "fs/b.c": "int c;\n"}


@pytest.fixture
def tarball(tmp_path):
    with tarfile.open(tmp_path / "linux.tar.xz", "w:xz") as archive:
        for name, text in (FILES | OTHERS).items():
            member = tarfile.TarInfo(f"linux/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return str(tmp_path / "linux.tar.xz")


@pytest.fixture
def reads(monkeypatch):
    """The trees that are read, each time."""
    found, entries = [], source.entries

    def counted(tree):
        found.append(tree)
        return entries(tree)

    monkeypatch.setattr(source, "entries", counted)
    return found


def copied(tree, to):
    source.copy(tree, to)
    return {str(path.relative_to(to)): path.read_text() for path in to.rglob("*")
            if path.is_file()}


def test_a_build_reads_a_tarball_once(tarball, reads, tmp_path):
    with source.read_once(tarball):
        key = source.key_of(tarball, tmp_path / "stamps")
        assert copied(tarball, tmp_path / "copy") == FILES and reads == [tarball]
        # what is copied is not kept, nor is what is known by its stamp read
        assert source.key_of(tarball, tmp_path / "stamps") == key and len(reads) == 1
        assert copied(tarball, tmp_path / "again") == FILES and len(reads) == 2
    assert source.key_of(str(tmp_path / "copy"), tmp_path / "stamps") == key
    assert (tmp_path / "copy/scripts/run").stat().st_mode & 0o100


def test_nothing_of_a_tree_is_kept_longer(tarball, reads, tmp_path):
    with pytest.raises(BuildError, match="no kernel tree"), source.read_once("/nowhere"):
        source.key_of("/nowhere", tmp_path / "stamps")
    with source.read_once(tarball):
        source.key_of(tarball, tmp_path / "stamps")
    assert copied(tarball, tmp_path / "copy") == FILES and reads.count(tarball) == 2


class Forgotten(dict):
    """What is kept goes right behind each look, as another thread's copy has it go."""

    def __contains__(self, tree):
        return self.pop(tree, None) is not None

    def get(self, tree, otherwise=None):
        return self.pop(tree, otherwise)


def test_two_threads_of_one_tree(tarball, monkeypatch, tmp_path):
    alone = source.key_of(tarball, tmp_path / "stamps")
    monkeypatch.setattr(source, "_read", Forgotten())
    with source.read_once(tarball):
        assert source.key_of(tarball, tmp_path / "others") == alone
        assert copied(tarball, tmp_path / "copy") == FILES
        assert not list(source._read)
