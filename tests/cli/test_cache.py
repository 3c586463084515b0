# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx cache shows what is its own, clears that, and touches nothing else."""

import fcntl
import io
import json
import os
import pathlib
import shutil
import tarfile

import pytest
import schemed

from kvm_vmx import cli, host
from kvm_vmx.about.cache import bytes_of

VMX = "linux-4.19/arch/x86/kvm/vmx.c"
MAKEFILE = "VERSION = 4\nPATCHLEVEL = 19\nSUBLEVEL = 7\n"
SOURCE = "static void __exit vmx_exit(void)\n{\n\tkvm_exit();\n}\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, beside something that is somebody else's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KVM_VMX_KERNEL_CACHE", raising=False)
    return tmp_path


def tarball(folder):
    path = folder / "linux-4.19.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in ((VMX, SOURCE), ("linux-4.19/Makefile", MAKEFILE)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def cache(capsys, *words):
    assert cli.main(["cache", *words, "--json"]) == 0
    return schemed.kept(json.loads(capsys.readouterr().out))


def build(folder, name):
    """What a build leaves, with a kernel's Makefile."""
    place = folder / name / "tree"
    place.mkdir(parents=True)
    (place / "Makefile").write_text(MAKEFILE)
    (place / "image").write_bytes(bytes(1000))
    return place.parent


def test_what_is_kept_is_shown_with_its_kernel_size_and_age(home, capsys):
    assert cli.main(["compare", "--scope", "--tree", str(tarball(home))]) in (0, 1)
    capsys.readouterr()
    build(home / "cache/kvm-vmx/kernel", "a" * 24)
    build(home / "cache/kvm-vmx/selftests", "b" * 16)
    found = {store["name"]: store for store in cache(capsys)["stores"]}
    for name in ("trees", "kernel", "selftests"):
        (entry,) = found[name]["entries"]
        assert entry["kernel"] == "4.19.7" and entry["bytes"] >= len(SOURCE) and entry["age"] < 600
        assert pathlib.Path(found[name]["path"]).is_relative_to(home / "cache/kvm-vmx")
    assert cli.main(["cache"]) == 0
    out = capsys.readouterr().out
    assert out.count("Linux 4.19.7") == 3 and "aaaaaaaaaaaa  " in out
    old = next((home / "cache/kvm-vmx").glob("*.json"))
    os.utime(old, (0, 0))
    assert cli.main(["cache", "show", "trees"]) == 0
    assert " days old" in capsys.readouterr().out


def test_clear_removes_what_is_its_own_and_nothing_else(home, capsys, monkeypatch):
    root = home / "cache/kvm-vmx"
    monkeypatch.setenv("KVM_VMX_KERNEL_CACHE", str(home / "work"))
    own = [build(home / "work", "a" * 24), build(root / "selftests", "b" * 16)]
    tree = root / f"{'c' * 64}.json"
    tree.write_text(json.dumps({"Makefile": MAKEFILE}))
    precious = home / "precious"
    precious.mkdir()
    (precious / "thesis").touch()
    others = [home / "work/letter.txt", home / "work/src/main.c", root / "notes.json",
              root / "selftests/README", home / "cache/other/thing"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    link = home / "work" / ("d" * 24)
    link.symlink_to(precious)
    (own[0] / "tree/out").symlink_to(precious)
    removed = {one["name"]: one["entries"] for one in cache(capsys, "clear", "kernel")["removed"]}
    assert removed == {"kernel": 1} and not own[0].exists() and own[1].exists() and tree.exists()
    cache(capsys, "clear")
    assert not own[1].exists() and not tree.exists()
    assert all(path.exists() for path in (*others, link, precious / "thesis"))
    assert all(not store["entries"] for store in cache(capsys)["stores"])
    assert cli.main(["cache", "clear"]) == 0
    assert "trees: 0 removed, 0 bytes" in capsys.readouterr().out


def test_what_goes_during_the_scan_takes_nothing_else_along(tmp_path, monkeypatch):
    """A build that ends meanwhile removes files; those beside them are counted all the same."""
    for folder in (tmp_path, tmp_path / "inner", tmp_path / "inner/gone"):
        folder.mkdir(exist_ok=True)
        for number in range(10):
            (folder / f"{number}").write_bytes(bytes(1000))
    assert bytes_of(tmp_path) == 30_000
    listed = os.listdir

    def listdir(path):
        names = sorted(listed(path))
        os.unlink(os.path.join(path, names[0]))
        if "gone" in names:
            shutil.rmtree(tmp_path / "inner/gone")
        return names

    monkeypatch.setattr(os, "listdir", listdir)
    assert bytes_of(tmp_path) == 18_000


def test_a_relative_cache_home_is_none(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", "/home")
    assert host.cache() == pathlib.Path("/home/.cache/kvm-vmx")


def test_what_cannot_be_removed_is_one_line(home, capsys, monkeypatch):
    tree = home / "cache/kvm-vmx" / f"{'c' * 64}.json"
    tree.parent.mkdir(parents=True)
    tree.touch()

    def unlink(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "unlink", unlink)
    assert cli.main(["cache", "clear"]) == 2
    error = capsys.readouterr().err
    assert error == f"kvm-vmx: cannot remove {tree}: Permission denied: remove it by hand\n"


@pytest.mark.parametrize("line, says", [
    ("cache shwo", "did you mean show?"), ("cache clear tree", "did you mean trees?")])
def test_a_wrong_word_is_one_line(home, capsys, line, says):
    assert cli.main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error


def test_other_builds_of_the_port_are_shown_and_cleared(home, capsys):
    folder = home / "cache/kvm-vmx/port"
    folder.mkdir(parents=True)
    for name in ("vmx_watched." + "c" * 24 + ".cpython-311-x86_64-linux-gnu.so", "mine.so"):
        (folder / name).write_bytes(bytes(1000))
    (store,) = cache(capsys, "show", "port")["stores"]
    assert [(one["bytes"], one["kernel"]) for one in store["entries"]] == [(1000, None)]
    (removed,) = cache(capsys, "clear", "port")["removed"]
    assert removed["entries"] == 1 and [path.name for path in folder.iterdir()] == ["mine.so"]


def test_what_is_being_built_is_told_and_left_alone(home, capsys):
    place = build(home / "cache/kvm-vmx/kernel", "a" * 24)
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (store,) = cache(capsys, "show", "kernel")["stores"]
        assert [one["being_made"] for one in store["entries"]] == [True]
        assert cli.main(["cache", "show", "kernel"]) == 0
        assert "being built" in capsys.readouterr().out
        (removed,) = cache(capsys, "clear", "kernel")["removed"]
        assert (removed["entries"], removed["being_made"]) == (0, 1) and place.exists()
    (removed,) = cache(capsys, "clear", "kernel")["removed"]
    assert (removed["entries"], removed["being_made"]) == (1, 0) and not place.exists()
