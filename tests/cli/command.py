# SPDX-License-Identifier: GPL-2.0-only
"""Run kvm-vmx as a user does: a process of its own, its output, its exit status."""

import contextlib
import os
import pathlib
import subprocess
import time

import nursery
import schemed

from kvm_vmx import building

# A process started in another folder finds the same package as the tests do.
PACKAGE = nursery.PACKAGE
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE)}


@contextlib.contextmanager
def started(arguments, **options):
    """A process that runs beside the test, and is ended with it, however that ends."""
    with subprocess.Popen(arguments, **options) as child:
        try:
            yield child
        finally:
            child.kill()


def entered(child):
    """Wait until a kvm-vmx that was started has loaded the port, and a moment longer."""
    deadline = time.monotonic() + 60
    maps = pathlib.Path(f"/proc/{child.pid}/maps")
    while "/l1/vmx." not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)


def kvm_vmx(*args, **options):
    """The finished process of one command line; it must end within two minutes."""
    return nursery.run(args, **{
        "env": ENVIRONMENT | {**os.environ, "PYTHONPATH": str(PACKAGE)}, **options})


def cache_of_its_own(folder):
    """A cache below a folder, for $XDG_CACHE_HOME, that shares the user's other builds of the port:
    no test of what a command says or keeps compiles one."""
    store = pathlib.Path(folder) / "cache/kvm-vmx/port"
    if not store.exists():
        store.parent.mkdir(parents=True, exist_ok=True)
        store.symlink_to(building.cache())
    return store.parents[1]


def kvm_vmx_json(*args):
    """The JSON object that a command prints with --json, by its schema; it must succeed."""
    done = kvm_vmx(*args, "--json")
    assert done.returncode == 0, done.stderr
    return schemed.kept_text(done.stdout)
