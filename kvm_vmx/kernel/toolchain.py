# SPDX-License-Identifier: GPL-2.0-only
"""What a build needs of this machine, each thing with the Debian package that has it."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kvm_vmx.errors import BuildError

PROGRAMS = {"make": "make", "gcc": "gcc", "ld": "binutils", "flex": "flex", "bison": "bison",
            "bc": "bc", "perl": "perl", "objcopy": "binutils"}
HEADERS = {"gelf.h": "libelf-dev", "openssl/opensslv.h": "libssl-dev"}

# A stuck program of the tree's must not hang whoever waits for it.
PATIENCE = 1800


def _has_header(name: str) -> bool:
    done = subprocess.run(["gcc", "-E", "-x", "c", "-include", name, "/dev/null"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def missing() -> dict[str, str]:
    """{what: the Debian package that has it} of what is not here."""
    found = {name: package for name, package in PROGRAMS.items() if not shutil.which(name)}
    if "gcc" not in found:
        found |= {name: package for name, package in HEADERS.items() if not _has_header(name)}
    return found


def check() -> None:
    """BuildError that names the packages, where anything is missing."""
    if found := missing():
        raise BuildError(f"building a kernel needs {', '.join(sorted(found))}: apt-get install "
                         f"{' '.join(sorted(set(found.values())))}")


def run(command: list[str], where: Path, log: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program of the build, whose output the log keeps; BuildError with its first error."""
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        try:
            done = subprocess.run(command, cwd=where, stdout=subprocess.PIPE, env=env,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  text=True, errors="replace", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"{command[0]} takes more than {PATIENCE} seconds: see {log}") from None
        file.write(done.stdout)
    if done.returncode:
        lines = done.stdout.splitlines()
        wrong = [line for line in lines if "error" in line.lower() or "***" in line] or lines[-1:]
        raise BuildError(f"{command[0]} failed: {wrong[0].strip() if wrong else 'no word of why'} "
                         f"(all of it: {log})")
    return done.stdout
