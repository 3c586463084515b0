# SPDX-License-Identifier: GPL-2.0-only
"""The kernel trees of this machine: which there are, and which is the port's baseline."""

import os
import pathlib
import subprocess
from typing import NamedTuple

from kvm_vmx.compare.opening import TreeError, git_command, version_of
from kvm_vmx import host

BASELINE = "4.19"


class FoundTree(NamedTuple):
    """A tree, as --tree takes it, and its version, empty where nothing tells it."""

    spec: str
    version: str

    def __str__(self) -> str:
        if not os.path.lexists(self.spec.rpartition("@")[0] or self.spec):
            return f"{self.spec} (not there)"
        return f"{self.spec} ({self.version or 'of no known version'})"

    @property
    def distance(self) -> tuple[int, int, str]:
        """How far its version is from the baseline, as something to sort by; unknown is far."""
        if not self.version:
            return 1 << 30, 0, self.spec
        major, minor = map(int, self.version.split(".")[:2])
        return abs(major - 4), abs(minor - (19 if major == 4 else 0)), self.spec


def is_baseline(version: str) -> bool:
    """Whether a version is v4.19 or of its stable series."""
    return version == BASELINE or version.startswith(f"{BASELINE}.")


def trees() -> list[FoundTree]:
    """The trees that the environment names, then those in the usual places."""
    specs = host.trees_named() + host.trees_in_places()
    known: dict[str, FoundTree] = {}
    for spec in specs:
        known.setdefault(os.path.realpath(spec), FoundTree(spec, version(spec)))
    return list(known.values())


def version(spec: str) -> str:
    """A tree's version without reading all of it: its Makefile's, or what its name says."""
    path, text = pathlib.Path(spec), ""
    try:
        if (path / "Makefile").is_file():
            text = (path / "Makefile").read_text(errors="replace")[:4096]
        elif "@" in spec and not path.exists():
            gitdir, _, revision = spec.rpartition("@")
            text = subprocess.run(
                [*git_command(gitdir), "cat-file", "blob", f"{revision}:Makefile"],
                capture_output=True, text=True, errors="replace").stdout[:4096]
    except OSError:
        pass
    return version_of(text) or host.version_in(path.name)


def default_tree(nearest: bool = False) -> str:
    """The first tree of the baseline, or the one that is nearest to it; TreeError without one."""
    there = trees()
    ours = next((tree for tree in there if is_baseline(tree.version)), None)
    if ours is None and nearest and there:
        ours = min(there, key=lambda tree: tree.distance)
    if ours is not None:
        return ours.spec
    cure = (f"give a v{BASELINE} tree (a directory, a tarball, GITDIR@v{BASELINE}) with --tree "
            f"or in ${host.TREE_4_19}")
    if not there:
        raise TreeError(f"no kernel tree found, and the port's baseline is v{BASELINE}: {cure}")
    near = min(there, key=lambda tree: tree.distance).spec
    raise TreeError(f"the port's baseline is v{BASELINE}, and no tree of it is here, only "
                    f"{', '.join(map(str, there))}: {cure}; --nearest takes {near}")
