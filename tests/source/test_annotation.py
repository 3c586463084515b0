# SPDX-License-Identifier: GPL-2.0-only
"""No Python below floor 4: Cython's annotation score is 0 on every line of every function."""

import ast
import os

import pytest
import tree

pytestmark = pytest.mark.host("Cython")
# Cython's weights for what one generated line touches.
WEIGHTS = {"py_c_api": 5, "pyx_c_api": 2, "py_macro_api": 1, "pyx_macro_api": 1}
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


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """compile(path): the C code of each line of each file that a module is made of."""
    from Cython.Compiler import Annotate, Main, Options

    folder = tmp_path_factory.mktemp("annotation")
    kept = {}

    def keep(writer, source, *_, **__):
        writer.mark_pos(None)
        kept.update({os.path.relpath(name, tree.ROOT): dict(lines)
                     for name, lines in writer.code.items()})

    def compiled(path):
        kept.clear()
        options = Options.CompilationOptions(
            Options.default_options, annotate=True, compiler_directives=directives(),
            include_path=[str(tree.ROOT)], output_file=str(folder / f"{path.stem}.c"))
        result = Main.compile_single(
            str(path), options, ".".join(path.with_suffix("").parts))
        assert result.num_errors == 0
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tree.ROOT)
        patch.setattr(Annotate.AnnotationCCodeWriter, "save_annotation", keep)
        yield compiled


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_function_line_touches_python(path, generated):
    found = []
    for name, lines in generated(path).items():
        if not name.startswith(("kvm_vmx/l0/", "kvm_vmx/l1/")):
            continue
        for number, line in tree.function_lines(tree.text(name)):
            if score(lines.get(number, "")):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == []


def test_a_python_line_is_seen(generated, tmp_path, monkeypatch):
    source = (
        "cdef object f(object x):\n    return x + 1\n\n"
        "cdef int g(int x) noexcept nogil:\n    return x + 1\n"
    )
    (tmp_path / "seen.pyx").write_text(source)
    monkeypatch.chdir(tmp_path)
    (lines,) = [lines for name, lines in generated(type(MODULES[0])("seen.pyx")).items()
                if name.endswith("seen.pyx")]
    scores = {number: score(lines.get(number, "")) for number, _ in tree.function_lines(source)}
    assert scores[2] > 0 and scores[4] == 0 and scores[5] == 0


def test_every_function_of_both_rooms_is_below_python():
    """A `def` or a class is Python by itself, whatever its lines cost."""
    found = []
    for path in tree.under("kvm_vmx/l0", "kvm_vmx/l1", suffixes=tree.CYTHON):
        found += [f"{path}:{number}: {line}"
                  for number, line in tree.function_lines(tree.text(path))
                  if line.startswith(("def ", "class ", "cpdef "))]
    assert found == []
