# SPDX-License-Identifier: GPL-2.0-only
"""This port beside any kernel tree, statement by statement, every difference explained.

Each statement of the kernel stands in one row with what stands for it here: = the same,
≈ by idiom, ~ adapted, - left out, + ours, ↕ moved, ? unexplained. The tree is a directory, a
linux-source tarball or GITDIR@REV. Constants, tables, structures, variables, parameters,
assembly and the functions that are not ported are units of their own, each with its row. The
port's baseline is v4.19, pristine: without --tree it is the v4.19 tree that $KVM_VMX_TREE_4_19
or $KVM_VMX_TREE names, or one under /usr/src, and no other unless --nearest is given. What a file
that the tree lacks would say is left out, and told.
Exit status: 0 nothing is unexplained, 1 something is, 2 trouble.
"""

import os
import re
import sys
import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kvm_vmx import rendering, streams
from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, check_writable, print_columns, print_json,
    write_text,
)
from kvm_vmx.compare import kconfig, names, patch_command
from kvm_vmx.progress import working

if TYPE_CHECKING:
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.report import Report
    from kvm_vmx.compare.trees import Tree

EXAMPLE = """\
example:
  kvm-vmx compare vmx_exit --tree ~/linux@v4.19     one function in two columns
  kvm-vmx compare --html compare.html               all of it as a page
  kvm-vmx compare --run --tree linux-4.19 --html run.html     what both execute, side by side
  kvm-vmx compare --patch v3-7-of-7.mbox            a mailed patch, hunk by hunk
"""


NUMBER = re.compile(r"[0-9]{1,18}")


def configure(commands: Commands) -> None:
    """Add `compare` to the command line."""
    command = add_command(commands, sys.modules[__name__], "compare", EXAMPLE)
    command.add_argument("function", nargs="*", default=[], metavar="NAME",
                         help="functions, globs, FILE:LINE, macros, tables, structures to show")
    command.add_argument("--tree", help="the kernel: a directory, a tarball, or GITDIR@REV")
    command.add_argument("--nearest", action="store_true",
                         help="without --tree: a tree of another version, if there is no v4.19")
    command.add_argument("--only", choices=["diff"], help="leave out what is same or idiom")
    command.add_argument("--config", action="append", default=[], metavar="NAME=VALUE",
                         help="the value of a CONFIG_ symbol in the tree's #if, or a .config file")
    command.add_argument("--html", metavar="FILE", help="write one self-contained page")
    command.add_argument("--run", action="store_true",
                         help="compare what port and tree execute, not their text; the words are "
                              "those of scenarios")
    command.add_argument("--scope", action="store_true",
                         help="list the kernel's functions: ported, or why not")
    patch_command.configure(command)


def execute(args: argparse.Namespace) -> int:
    """Compare, and show what was asked for."""
    if args.run:
        from kvm_vmx.kernel.command import compared

        check_writable(args.html)
        if not args.tree:
            raise Trouble("--run needs the kernel whose code is to run: give --tree TREE")
        return compared(args.tree, args.function or [""], False, args.json, html=args.html)
    from kvm_vmx.compare import units_view, views
    from kvm_vmx.compare.assembly import has_assembly
    from kvm_vmx.compare.lacking import absent_files, absent_functions
    from kvm_vmx.compare.pairing import Units
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.report import Report

    if args.patch or args.apply:
        return patch_command.execute(args, opened)
    check_writable(args.html)
    with working("reading the tree") as say:
        tree = opened(args.tree, args.config, args.nearest)
        say("comparing")
        port = Port()
        absent = absent_functions(port, tree)
        asked, things = names.chosen(args.function, port, tree)
        for name in asked:
            check_function(port, tree, absent, name)
        if args.function:
            absent = {}
        only = set(asked) if args.function else {
            name for name in port.subjects if name not in absent}
        report = Report(port, tree,
                        None if args.scope or len(only) == len(port.subjects) else only)
        units = None if args.function or args.scope else Units(report)
        absent = {} if args.scope else absent_files(absent, units)
        assembly = Units(report).blocks if args.function and has_assembly(report) else ()
        if args.html:
            from kvm_vmx.compare.page import page

            say("writing the page")
            write_text(args.html, page(report, units))
    if args.scope:
        show_scope(report, args.json)
    elif args.json:
        more: dict[str, object] = {"things": names.as_json(things)} if things else {}
        more |= {"units": units_view.as_json(units)} if units else {}
        print_json({**views.as_json(report), **about(tree, absent), **more})
    elif args.html:
        print(f"{streams.plain(args.html)}: open it in a browser.")
    elif args.function:
        names.show(things)
        show_pairs(report, args.only == "diff")
        units_view.show_assembly(assembly, args.only == "diff")
    else:
        print(f"tree    {tree.title}")
        print(f"config  {views.told_config(tree)}\n")
        print_columns(views.table(report), right=range(3, 11))
        print()
        print_columns(views.files(report), right=(1, 2, 3, 4))
        print(f"\n{views.summary(report)}\n{views.path_summary(report)}\n")
        if units:
            print_columns(units_view.table(units), right=range(1, 8))
    loose = report.totals["unexplained"] + sum(len(block.loose) for block in assembly)
    if units:
        loose += len(units.loose)
        if not args.json:
            units_view.show_loose(units)
    if not args.json:
        show_end(tree, absent, loose, args.scope)
    return DIFFERS if loose else HOLDS


def opened(spec: str | None, settings: Iterable[str] = (), nearest: bool = False) -> "Tree":
    """The tree of a --tree option, or the v4.19 in the usual places."""
    from kvm_vmx.compare.found import default_tree
    from kvm_vmx.compare.opening import open_tree

    config = {}
    for setting in settings:
        name, equal, value = setting.partition("=")
        if equal and NUMBER.fullmatch(value):
            config[name] = int(value)
        elif os.path.lexists(setting):
            config.update(kconfig.read(setting))
        else:
            raise Trouble(f"--config {setting}: give NAME=NUMBER, as CONFIG_HYPERV=0, or the "
                          ".config of a kernel")
    return open_tree(spec or default_tree(nearest), config)


def check_function(port: "Port", tree: "Tree", absent: Mapping[str, str], name: str) -> None:
    """Trouble where the tree lacks a function with its whole file."""
    if name in absent:
        raise Trouble(f"{tree.title} has no {absent[name]}, and no {name}() elsewhere: give a "
                      "whole kernel tree with --tree")


def about(tree: "Tree", absent: Iterable[str]) -> dict[str, object]:
    """What a program must know of the tree."""
    from kvm_vmx.compare.found import BASELINE
    from kvm_vmx.compare.opening import version_of

    return {"version": version_of(tree.files.get("Makefile", "")) or None,
            "baseline": f"v{BASELINE}", "absent": [*absent]}


def show_end(tree: "Tree", absent: Mapping[str, str], loose: int, scope: bool) -> None:
    """The last lines: which files were not there, which tree it was, and what it was held to."""
    from kvm_vmx.compare.found import BASELINE, is_baseline
    from kvm_vmx.compare.opening import version_of

    print()
    for path, lost in absent.items():
        print(f"absent  {path}: {lost} left out")
    version = version_of(tree.files.get("Makefile", ""))
    verdict = "" if scope else f": {loose:,} unexplained"
    print(f"tree {tree.title}, baseline v{BASELINE}{verdict}")
    if version and not is_baseline(version):
        print(f"This is v{version} and not v{BASELINE}: give a v{BASELINE} tree with --tree for "
              "the baseline, or see `kvm-vmx drift` for what changed since.")


def show_pairs(report: "Report", only_diff: bool) -> None:
    """Some functions in two columns."""
    from kvm_vmx.compare import views

    terminal = rendering.console()
    for pair in report.pairs:
        views.print_pair(terminal, pair, only_diff)


def show_scope(report: "Report", json: bool) -> None:
    """Every function of the kernel's files in scope."""
    from kvm_vmx.compare.scope import scope

    places = scope(report)
    if json:
        print_json({"schema": "kvm_vmx.scope/1", "tree": report.tree.title,
                    **about(report.tree, {}), "functions": [place._asdict() for place in places]})
        return
    rows = [("kernel file", "function", "ported to", "out of scope, as it belongs to")]
    print_columns([*rows, *places])
    ported = sum(bool(place.port) for place in places)
    print(f"\n{len(places)} functions, {ported} ported, {len(places) - ported} out of scope")
