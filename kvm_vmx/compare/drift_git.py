# SPDX-License-Identifier: GPL-2.0-only
"""What git knows of a drift: the commit that last touched a line, and the fixes of a range.

Nothing of a repository is executed: git reads objects, without its configuration's hooks,
filters or external programs.
"""

import functools
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvm_vmx.compare import mail
from kvm_vmx.compare.opening import ROOTS, TreeError, WANTED, git_command
from kvm_vmx.compare.units import Function, Unit
from kvm_vmx.streams import plain, readable

if TYPE_CHECKING:
    from kvm_vmx.compare.patch_fate import Fate
    from kvm_vmx.compare.port import Port, Subject
    from kvm_vmx.compare.trees import Tree

QUIET = ("-c", "core.fsmonitor=", "-c", "diff.external=", "-c", "core.attributesFile=/dev/null",
         "-c", "log.showSignature=false")
LONGEST = 300  # seconds for one question
RANGE = re.compile(r"(?P<old>[^.].*?)\.\.(?P<new>[^.].*)")
MOST = 64 << 20  # characters of a log
MOST_GONE = 40  # lines whose end is looked for in a log
COMMIT = "kvm-vmx commit "
MERGES = "--no-merges"


def run(gitdir: str, *args: str) -> str:
    """What git answers; TreeError with its first line where it does not."""
    git = git_command(gitdir)
    try:
        done = subprocess.run([*git, *QUIET, *args], capture_output=True, timeout=LONGEST,
                              env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
                                   "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"})
    except FileNotFoundError as error:
        raise TreeError("git is not installed: give two directories or tarballs") from error
    except subprocess.TimeoutExpired as error:
        raise TreeError(f"git takes longer than {LONGEST} s in {gitdir}: give a shorter "
                        "range") from error
    except (OSError, ValueError) as error:
        raise TreeError(f"cannot run git in {plain(gitdir)}: {error}: give a directory") from error
    if done.returncode:
        text = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise TreeError(f"cannot read {gitdir}: {plain(text)}")
    return readable(done.stdout[:MOST].decode("utf-8", "replace"))


class Blame:
    """Which commit last touched a line of a revision; knows nothing where there is no git."""

    def __init__(self, spec: str, before: str = ""):
        self.gitdir, _, self.revision = spec.rpartition("@")
        self.before = before.rpartition("@")[2] if before.rpartition("@")[0] == self.gitdir else ""
        self.left = MOST_GONE

    def gone(self, function: Function, unit: Unit) -> str:
        """The commit that took a unit's line out of a function since the old revision."""
        words = unit.text if unit.line == unit.end else max(
            re.findall(r"\w+", unit.text), key=len, default="")
        if not (self.gitdir and self.before and self.left) or len(words) < 3:
            return ""
        self.left -= 1
        try:
            text = run(self.gitdir, "log", "-1", "--format=%h %s", "--abbrev=12", f"-S{words}",
                       "--end-of-options", f"{self.before}..{self.revision}", "--", function.path)
        except TreeError:
            return ""
        return text.strip().partition("\n")[0]

    def __call__(self, path: str, unit: Unit) -> str:
        """The commit of a unit's last changed line, with its subject."""
        lines = self.lines(path)
        found = [lines[n] for n in range(unit.line, unit.end + 1) if n in lines]
        return max(found)[1] if found else ""

    @functools.cache
    def lines(self, path: str) -> dict[int, tuple[int, str]]:
        """{line: (when, commit and subject)} of one file."""
        if not self.gitdir:
            return {}
        try:
            if self.revision.startswith("-"):
                return {}
            text = run(self.gitdir, "blame", "--line-porcelain", self.revision, "--", path)
        except TreeError:
            return {}
        found, line, commit, when = {}, 0, "", 0
        for row in text.split("\n"):
            if hit := re.match(r"([0-9a-f]{40}) \d+ (\d+)", row):
                commit, line = hit[1], int(hit[2])
            elif row.startswith("committer-time "):
                when = int(row.split()[1])
            elif row.startswith("summary "):
                found[line] = (when, f"{commit[:12]} {row[8:]}")
        return found


@dataclass
class Fix:
    """One commit of a range that touches the path: what it changes, each with the port's place."""

    commit: str
    subject: str
    functions: list[str] = field(default_factory=list)
    fates: "list[Fate]" = field(default_factory=list)
    outside: "list[Fate]" = field(default_factory=list)


def spelled_range(spec: str) -> tuple[str, str] | None:
    """The two revisions of `A..B`, if it is that."""
    hit = RANGE.fullmatch(spec)
    return (hit["old"], hit["new"]) if hit and "..." not in spec else None


def fixes(gitdir: str, old: str, new: str, port: "Port", tree: "Tree") -> list[Fix]:
    """The commits from one revision to another that change what the port has of the kernel."""
    from kvm_vmx.compare.patch import Comparison

    text = run(gitdir, "log", "--reverse", MERGES, "-p", "--no-ext-diff", "--no-textconv",
               "--no-color", "-M", f"--format={COMMIT}%H %s", "--end-of-options",
               f"{old}..{new}", "--", *ROOTS)
    found, shared = [], None
    for part in re.split(rf"^{COMMIT}", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        commit, _, subject = head.partition(" ")
        patches = mail.in_message(subject, "", "", body)
        for patch in patches:
            patch.hunks = [hunk for hunk in patch.hunks if WANTED.fullmatch(hunk.file)]
        comparison = Comparison(patches, port, tree, shared)
        shared = comparison
        fix = Fix(commit, subject)
        for fate in comparison.fates:
            name = fate.statement.function
            if name in comparison.ours and not fate.statement.top:
                fix.fates.append(fate)
                if name not in fix.functions:
                    fix.functions.append(name)
            elif fate.statement.top and fate.port is not None:
                fix.outside.append(fate)
        if fix.fates or fix.outside:
            found.append(fix)
    return found


def rows(fix: Fix, comparison_ours: "Mapping[str, Subject]") -> list[tuple[str, str, str, str]]:
    """(sign, statement, port's place, port's text) of each change of a fix."""
    result = []
    for fate in (*fix.fates, *fix.outside):
        spot = fate.port
        if spot is None and fate.statement.function in comparison_ours:
            function = comparison_ours[fate.statement.function].function
            place, text = f"{function.path}:{function.line}", f"{function.name}()"
        else:
            place = f"{spot.path}:{spot.line}" if spot else ""
            text = spot.text if spot else ""
        result.append((fate.statement.sign, fate.statement.text, place, text))
    return result
