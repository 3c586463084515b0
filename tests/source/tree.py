# SPDX-License-Identifier: GPL-2.0-only
"""The project's tree as the source tests see it: tracked files, their text, function bodies."""

import functools
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = {".py", ".pyi", ".pyx", ".pxd", ".h", ".c"}
CYTHON = {".pyx", ".pxd"}

# In a tree without git (an unpacked release) these folders hold what was built, not what is kept.
BUILT = {"build", "dist", ".venv", "__pycache__", ".hypothesis", ".pytest_cache"}


@functools.cache
def tracked() -> tuple[pathlib.Path, ...]:
    """Every file that the project keeps, relative to ROOT."""
    if (ROOT / ".git").exists():
        out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
        return tuple(pathlib.Path(name) for name in out.stdout.decode().split("\0") if name)
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(
        path for path in files
        if not BUILT & set(path.parts) and path.suffix != ".so" and ".egg-info" not in str(path)
    )


def under(*folders, suffixes=CODE) -> list[pathlib.Path]:
    """The tracked files with one of the suffixes below any of the folders."""
    return [
        path for path in tracked()
        if path.suffix in suffixes and any(path.is_relative_to(folder) for folder in folders)
    ]


@functools.cache
def text(path) -> str:
    """The text of a tracked file."""
    return (ROOT / path).read_text(encoding="utf-8")


# A line at column 0 that opens a block, and the blocks that are declarations only.
OPENS = re.compile(r"(?:cdef|cpdef|def|class|async)\b")
DECLARES = re.compile(r"cdef\s+(?:extern|enum|struct|union|packed)\b|cdef\s*:")


def function_lines(source: str):
    """(number, text) of each line of a function in Cython source: its header and its body."""
    inside = False
    for number, line in enumerate(source.split("\n"), 1):
        if line[:1] not in ("", " ", "\t", "#", ")"):
            inside = bool(OPENS.match(line)) and not DECLARES.match(line) and "(" in line
        if inside and line.strip():
            yield number, line
