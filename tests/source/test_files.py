# SPDX-License-Identifier: GPL-2.0-only
"""What every file of the tree keeps to: licence line, origin, no built file, no loose end."""

import ast
import re
import subprocess

import pytest
import tree
from command import started

SPDX = "SPDX-License-Identifier: GPL-2.0-only"
ORIGIN = (r"^# (?:C: |Stands in for )"
          r"(?:arch|drivers|include|kernel|lib|mm|virt)/[\w/.-]+\.[chS](?:[,:] |$)")


@pytest.fixture(scope="module")
def code():
    files = [path for path in tree.tracked() if path.suffix in tree.CODE]
    assert len(files) > 30
    return files


def test_every_source_file_begins_with_its_licence(code):
    first = {str(path): tree.text(path).partition("\n")[0] for path in code}
    assert {path: line for path, line in first.items()
            if line not in (f"# {SPDX}", f"// {SPDX}")} == {}


def test_every_ported_file_names_its_kernel_file():
    """The one that it ports, or the one that it stands in for."""
    ported = [path for path in tree.under("kvm_vmx/l1", suffixes=tree.CYTHON)
              if "linux" not in path.parts]
    assert ported
    second = {str(path): (tree.text(path).split("\n") + [""])[1] for path in ported}
    assert {path: line for path, line in second.items() if not re.match(ORIGIN, line)} == {}


def test_every_other_file_says_its_job(code):
    """Except a .pxd beside its .pyx, which only declares what that defines, and __init__.py."""
    silent = []
    for path in code:
        twin = path.suffix == ".pxd" and path.with_suffix(".pyx") in code
        second = (tree.text(path).split("\n") + [""])[1]
        if not twin and path.name != "__init__.py" and not re.match(r'# |// |/\*|"""', second):
            silent.append(str(path))
    assert silent == []


# Spelled so that this file does not find itself.
LOOSE = re.compile(
    r"(?:TOD[O]|FIXM[E]|XX[X]|HAC[K]|NotImplementedErro[r])\b"
    r"|issue [#]?\d+|/(?:home|root|Users|wor[k])/\w"
    r"|(?:pypi|pythonhosted)\.org\b|deb\.debian\.org\b"
)


def test_no_file_has_a_loose_end_or_a_local_path():
    found = []
    for path in tree.tracked():
        if path.name == "LICENSE" or path.suffix in (".bin", ".xz"):
            continue
        text = tree.text(path)
        found += [f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}"
                  for hit in LOOSE.finditer(text)]
    assert found == []


def test_no_built_file_is_tracked():
    files = tree.tracked()
    built = {".so", ".o", ".pyc", ".html", ".whl", ".gz"}
    assert [str(path) for path in files if path.suffix in built] == []
    # stand-ins for vmlinux are compiled with a kernel tree's own headers, and never here
    assert [str(path) for path in files if path.suffix == ".c" and path.parts[0] == "kvm_vmx"
            and path.parts[1:3] != ("kernel", "standins")] == []


def test_quick_start_is_one_block_of_two_commands():
    section = re.search(r"^## Quick start\n(.*?)^## ", tree.text("README.md"), re.M | re.S)[1]
    blocks = re.findall(r"^```\w*\n(.*?)^```", section, re.M | re.S)
    assert len(blocks) == 1
    commands = blocks[0].splitlines()
    assert len(commands) == 2 and all(line.strip() for line in commands)
    assert commands[0].endswith("kvm-vmx run") and "pytest" in commands[1]


def test_ci_calls_the_second_command():
    script = tree.text(".ci/run")
    out = subprocess.run(
        ["bash", "-c", script[script.index("mapfile"):script.index("\n# What a user has")].replace(
            "bash -e -c", "printf %s")],
        cwd=tree.ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.endswith("-m pytest -q -n auto") and out.stdout in tree.text("README.md")


# What tests of the command are about other things than a guest, whatever it runs meanwhile.
NO_GUEST = {"cache", "completion", "conform", "displays", "doctor", "extras", "rendering",
            "trace_processor", "words"}


def test_ci_runs_the_tests_in_both_forms_and_without_what_a_host_may_lack():
    script = tree.text(".ci/run").replace("\\\n ", "")
    assert re.search(r"^KVM_VMX_WITHOUT=\$\(without BESIDE\) +"
                     r"\.venv/bin/python -m pytest -q -n auto "
                     r".* tests/\{compare,measure,source\}/test_\*\.py\)$", script, re.M | re.S)
    trap = re.search(r"^KVM_VMX_INSN=trap KVM_VMX_WITHOUT=\$\(without PLATFORM\) +"
                     r"\.venv/bin/python -m pytest -q -n auto -rs "
                     r"\$\(grep -l Machine tests/l0/test_\*\.py\) +tests/\{l1,machine\} +"
                     r"tests/cli/test_\{(.*)\}\.py$", script, re.M)
    files = {path.stem.removeprefix("test_") for path in tree.under("tests/cli", suffixes={".py"})
             if path.stem.startswith("test_")}
    assert set(trap[1].split(",")) == files - NO_GUEST and NO_GUEST <= files


def test_ci_runs_readmes_commands_from_a_bare_wheel_elsewhere():
    script = tree.text(".ci/run")
    bare = script[script.index("# What a user has"):]
    steps = ["pip wheel", "--no-deps", '-m venv "$bare/venv"', 'pip" install -q "$bare"/*.whl',
             'tests/cli/readme.py "$bare/venv/bin" "$bare/elsewhere"']
    assert [step for step in steps if step not in bare] == []
    assert [bare.index(step) for step in steps] == sorted(bare.index(step) for step in steps)
    assert "[" not in bare[bare.index(steps[2]):bare.index(steps[4])].replace("[@]", "")


def test_no_two_test_files_have_one_name():
    """pytest would take them for one module, and collect nothing."""
    names = [path.name for path in tree.under("tests", suffixes={".py"})
             if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


# Who keeps what it has started longer than a test does, and ends it.
STARTERS = {"tests/cli/command.py", "tests/cli/nursery.py", "tests/cli/test_progress.py",
            "tests/lessons/browser.py"}


def test_a_process_that_a_test_has_started_ends_with_it():
    found = {str(path) for path in tree.under("tests", suffixes={".py"})
             if "Popen(" in tree.text(path) for call in ast.walk(ast.parse(tree.text(path)))
             if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Popen")}
    assert found == STARTERS
    with pytest.raises(ZeroDivisionError), started(["sleep", "600"]) as child:
        assert child.poll() is None
        raise ZeroDivisionError
    assert child.returncode is not None
