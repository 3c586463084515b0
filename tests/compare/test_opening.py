# SPDX-License-Identifier: GPL-2.0-only
"""Trees as directory, tarball and git revision; what is no tree, in one line."""

import io
import os
import subprocess
import tarfile

import pytest

from kvm_vmx.compare import opening
from kvm_vmx.compare.opening import TreeError, open_tree

FILES = {
    "Makefile": "VERSION = 5\nPATCHLEVEL = 7\nSUBLEVEL = 0\n",
    "arch/x86/kvm/vmx/vmx.c": "int brew(int cups)\n{\n\treturn cups * 2;\n}\n",
    "arch/x86/kvm/vmx/notes.txt": "no source",
    "drivers/net/other.c": "int other;\n",
    "virt/kvm/kvm_main.c": "void kettle(void)\n{\n}\n",
}
WANTED = {"Makefile", "arch/x86/kvm/vmx/vmx.c", "virt/kvm/kvm_main.c"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kvm-vmx"


@pytest.fixture
def directory(tmp_path):
    """The files as a directory."""
    root = tmp_path / "linux"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def tarball(tmp_path):
    """The files as a tarball."""
    path = tmp_path / "linux-source-5.7.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        for name, text in FILES.items():
            member = tarfile.TarInfo(f"linux-source-5.7/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def check(tree):
    """The wanted files, and a function of one of them."""
    assert set(tree.files) == WANTED
    assert tree.title.endswith("(5.7)")
    assert tree.function("brew", "arch/x86/kvm/vmx.c").path == "arch/x86/kvm/vmx/vmx.c"
    assert tree.function("kettle", "").line == 1
    assert tree.function("teapot", "") is None


def test_directory(directory):
    before = sorted(path.stat().st_mtime_ns for path in directory.rglob("*"))
    check(open_tree(str(directory)))
    assert before == sorted(path.stat().st_mtime_ns for path in directory.rglob("*"))


@pytest.mark.both("xz")
def test_tarball_and_its_cache(tarball, cache, monkeypatch):
    check(open_tree(str(tarball)))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(opening, "read_tarball", None)  # the second time nothing is unpacked
    check(open_tree(str(tarball)))


def test_a_broken_cache_is_read_over(tarball, cache):
    open_tree(str(tarball))
    for text in ("{", "[]", "{\"Makefile\": 1}", "[" * 100_000):
        for path in cache.iterdir():
            path.write_text(text)
        check(open_tree(str(tarball)))


def test_a_cache_that_cannot_be_written_is_no_trouble(tarball, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    check(open_tree(str(tarball)))


@pytest.mark.host("git")
def test_git(directory):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(directory)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "tree"], check=True)
    (directory / "Makefile").write_text("VERSION = 9\n")  # the work tree does not count
    check(open_tree(f"{directory}@HEAD"))
    check(open_tree(f"{directory / '.git'}@HEAD"))
    with pytest.raises(TreeError, match="cannot read nowhere of"):
        open_tree(f"{directory}@nowhere")


@pytest.mark.parametrize("keep", [40, 200])
@pytest.mark.both("xz")
def test_truncated_tarball(tarball, keep):
    tarball.write_bytes(tarball.read_bytes()[:keep])
    with pytest.raises(TreeError, match="is it complete"):
        open_tree(str(tarball))


def test_a_tarball_that_is_none(tmp_path):
    path = tmp_path / "linux.tar.xz"
    path.write_bytes(b"a fish\n" * 100)
    with pytest.raises(TreeError, match="cannot read .*linux.tar.xz"):
        open_tree(str(path))


def test_no_tree(tmp_path, tarball):
    with pytest.raises(TreeError, match="did you mean .*linux-source-5.7.tar.xz"):
        open_tree(str(tmp_path))
    with pytest.raises(TreeError, match="no such tree: /nowhere"):
        open_tree("/nowhere")
    (tmp_path / "leaf").write_text("")
    with pytest.raises(TreeError, match="neither a directory nor a tarball"):
        open_tree(str(tmp_path / "leaf"))
    os.mkfifo(tmp_path / "pipe.tar.xz")  # nobody writes into it: reading would never end
    with pytest.raises(TreeError, match="neither a directory nor a tarball"):
        open_tree(str(tmp_path / "pipe.tar.xz"))
    (tmp_path / "bare" / "arch").mkdir(parents=True)
    with pytest.raises(TreeError, match="is it a kernel tree"):
        open_tree(str(tmp_path / "bare"))


def test_unreadable_file(directory):
    path = directory / "virt/kvm/kvm_main.c"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    with pytest.raises(TreeError, match="cannot read .*kvm_main.c: Permission denied"):
        open_tree(str(directory))


def test_bytes_that_are_no_text(directory):
    path = directory / "virt/kvm/kvm_main.c"
    path.write_bytes(b"/* caf\xe9 */\nvoid kettle(void)\n{\n\tboil('\xff');\n}\n")
    tree = open_tree(str(directory))
    assert tree.function("kettle", "").units[1].kind == "call"


def test_a_part_of_a_tree_names_the_tree(directory):
    for part in ("arch/x86/kvm", "arch", "virt/kvm", "arch/x86/kvm/vmx/vmx.c"):
        with pytest.raises(TreeError, match=f"it is part of a tree: give {directory}$"):
            open_tree(str(directory / part))


@pytest.mark.host("git")
def test_a_git_directory_wants_a_revision(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path / "empty")], check=True)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare.git")], check=True)
    for place in (tmp_path / "empty", tmp_path / "empty/.git", tmp_path / "bare.git"):
        with pytest.raises(TreeError, match=f"give a revision of it, as {place}@v4.19$"):
            open_tree(str(place))


@pytest.mark.parametrize("encode", [
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\t", " \f ").encode(),
    lambda text: b"\xef\xbb\xbf" + text.encode()], ids=["CRLF", "form feeds", "a byte-order mark"])
def test_how_lines_end_does_not_count(directory, encode):
    before = open_tree(str(directory))
    for path in directory.rglob("*"):
        if path.is_file():
            path.write_bytes(encode(path.read_text()))
    after = open_tree(str(directory))
    assert after.title == before.title
    for name, path in (("brew", "arch/x86/kvm/vmx.c"), ("kettle", "")):
        one, two = before.function(name, path), after.function(name, path)
        assert [unit.key for unit in one.units] == [unit.key for unit in two.units]
        assert [unit.line for unit in one.units] == [unit.line for unit in two.units]
