# SPDX-License-Identifier: GPL-2.0-only
"""Trees that are made to do harm: one line and status 2, or an answer, soon, in little memory."""

import contextlib
import gc
import gzip
import io
import itertools
import os
import pathlib
import subprocess
import tarfile
import time

import nursery
import pytest
from command import ENVIRONMENT

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.layout import field_table, layout
from kvm_vmx.compare.opening import MOST_OF_A_FILE, MOST_OF_ALL
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.trees import Tree

pytestmark = pytest.mark.long

VMX = "arch/x86/kvm/vmx.c"
SOURCE = "static void __exit vmx_exit(void)\n{\n\tkvm_exit();\n}\n"
MEMORY = 1 << 30    # of address space that a command may have
SOON = 20           # seconds that a slow machine may need


def small(folder):
    """A small kernel tree."""
    path = folder / "linux" / VMX
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    (folder / "linux/virt/kvm").mkdir(parents=True)
    return folder / "linux"


@pytest.fixture
def tree(tmp_path):
    return small(tmp_path)


def compare(tree, *args, command="compare"):
    """The finished process of a comparison with little memory."""
    return nursery.run([command, *(["--tree"] if command == "compare" else []), tree, *args],
                       text=False, memory=MEMORY,
                       env={**ENVIRONMENT, "XDG_CACHE_HOME": f"{tree}.cache"})


def check_refused(done, *says):
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and done.stdout == b"" and line.startswith("kvm-vmx")
    assert all(word in line for word in says), line


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path.name)


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(3 << 30)


@pytest.mark.parametrize("make, says", [
    (fifo, "no regular file"), (device, "no regular file"), (pathlib.Path.mkdir, "no regular file"),
    (loop, "symbolic links"), (sparse, f"more than {MOST_OF_A_FILE:,}")])
@pytest.mark.parametrize("name", [VMX, "virt/kvm/more.c", "Makefile"])
def test_what_is_no_source_is_refused_by_name(tree, make, says, name):
    (tree / name).unlink(missing_ok=True)
    make(tree / name)
    check_refused(compare(tree), f"cannot read {tree / name}", says)


def test_all_files_together_have_a_limit(tree):
    for n in range(MOST_OF_ALL // MOST_OF_A_FILE + 1):
        with open(tree / f"virt/kvm/f{n:02}.c", "wb") as file:
            file.truncate(MOST_OF_A_FILE)
    check_refused(compare(tree), "already")


def packed(path, members, mode="w:gz"):
    """A tarball of (name, size) members, all zeros."""
    with tarfile.open(path, mode) as archive:
        for name, size in members:
            member = tarfile.TarInfo(f"linux/{name}")
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    return path


def bomb(path, kind, name=VMX, size=2 << 30, given=64 << 20):
    """A tarball whose one member says 2 GB, and has more of them than may be read, in few bytes."""
    member = tarfile.TarInfo(f"linux/{name}")
    member.size, member.type = size, kind
    with gzip.open(path, "wb", 1) as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(given >> 20):
            file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize("kind, says", [
    (tarfile.REGTYPE, f"more than {MOST_OF_A_FILE:,}"), (tarfile.XHDTYPE, "a header of"),
    (tarfile.XGLTYPE, "a header of"), (tarfile.GNUTYPE_LONGNAME, "a header of"),
    (tarfile.GNUTYPE_LONGLINK, "a header of")])
def test_a_tarball_that_unpacks_to_much_is_refused(tmp_path, kind, says):
    check_refused(compare(bomb(tmp_path / "linux.tar.gz", kind)), "linux.tar.gz", says)


def test_a_tarball_may_not_unpack_for_ever(tmp_path):
    path = bomb(tmp_path / "linux.tar.gz", tarfile.REGTYPE, "drivers/a.c", 20 << 30, 1 << 20)
    check_refused(compare(path), "unpacks to more than")


def test_nothing_of_a_tarball_is_written(tmp_path):
    path = packed(tmp_path / "linux.tar.gz", [(VMX, 9), ("../../../../evil", 3)])
    before = set(tmp_path.rglob("*"))
    assert compare(path).returncode == 1
    assert {p for p in set(tmp_path.rglob("*")) - before if "cache" not in str(p)} == set()


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A repository of one revision that compares, and what there is of it."""
    tree = small(tmp_path_factory.mktemp("committed"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tree)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "tree"]):
        subprocess.run([*git, *words], check=True)
    before = set(tree.rglob("*"))
    assert compare(f"{tree}@HEAD").returncode == 1
    return tree, before


@pytest.mark.host("git")
@pytest.mark.parametrize("revision", [
    "--help", "--full-tree", "--name-only", "-v", "--output=pwned", "--format=%(path)", "--", "-z",
    "HEAD --", "", "HEAD:../..", "^HEAD"])
def test_a_revision_is_no_option(committed, revision):
    tree, before = committed
    check_refused(compare(f"{tree}@{revision}"), f"cannot read {revision} of", "atal:")
    assert set(tree.rglob("*")) == before


# What a reader that looks back, or ahead, at each step would take a square of time for.
LONG, SHORT, MANY = 40_000, 10_000, 100_000
WORTH_A_LOOK = 0.2  # seconds: what takes less is soon enough however it grows
BOUND = 2           # times a line's growth; a square's is LONG / SHORT times that
LOOKS = 4
PATTERNS = [
    "u32 ", "(", "()", "(a", "{", "{}", "{};", "[", "]", ";", "a,", "a=", "a.", "->a", "*", "!",
    "-",
    "\"", "'", "/*", "*/", "//\n", "\\\n", "\\", "\n", "\n\n", " ", "#if A\n", "#endif\n",
    "#else\n",
    "#if A\n#endif\n", "#define A \\\n", "case 1:", "default:", "if (a) ", "else ", "if (a) {",
    "do ",
    "while (a) ", "for (;;) ", "switch (a) {", "return ", "goto a;", "a:", "a ? ", "a ? b : ",
    "sizeof(", "(int)", "static ", "struct a {", "struct a { int b; };\n", "int a;\n", "int a, b;",
    "f(a);", "f(", "a[0]", "a + ", "a && ", "~", "__a ", "__a((b)) ", "= {", "[1] = {", "f() {}\n",
    "1", "0x1 ", "a", "EVMCS1_FIELD(", "EVMCS1_FIELD(A, b, ", "union {", ": 1;", "asm(\"\" : ",
    "\t",
    "defined(A) && ", "int f(void) {}\n#if A\n", "int f(void) {}\n#if A\n#endif\n",
    "int f(void) {\n"]
PLACES = {
    "a file": "%s", "a function": "int f(int a)\n{\n\t%s;\n}\n",
    "an expression": "int f(void)\n{\n\tx = %s;\n}\n",
    "a header": "int %s f(void)\n{\n}\n", "a table": "static int t[] = {\n\t%s\n};\n",
    "a structure": "struct hv_enlightened_vmcs {\n\tu32 a;\n%s\n};\n",
    "a condition": "#if %s\nint a;\n#endif\n",
    "a macro": "#define A %s\n", "a comment": "/* %s */\n", "a string": "char *s = \"%s\";\n"}


@contextlib.contextmanager
def uncollected():
    """Python looks through nothing that it allocated before: that is not the text's."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def seconds(place, pattern, length):
    """The process's own time in all of the comparison's readers, for a text that repeats a
    pattern."""
    path = "arch/x86/include/asm/hyperv-tlfs.h"
    text = PLACES[place].replace("%s", pattern * (length // len(pattern)))
    with uncollected():
        start = time.process_time()
        tree = Tree("t", {path: text})
        for name in list(tree.file(path).places):
            tree.file(path).function(name)
        layout(tree)
        field_table(tree)
        tree.function("f", "")
        return time.process_time() - start


def grows_as_a_square(time_of, long, short):
    """Whether time_of(length) is nearer to a square than to a line. What is slow once may be the
    machine: the least of some runs counts, by turns."""
    if time_of(long) <= WORTH_A_LOOK:
        return False
    looks = [(time_of(long), time_of(short)) for _ in range(LOOKS)]
    most, least = map(min, zip(*looks))
    return most > max(WORTH_A_LOOK, BOUND * least * long / short)


def sampled(soak):
    """(place, pattern): all of them in a soak; else each pattern in one place, and the next one's
    in the next, and in a structure, which the most readers look at, some more."""
    if soak:
        return list(itertools.product(PLACES, PATTERNS))
    places = list(PLACES)
    pairs = [(places[n % len(places)], pattern) for n, pattern in enumerate(PATTERNS)]
    return pairs + [("a structure", pattern) for pattern in PATTERNS[::4]]


def pytest_generate_tests(metafunc):
    if "hostile_place" in metafunc.fixturenames:
        pairs = sampled(metafunc.config.getoption("--soak"))
        metafunc.parametrize("hostile_place, patterns", [
            (place, [pattern for where, pattern in pairs if where == place]) for place in PLACES],
            ids=PLACES)


@pytest.mark.soak
def test_no_text_takes_a_square_of_time(hostile_place, patterns, soak):
    shorter = 1 if soak else 2
    assert [pattern for pattern in patterns if grows_as_a_square(
        lambda length: seconds(hostile_place, pattern, length), LONG // shorter,
        SHORT // shorter)] == []


@pytest.mark.parametrize("power, square", [(1, False), (1.2, False), (1.8, True), (2, True)])
@pytest.mark.parametrize("disturbed", [range(0), range(4), range(2, 6), range(0, 40, 3)])
def test_a_square_is_told_from_a_line_on_a_machine_that_is_busy(power, square, disturbed):
    """Times as a machine would have them of which others want half now and then."""
    runs = itertools.count()

    def time_of(length):
        return (length / LONG) ** power * (2 if next(runs) in disturbed else 1)

    assert grows_as_a_square(time_of, LONG, SHORT) == square


STRANGE = [
    "#if " + " && ".join(["defined(A)"] * MANY) + "\n", "#if " + "!" * MANY + "1\n",
    "#if " + "(" * MANY + "\n", "#if 1 << 999999999999\n", "#if 9 ** 9 ** 9\n", "#if 1/0\n",
    "#if " + "9" * MANY + "\n", "#if A" + "(" * MANY,
    "void deep(void) {" + "(" * MANY + ")" * MANY + ";}",
    "void deep(void) {" + "{" * MANY + "}" * MANY + ";}", "/*"]


@pytest.mark.parametrize("text", STRANGE)
def test_strange_text_is_read(text):
    assert CFile("a.c", text) is not None


def test_strange_text_is_no_trouble(tree):
    """All of it in one tree, in files of its own and before functions that are compared."""
    names = [subject.kernel_name for subject in Port().subjects.values()
             if subject.kernel_file == VMX]
    for n, (text, name) in enumerate(zip(STRANGE, names[:len(STRANGE)], strict=True)):
        (tree / f"virt/kvm/strange{n}.c").write_text(text)
        (tree / f"arch/x86/kvm/strange{n}.c").write_text(
            text + "\n" + SOURCE.replace("vmx_exit", name))
    start = time.monotonic()
    done = compare(tree)
    assert done.returncode in (0, 1) and done.stderr == b"" and time.monotonic() - start < SOON
