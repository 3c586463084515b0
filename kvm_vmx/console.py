# SPDX-License-Identifier: GPL-2.0-only
"""What the commands share: exit statuses, trouble, options, columns, JSON."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

from kvm_vmx.rendering import COLOURS
from kvm_vmx.rendering import print_columns as print_columns

HOLDS, DIFFERS, TROUBLE = 0, 1, 2

# What a command adds its sub-parser to.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Trouble(Exception):
    """What stops a command; its text is one line that names the cure."""


def told(error: BaseException) -> str:
    """What an exception says, in one line; of a file of the system also what to do."""
    if isinstance(error, OSError) and error.filename is not None:
        cure = "mount /proc" if str(error.filename).startswith("/proc") else "this command needs it"
        return f"{error.filename}: {error.strerror}: {cure}"
    return str(error).partition("\n")[0]


def need(module: str, extra: str) -> ModuleType:
    """A module of a package that is an extra, imported; Trouble says how to install it."""
    from kvm_vmx import host

    package = module.partition(".")[0]
    try:
        if host.has(package):
            return importlib.import_module(module)
    except ValueError as error:
        raise Trouble(str(error)) from error
    raise Trouble(f"this needs {package}, which is not installed: pip install 'kvm_vmx[{extra}]'")


def add_command(commands: Commands, module: ModuleType, name: str,
                example: str) -> argparse.ArgumentParser:
    """A sub-parser named `name`, told about in the module's docstring, with the options of all."""
    assert module.__doc__
    summary = module.__doc__.partition("\n")[0].rstrip(".")
    command = commands.add_parser(
        name, help=summary, description=module.__doc__, epilog=example, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(execute=module.execute, parser=command)
    add_common(command)
    return command


def add_common(parser: argparse.ArgumentParser, top: bool = False) -> None:
    """The options of every command; before its name they are the top's, which has the defaults."""
    def add(name: str, default: object, **more: Any) -> None:
        parser.add_argument(name, default=default if top else argparse.SUPPRESS, **more)

    add("--json", False, action="store_true", help="print one JSON object instead")
    add("--color", "auto", choices=COLOURS,
        help="colour the output: always, never, or on a terminal (default: auto)")
    add("--quiet", False, action="store_true", help="say nothing of what goes on meanwhile")


def offer(action: Any, words: Any) -> Any:
    """Give an argument the words that a shell completes; words() is asked only then."""
    action.offered = words
    return action


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argument type: a whole number from low to high."""
    def parse(text: str) -> int:
        try:
            if low <= (number := int(text)) <= high:
                return number
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {low} to {high}")
    return parse


def print_json(value: object) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, indent=1)
    print()


def check_writable(path: str | None) -> None:
    """Trouble now, rather than after the work, where a file can't be written."""
    if path is None:
        return
    parent = os.path.dirname(path) or "."
    if not path or os.path.isdir(path) or not os.path.isdir(parent):
        raise Trouble(f"cannot write {path}: give the name of a file in a directory that exists")
    if not os.access(path if os.path.exists(path) else parent, os.W_OK):
        raise Trouble(f"cannot write {path}: Permission denied: give another name")


def write_text(path: str, text: str) -> None:
    """A file with this text; nothing that could block is opened."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666)
        os.set_blocking(handle, True)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Trouble(f"cannot write {path}: {reason}: give another name") from error
