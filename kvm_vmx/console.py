# SPDX-License-Identifier: GPL-2.0-only
"""What the commands share: exit statuses, trouble, a booted machine, columns, JSON."""

import contextlib
import importlib
import json
import os
import sys

HOLDS, DIFFERS, TROUBLE = 0, 1, 2


class Trouble(Exception):
    """What stops a command; its text is one line that names the cure."""


def told(error: BaseException) -> str:
    """What an exception says, in one line; of a file of the system also what to do."""
    if isinstance(error, OSError) and error.filename is not None:
        cure = "mount /proc" if str(error.filename).startswith("/proc") else "this command needs it"
        return f"{error.filename}: {error.strerror}: {cure}"
    return str(error).partition("\n")[0]


def need(module: str, extra: str):
    """A module of a package that is an extra, imported; Trouble says how to install it."""
    from kvm_vmx import host

    package = module.partition(".")[0]
    try:
        if host.has(package):
            return importlib.import_module(module)
    except ValueError as error:
        raise Trouble(str(error)) from error
    raise Trouble(f"this needs {package}, which is not installed: pip install 'kvm_vmx[{extra}]'")


@contextlib.contextmanager
def booted(**config):
    """A Machine for the time of a command; what goes wrong in it becomes Trouble."""
    from kvm_vmx import KernelBug, Machine, MachineError

    try:
        with Machine(**config) as machine:
            yield machine
    except (KernelBug, MachineError, OSError, ValueError) as error:
        raise Trouble(told(error)) from error
    except MemoryError as error:
        raise Trouble("not enough memory for this machine: give fewer --cpus") from error


def add_command(commands, module, name, example):
    """A sub-parser named `name`, told about in the module's docstring, with --json."""
    import argparse

    summary = module.__doc__.partition("\n")[0].rstrip(".")
    command = commands.add_parser(
        name, help=summary, description=module.__doc__, epilog=example, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead")
    command.set_defaults(execute=module.execute, parser=command)
    return command


def print_json(value) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, indent=1)
    print()


def print_columns(rows, right=()) -> None:
    """Rows of text in aligned columns; the columns whose numbers are in `right` align right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (
            text.rjust(width) if n in right else text.ljust(width)
            for n, (text, width) in enumerate(zip(row, widths))
        )
        print("  ".join(cells).rstrip())


def check_writable(path) -> None:
    """Trouble now, rather than after the work, where a file can't be written."""
    if path is None:
        return
    parent = os.path.dirname(path) or "."
    if not path or os.path.isdir(path) or not os.path.isdir(parent):
        raise Trouble(f"cannot write {path}: give the name of a file in a directory that exists")
    if not os.access(path if os.path.exists(path) else parent, os.W_OK):
        raise Trouble(f"cannot write {path}: Permission denied: give another name")


def write_text(path, text: str) -> None:
    """A file with this text; nothing that could block is opened."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666)
        os.set_blocking(handle, True)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Trouble(f"cannot write {path}: {reason}: give another name") from error
