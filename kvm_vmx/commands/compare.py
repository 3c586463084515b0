# SPDX-License-Identifier: GPL-2.0-only
"""This port beside any kernel tree, statement by statement, every difference explained.

Each statement of the kernel stands in one row with what stands for it here: = the same,
≈ by idiom, ~ adapted, - left out, + ours, ↕ moved, ? unexplained. The tree is a directory, a
linux-source tarball or GITDIR@REV; without --tree it is $KVM_VMX_TREE or one under /usr/src.
Exit status: 0 nothing is unexplained, 1 something is, 2 trouble.
"""

import difflib
import sys

from kvm_vmx.commands import (
    DIFFERS, HOLDS, Trouble, add_command, check_writable, print_columns, print_json, write_text)

EXAMPLE = """\
example:
  kvm-vmx compare vmx_exit --tree ~/linux@v4.19     one function in two columns
  kvm-vmx compare --html compare.html               all of it as a page
"""


def configure(commands) -> None:
    """Add `compare` to the command line."""
    command = add_command(commands, sys.modules[__name__], "compare", EXAMPLE)
    command.add_argument("function", nargs="*", help="functions to show in two columns")
    command.add_argument("--tree", help="the kernel: a directory, a tarball, or GITDIR@REV")
    command.add_argument("--only", choices=["diff"], help="leave out what is same or idiom")
    command.add_argument("--config", action="append", default=[], metavar="NAME=VALUE",
                         help="the value of a CONFIG_ symbol in the tree's #if")
    command.add_argument("--html", metavar="FILE", help="write one self-contained page")
    command.add_argument("--scope", action="store_true",
                         help="list the kernel's functions: ported, or why not")


def execute(args) -> int:
    """Compare, and show what was asked for."""
    from kvm_vmx.compare import views
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.report import Report

    check_writable(args.html)
    tree = opened(args.tree, args.config)
    port = Port()
    for name in args.function:
        if name not in port.subjects:
            near = difflib.get_close_matches(name, port.subjects, 3, 0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "see `kvm-vmx compare`"
            raise Trouble(f"the port has no function {name}: {hint}")
    only = set(args.function) or None
    report = Report(port, tree, None if args.scope else only)
    if args.html:
        from kvm_vmx.compare.page import page

        write_text(args.html, page(report))
    if args.scope:
        show_scope(report, args.json)
    elif args.json:
        print_json(views.as_json(report))
    elif args.function and not args.html:
        show_pairs(report, args.only == "diff")
    elif not args.html:
        print(f"tree    {tree.title}")
        print(f"config  {' '.join(f'{name}={value}' for name, value in tree.config.items())}\n")
        print_columns(views.table(report), right=range(3, 11))
        print()
        print_columns(views.files(report), right=(1, 2, 3, 4))
        print(f"\n{views.summary(report)}")
    return DIFFERS if report.totals["unexplained"] else HOLDS


def opened(spec: str | None, settings=()):
    """The tree of a --tree option, or the one in the usual places."""
    from kvm_vmx.compare.opening import TreeError, find_tree, open_tree

    config = {}
    for setting in settings:
        name, equal, value = setting.partition("=")
        if not equal or not value.isdigit():
            raise Trouble(f"--config {setting}: give NAME=NUMBER, as CONFIG_HYPERV=0")
        config[name] = int(value)
    spec = spec or find_tree()
    if spec is None:
        raise Trouble("no kernel tree under /usr/src: give one with --tree, "
                      "or install linux-source-6.1")
    try:
        return open_tree(spec, config)
    except TreeError as error:
        raise Trouble(str(error)) from error


def show_pairs(report, only_diff: bool) -> None:
    """Some functions in two columns."""
    from rich.console import Console

    from kvm_vmx.compare import views

    console = Console(highlight=False)
    for pair in report.pairs:
        views.print_pair(console, pair, only_diff)


def show_scope(report, json: bool) -> None:
    """Every function of the kernel's files in scope."""
    from kvm_vmx.compare.scope import scope

    places = scope(report)
    if json:
        print_json({"schema": "kvm_vmx.scope/1", "tree": report.tree.title,
                    "functions": [place._asdict() for place in places]})
        return
    rows = [("kernel file", "function", "ported to", "out of scope, as it belongs to")]
    print_columns([*rows, *places])
    ported = sum(bool(place.port) for place in places)
    print(f"\n{len(places)} functions, {ported} ported, {len(places) - ported} out of scope")
