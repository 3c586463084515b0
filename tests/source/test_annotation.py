# SPDX-License-Identifier: GPL-2.0-only
"""No Python below floor 4: Cython's annotation score is 0 on every line of every function."""

import ast
import collections
import re

import pytest
import tree

pytestmark = pytest.mark.host("Cython")
# Cython's weights for what one generated line touches.
WEIGHTS = {"py_c_api": 5, "pyx_c_api": 2, "py_macro_api": 1, "pyx_macro_api": 1}
# What Cython writes before each line of C that it has a line of the source for.
LINE = re.compile(r'^[ \t]*#line (\d+) "([^"]*)"$', re.M)
END = re.compile(r"^\}$|^/\* #### ", re.M)
HOLDERS = "tests/source/test_annotation.py", "tests/source/tree.py", "setup.py"
MODULES = tree.under("kvm_vmx/l0", "kvm_vmx/l1", suffixes={".pyx"})


def directives():
    """The compiler directives of setup.py, without running it."""
    for node in ast.parse(tree.text("setup.py")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "DIRECTIVES":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no DIRECTIVES")


def score(code):
    """What Cython's own annotation says of the C code of one line."""
    from Cython.Compiler import Annotate

    total = 0

    def count(match):
        nonlocal total
        total += WEIGHTS.get(match.lastgroup, 0)
        return ""

    Annotate._parse_code(count, Annotate._replace_pos_comment("", code))
    return total


def attributed(text):
    """The C code of each line of each file, by the #line of C that Cython wrote; what stands behind
    a function's end, which has no #line of its own, is no line's."""
    found = collections.defaultdict(lambda: collections.defaultdict(str))
    parts = LINE.split(text)
    for number, name, code in zip(parts[1::3], parts[2::3], parts[3::3]):
        found[name][int(number)] += END.split(code, 1)[0]
    return found


def c_of(path):
    """Where the build leaves the C of a module."""
    return type(path)("build/cython") / path.with_suffix(".c")


def built(path):
    """The C that the build left of a module, where its sources have not changed since, or None."""
    from Cython.Build import Dependencies

    text = tree.ROOT / c_of(path)
    deps = Dependencies.create_dependency_tree(quiet=True)
    if not text.is_file() or text.stat().st_mtime < deps.newest_dependency(str(path))[0]:
        return None
    return text.read_text()


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
    """translate(path): the C of a module as the build has it, without the build."""
    from Cython.Compiler import Main, Options

    folder = tmp_path_factory.mktemp("annotation")

    def translate(path, annotate=False):
        target = folder / f"{path.stem}.c"
        options = Options.CompilationOptions(
            Options.default_options, annotate=annotate, emit_linenums=True,
            compiler_directives=directives(), include_path=[str(tree.ROOT)],
            output_file=str(target))
        result = Main.compile_single(
            str(path), options, ".".join(path.with_suffix("").parts))
        assert result.num_errors == 0
        return target.read_text()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tree.ROOT)
        yield translate


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_function_line_touches_python(path, translated, held):
    clean, there = held(), (tree.ROOT / c_of(path)).is_file()
    content = clean.digest(
        *([c_of(path)] if there else []), *HOLDERS,
        *tree.under("kvm_vmx/l0", "kvm_vmx/l1", suffixes=tree.CYTHON))
    if content not in clean:
        look_at(built(path) or translated(path))
    clean.keep()


def look_at(text):
    """Each line of a function, in the C of its module."""
    found, seen = [], 0
    for name, lines in attributed(text).items():
        if not name.startswith(("kvm_vmx/l0/", "kvm_vmx/l1/")):
            continue
        for number, line in tree.function_lines(tree.text(name)):
            seen += number in lines
            if score(lines.get(number, "")):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == [] and seen >= 3


SEEN = """\
cdef object f(object x):
    return x + 1

cdef int g(int x) noexcept nogil:
    return x + 1

cdef int h(int x) noexcept:
    if x:
        x = 2
    else:
        print(x)
    return x

cdef int i(int x,
           object y) noexcept:
    return x * (1 +
                len(y))
"""


def test_a_python_line_is_seen(translated, tmp_path, monkeypatch):
    """... wherever Cython's own annotation has one."""
    from Cython.Compiler import Annotate

    annotated = {}

    def keep(writer, *_, **__):
        writer.mark_pos(None)
        annotated.update(next(lines for name, lines in writer.code.items() if "seen" in name))

    (tmp_path / "seen.pyx").write_text(SEEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Annotate.AnnotationCCodeWriter, "save_annotation", keep)
    path = type(MODULES[0])("seen.pyx")
    translated(path, annotate=True)
    numbers = [number for number, _ in tree.function_lines(SEEN)]
    touching, by_cython = ({number for number in numbers if score(lines.get(number, ""))}
                           for lines in (attributed(translated(path))[str(path)], annotated))
    assert {2, 11, 17} <= by_cython <= touching and not touching & {4, 5, 8, 9}


def test_every_function_of_both_rooms_is_below_python():
    """A `def` or a class is Python by itself, whatever its lines cost."""
    found = []
    for path in tree.under("kvm_vmx/l0", "kvm_vmx/l1", suffixes=tree.CYTHON):
        found += [f"{path}:{number}: {line}"
                  for number, line in tree.function_lines(tree.text(path))
                  if line.startswith(("def ", "class ", "cpdef "))]
    assert found == []
