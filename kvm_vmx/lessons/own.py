# SPDX-License-Identifier: GPL-2.0-only
"""A lesson in a file of one's own: what it must have, and what is said of one that has not."""

import importlib.util
import os
import sys
from types import ModuleType

from kvm_vmx.console import Trouble
from kvm_vmx.lessons.record import NothingShown, Picture, Record

# What a lesson's module has, and of which kind; CASES and grade() may be left out.
PROTOCOL = {"TITLE": str, "MINUTES": int}
PARTS = {"about": list, "run": list, "picture": Picture, "question": str, "given": dict,
         "answer": list, "values": dict, "change": list, "kernel": list}


def is_file(name: str) -> bool:
    """Is it the name of a file, and of no lesson of the course?"""
    return name.endswith(".py") or os.sep in name


def load(path: str) -> ModuleType:
    """The lesson in a file; Trouble says what is wrong with it."""
    if not os.path.isfile(path):
        raise Trouble(f"{path}: no such file: give a lesson of the course or a file with one")
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(f"kvm_vmx_own_{name}", path)
    if spec is None or spec.loader is None:
        raise Trouble(f"{path}: give a file with a lesson, whose name ends with .py")
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise Trouble(f"{path}: no Python: {error.msg} (line {error.lineno})") from error
    except Exception as error:
        raise Trouble(f"{path}: {said(error)}: mend it, or see docs/own-lesson.md") from error
    finally:
        sys.dont_write_bytecode = before
    for wanted, kind in PROTOCOL.items():
        if not isinstance(getattr(module, wanted, None), kind):
            raise Trouble(f"{path}: a lesson has {wanted}, a {kind.__name__}: see "
                          "docs/own-lesson.md")
    if not callable(getattr(module, "run", None)):
        raise Trouble(f"{path}: a lesson has run(seed, case), which gives a Record: see "
                      "docs/own-lesson.md")
    vars(module).setdefault("CASES", ())
    return module


def recorded(path: str, module: ModuleType, seed: int, case: str | None) -> Record:
    """Its run; Trouble where that is no record, or one without something."""
    try:
        record = module.run(seed, case)
    except (NothingShown, Trouble):
        raise
    except Exception as error:
        raise Trouble(f"{path}: run({seed}): {said(error)}") from error
    if not isinstance(record, Record):
        raise Trouble(f"{path}: run() gives {type(record).__name__}, no Record")
    for part, kind in PARTS.items():
        if not isinstance(getattr(record, part), kind):
            raise Trouble(f"{path}: its record's {part} is no {kind.__name__}")
    if not record.picture.steps:
        raise Trouble(f"{path}: its picture has no step")
    record.minutes = module.MINUTES
    return record


def said(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]
