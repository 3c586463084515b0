# SPDX-License-Identifier: GPL-2.0-only
"""What of a tree that is a directory is looked at, to know whether it is as it was."""

import contextlib
import os

import pytest

from kvm_vmx.kernel import source

FILES = ("Makefile", "arch/x86/kvm/Makefile", "arch/x86/kvm/vmx.c", "drivers/net/Kconfig",
         "drivers/net/card.c", "include/linux/kvm.h", "Documentation/kvm.rst", ".git/config",
         "arch/x86/kvm-more.h", "arch/x86/kvm/svm.c", "arch/x86_more/um/include/asm.h",
         "arch/x86_more/um/run.c", "arch/arm/include/asm.h")

GOING = ("a.c", "z.c")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        os.utime(root / name, (1, 1))
    (root / "scripts").symlink_to("include")
    return root


@pytest.fixture
def read_anew(tree, tmp_path):
    """Is the tree read, as its stamp is a new one?"""
    stamps = tmp_path / "stamps"

    def ask():
        before = set(stamps.glob("*"))
        source.key_of(str(tree), stamps)
        return set(stamps.glob("*")) != before

    assert ask() and not ask()
    return ask


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_what_a_build_needs_is_seen(tree, read_anew, name):
    (tree / name).write_text("other")
    assert read_anew() == source.is_needed(name) and not read_anew()
    os.utime(tree / name, (2, 2))
    assert read_anew() == source.is_needed(name)


@pytest.mark.parametrize("name, seen", [
    ("include/new.h", True), ("sound/Makefile", True), ("sound/new.c", False)])
def test_what_comes_and_goes_is_seen(tree, read_anew, name, seen):
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).touch()
    assert read_anew() == seen
    (tree / name).unlink()
    assert not read_anew()      # that stamp is known


def test_a_link_to_a_folder_is_not_followed(tree, read_anew):
    """Where one leads round, there is an end."""
    (tree / "include/round").symlink_to("..")
    (tree / "lib").mkdir()
    (tree / "lib/nowhere.h").symlink_to("nothing")
    assert read_anew() and not read_anew()


def test_where_a_link_to_a_folder_leads_is_seen(tree, read_anew):
    (tree / "scripts").unlink()
    (tree / "scripts").symlink_to("drivers")
    assert read_anew() and not read_anew()


@pytest.mark.parametrize("name", ["include/linux/a.h", "include/linux/z.h", "include/linux/z/z.h"])
def test_a_link_that_leads_round_hides_nothing(tree, read_anew, name):
    """Whichever of them the folder has first."""
    for one in ("a.h", "z.h", "z/z.h"):
        (tree / "include/linux" / one).parent.mkdir(exist_ok=True)
        (tree / "include/linux" / one).write_text(one)
    (tree / "include/linux/loop.h").symlink_to("loop.h")
    assert read_anew() and not read_anew()
    (tree / name).write_text("other")
    assert read_anew() and not read_anew()


def test_a_file_that_goes_meanwhile_hides_nothing(tree, monkeypatch):
    """The stamp is that of the tree without it."""
    real, room = os.scandir, tree / "arch/x86/kvm"

    @contextlib.contextmanager
    def listed(path):
        with real(path) as found:
            names = list(found)
        for name in GOING:
            (room / name).unlink()
        yield iter(names)

    without = source._stamp(str(tree))
    for name in GOING:
        (room / name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: (
            listed if path == f"{room}/" else real)(path))
        assert source._stamp(str(tree)) == without
    assert not any((room / name).exists() for name in GOING)
