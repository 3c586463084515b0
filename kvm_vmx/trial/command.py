# SPDX-License-Identifier: GPL-2.0-only
"""What a patch to KVM changes in behaviour: a kernel tree with and without it, run side by side.

PATCH is a mail, an mbox or what `git format-patch` writes; TREE a directory, a tarball or
GITDIR@REV, which is not written to. Both kernels are built, by the tree's own makefiles, and run
as L1 in every scenario, by VMCS and by eVMCS, with all that looks at them: L0's lints, the checks
that refuse an instruction, what both modes must have alike, each step that can fail failing in
turn, what stays after unloading, the kernel's warnings. Told is what comes and what goes, what an
exit costs before and after, and the first instruction of each scenario that is another.
Exit status 1: something is objected to that was not before. With --json: {"schema":
"kvm_vmx.try/1", ...}.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, offer, print_columns, print_json)
from kvm_vmx.errors import BuildError
from kvm_vmx.l0.profile import PROFILES, load
from kvm_vmx.progress import working
from kvm_vmx.streams import plain

if TYPE_CHECKING:
    from kvm_vmx.trial.change import Change, Objection
    from kvm_vmx.trial.observed import Seen
    from kvm_vmx.trial.patching import Applied

SCHEMA = "kvm_vmx.try/1"
EXAMPLE = """\
examples:
  kvm-vmx try 0001-evmcs.patch --tree /usr/src/linux-source-6.12.tar.xz
  kvm-vmx try my-evmcs.patch --tree linux-4.19 --before      on a kernel that has none yet
  kvm-vmx try v3-7-of-7.txt --tree linux-4.19 --reverse --hunk 11 --partly
                                                    the kernel as it was before that hunk
"""


def configure(commands: Commands) -> None:
    """Add `try` to the command line."""
    add = add_command(commands, sys.modules[__name__], "try", EXAMPLE).add_argument
    add("patch", metavar="PATCH", help="a mail, an mbox or a patch")
    add("--tree", metavar="TREE", required=True, help="a directory, a tarball or GITDIR@REV")
    add("--config", metavar="FILE", help="a .config to begin with, not the tree's own default")
    add("--reverse", action="store_true", help="take the patch back from a tree that has it")
    add("--hunk", metavar="N", type=int, action="append", default=[],
        help="this hunk alone, counted from 1; more than once: these")
    add("--before", action="store_true",
        help="try it on v4.19 as it was before enlightened VMCSs: their statements taken out")
    add("--partly", action="store_true",
        help="leave out what is not whole or has no place, instead of giving up")
    offer(add("--profile", metavar="NAME|FILE", default="kvm-6.12",
              help="which Hyper-V is L0: kvm-6.12 (default), tlfs-strict, ice-lake, a file"),
          PROFILES)
    add("--all", action="store_true", help="show what both have and every scenario's difference")


def execute(args: argparse.Namespace) -> int:
    """Build both, run both, tell."""
    from kvm_vmx.trial import change as changes

    try:
        if args.profile not in PROFILES:
            load(args.profile)
    except ValueError as error:
        raise Trouble(str(error)) from None
    try:
        with working("reading the patch", log=True) as say:
            applied, images = _built(args, say)
            say("running both in every scenario")
            before, after = _observed(images, args.profile)
    except BuildError as error:
        raise Trouble(str(error)) from None
    change = changes.change(before, after)
    (_tell_programs if args.json else _tell)(args, applied, change)
    return DIFFERS if change.new else HOLDS


def _built(args: argparse.Namespace,
           say: Callable[[str], object]) -> "tuple[Applied, tuple[Path, Path]]":
    """What the patch comes to, and the two images."""
    from kvm_vmx.compare import mail
    from kvm_vmx.kernel import before, build
    from kvm_vmx.trial import patching

    patches = mail.read(args.patch)
    most = sum(len(patch.hunks) for patch in patches)
    for number in args.hunk:
        if not 1 <= number <= most:
            raise Trouble(f"no hunk {number}: give a number from 1 to {most}")
    first: dict[str, str] = {}
    if args.before:
        text = build.text_of(args.tree, args.config, before.FILE, say)
        first = {before.FILE: before.before(text or "")}
    applied = patching.checked(patching.apply(
        patches, lambda path: first.get(path) or build.text_of(args.tree, args.config, path, say),
        reverse=args.reverse, only=args.hunk), args.partly)
    base = build.patched(args.tree, args.config, first, say) if first else \
        build.build(args.tree, args.config, say)
    try:
        return applied, (base, build.patched(args.tree, args.config, first | applied.texts, say))
    except BuildError as error:
        raise BuildError(f"with the patch, {error}") from None


def _observed(images: tuple[Path, Path], like: str) -> "list[Seen]":
    """Both at once: each is a process of its own."""
    from kvm_vmx.trial import observed

    def named(pair: tuple[Path, str]) -> "Seen":
        image, who = pair
        try:
            return observed.beside(Path(image), profile=like)
        except BuildError as error:
            raise BuildError(f"{who}: {error}") from None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(named, zip(images, ("without the patch", "with the patch"))))


def _tell_programs(args: argparse.Namespace, applied: "Applied", change: "Change") -> None:
    def shown(found: "list[Objection]") -> list[dict[str, Any]]:
        return [dataclasses.asdict(one) for one in found]

    print_json({
        "schema": SCHEMA, "tree": plain(args.tree), "reverse": args.reverse,
        "hunks": [fate._asdict() for fate in applied.fates],
        "an exit": [cost._asdict() for cost in change.costs],
        "new": shown(change.new), "gone": shown(change.gone), "kept": shown(change.kept),
        "scenarios": change.scenarios,
        "differences": [trace._asdict() for trace in change.traces]})


def _tell(args: argparse.Namespace, applied: "Applied", change: "Change") -> None:
    for fate in applied.fates:
        print(plain(str(fate)))
    print("\nan exit of the CPUID loop, before and after")
    rows = [cost for cost in change.costs if cost.before or cost.after]
    print_columns([["", "mode", "before", "after", ""], *(
        [cost.instruction.upper(), cost.mode, f"{cost.before:g}", f"{cost.after:g}",
         f"{cost.after - cost.before:+g}" if cost.after != cost.before else "the same"]
        for cost in rows)], right=(2, 3, 4))
    _tell_found("new", change.new)
    _tell_found("gone", change.gone)
    if args.all:
        _tell_found("as before", change.kept)
    elif change.kept:
        print(f"\n{len(change.kept)} as before, which --all shows")
    print(f"\n{len(change.traces)} of {change.scenarios} scenarios execute something else"
          + (", the first of them:" if change.traces and not args.all else ""))
    for trace in change.traces if args.all else change.traces[:1]:
        print(plain(f"  {trace.scenario}: step {trace.at}; {trace.gone} steps gone, "
                    f"{trace.new} new"))
        print(plain(f"    before: {trace.before}"))
        print(plain(f"    after:  {trace.after}"))


def _tell_found(title: str, found: "list[Objection]") -> None:
    from kvm_vmx.trial.change import KINDS

    print(f"\n{title}: {'nothing' if not found else ''}".rstrip())
    kind = ""
    for one in found:
        if one.kind != kind:
            kind = one.kind
            print(f"  {KINDS[kind]}")
        often = f" and {one.count - 1} more" if one.count > 1 else ""
        print(plain(f"    {one.what} ({one.where}{often})"))
