# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of kernel trees and of builds, so that it need not be made again; and clear it.

trees are the files that were read of tarballs, port other builds of the port, kernel those of
`kvm-vmx kernel`, selftests those of `kvm-vmx boot --selftest`. They lie under
$XDG_CACHE_HOME/kvm-vmx, by default ~/.cache/kvm-vmx; $KVM_VMX_KERNEL_CACHE is another place for the
kernel's. clear removes what is named, or all, and nothing that was not put there by these commands.
With --json: {"schema": "kvm_vmx.cache/1", "root": ..., "stores": [...], "removed": ...}.
"""

import argparse
import fcntl
import json
import os
import pathlib
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from kvm_vmx import building, host
from kvm_vmx.console import HOLDS, Commands, Trouble, add_command, offer, print_columns, print_json
from kvm_vmx.words import unknown

SCHEMA = "kvm_vmx.cache/1"
EXAMPLE = """\
examples:
  kvm-vmx cache                 what there is, how large and how old
  kvm-vmx cache clear kernel    the builds of kernels alone
"""
ACTIONS = ("show", "clear")
UNITS = ((86400 * 2, 86400, "days"), (3600 * 2, 3600, "hours"), (120, 60, "minutes"),
         (0, 1, "seconds"))


class Store(NamedTuple):
    """A folder of the cache: whose names are ours, and where one of them tells its kernel."""

    what: str
    path: pathlib.Path
    own: str
    makefile: str


def stores() -> dict[str, Store]:
    """All of them by name."""
    from kvm_vmx.boot.selftest_build import cache_directory
    from kvm_vmx.kernel.build import cache

    return {
        "trees": Store("files of kernel tarballs", host.cache(), r"[0-9a-f]{64}\.(?:json|\d+)", ""),
        "port": Store("other builds of the port", building.kept(),
                      r"vmx_\w+\.[0-9a-f]{24}\.[\w.-]*so", "Makefile"),
        "kernel": Store("kernels that were built", cache(), r"[0-9a-f]{24}|stamps",
                        "tree/Makefile"),
        "selftests": Store("KVM selftests that were built", cache_directory(), r"[0-9a-f]{16}",
                           "tree/Makefile"),
    }


def configure(commands: Commands) -> None:
    """Add `cache` to the command line."""
    command = add_command(commands, sys.modules[__name__], "cache", EXAMPLE)
    command.add_argument("action", nargs="?", choices=ACTIONS, default="show",
                         help="show what there is (default), or clear it")
    offer(command.add_argument("what", nargs="*", default=[], metavar="WHAT",
                               help="trees, port, kernel or selftests (default: all)"), stores)


def execute(args: argparse.Namespace) -> int:
    """Show, or clear and say what went."""
    known = stores()
    for name in args.what:
        if name not in known:
            raise Trouble(unknown("cache", name, known))
    chosen = {name: store for name, store in known.items() if name in args.what or not args.what}
    removed = None
    if args.action == "clear":
        removed = [clear(name, store) for name, store in chosen.items()]
    shown = [as_data(name, store) for name, store in chosen.items()]
    if args.json:
        print_json({"schema": SCHEMA, "root": str(host.cache()), "stores": shown,
                    "removed": removed})
    elif removed is not None:
        for one in removed:
            left = f"; {one['being_made']} being built, left alone" if one["being_made"] else ""
            print(f"{one['name']}: {one['entries']} removed, {size_of(one['bytes'])}{left}")
    else:
        show(shown)
    return HOLDS


def entries(store: Store) -> Iterator[pathlib.Path]:
    """What is ours in a folder; a link is nobody's."""
    try:
        found = sorted(os.scandir(store.path), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if re.fullmatch(store.own, entry.name) and not entry.is_symlink():
            yield pathlib.Path(entry.path)


def is_being_made(path: pathlib.Path) -> bool:
    """Whether a process builds it now: it holds the lock beside it."""
    try:
        with open(f"{path}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def bytes_of(path: pathlib.Path) -> int:
    """How much room something takes; links are not followed."""
    total, top = 0, os.fspath(path)
    waiting = [top]
    while waiting:
        here = waiting.pop()
        try:
            found = os.lstat(here)
            if stat.S_ISDIR(found.st_mode) or here == top and path.is_dir():
                waiting += [os.path.join(here, name) for name in os.listdir(here)]
            else:
                total += found.st_size
        except OSError:
            continue        # it alone has gone meanwhile, and nothing beside it
    return total


def kernel_of(path: pathlib.Path, store: Store) -> str | None:
    """The version of the kernel that it is of, as its Makefile says."""
    from kvm_vmx.compare.opening import version_of

    try:
        text = (path / store.makefile).read_text(errors="replace") if store.makefile else \
            json.loads(path.read_text())["Makefile"]
        return version_of(text) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_data(name: str, store: Store) -> dict[str, Any]:
    """One store for programs."""
    found = []
    for path in entries(store):
        try:
            age = max(0, int(time.time() - path.stat().st_mtime))
        except OSError:
            continue
        found.append({"name": path.name, "kernel": kernel_of(path, store),
                      "bytes": bytes_of(path), "age": age, "being_made": is_being_made(path)})
    return {"name": name, "what": store.what, "path": str(store.path),
            "bytes": sum(one["bytes"] for one in found), "entries": found}


def clear(name: str, store: Store) -> dict[str, Any]:
    """Remove what is ours and nobody builds; Trouble where it cannot be."""
    count = room = left = 0
    for path in entries(store):
        if is_being_made(path):
            left += 1
            continue
        size = bytes_of(path)
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise Trouble(f"cannot remove {path}: {error.strerror}: remove it by hand") from error
        count, room = count + 1, room + size
    return {"name": name, "entries": count, "bytes": room, "being_made": left}


def show(shown: list[dict[str, Any]]) -> None:
    """Every entry in a line."""
    for store in shown:
        print(f"{store['name']}: {store['what']}, {len(store['entries'])}, "
              f"{size_of(store['bytes'])}, in {store['path']}")
        if store["entries"]:
            print_columns([(f"  {one['name'][:12]}", f"Linux {one['kernel']}" if one["kernel"]
                            else "", size_of(one["bytes"]), "being built" if one["being_made"] else
                            f"{age_of(one['age'])} old")
                           for one in store["entries"]], right=(2,), heads=False)


def size_of(count: int) -> str:
    """A size in the unit that a reader wants."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def age_of(seconds: int) -> str:
    """A time likewise."""
    return next(f"{seconds // unit} {name}" for least, unit, name in UNITS if seconds >= least)
