# SPDX-License-Identifier: GPL-2.0-only
"""`compare --patch`: a mailed patch beside v4.19 and the port, and what of a newer one to port."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from kvm_vmx.console import DIFFERS, HOLDS, Trouble, check_writable, print_json, write_text
from kvm_vmx.progress import working
from kvm_vmx.streams import plain

if TYPE_CHECKING:
    from kvm_vmx.compare.skeleton import Skeleton
    from kvm_vmx.compare.trees import Tree

# opens --tree, with what --config says and whether --nearest will do
Opener: TypeAlias = "Callable[[str | None, list[str], bool], Tree]"


def configure(command: argparse.ArgumentParser) -> None:
    """The options of a patch."""
    command.add_argument("--patch", metavar="FILE",
                         help="a mail, an mbox or a patch: as mailed, in the tree, in the port")
    command.add_argument("--apply", metavar="DIR",
                         help="with --patch: write the change into a checkout of this project")


def tree_of(args: argparse.Namespace, opened: Opener) -> "Tree | None":
    """The tree to compare with, as `opened` opens it; None where none is named and none found."""
    from kvm_vmx.compare.found import default_tree
    from kvm_vmx.compare.opening import TreeError

    if not args.tree:
        try:
            default_tree(args.nearest)
        except TreeError:
            return None
    return opened(args.tree, args.config, args.nearest)


def execute(args: argparse.Namespace, opened: Opener) -> int:
    """Compare a patch."""
    from kvm_vmx.compare import mail, patch_view
    from kvm_vmx.compare.patch import Comparison
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.skeleton import Skeleton

    check_writable(args.html)
    if not args.patch:
        raise Trouble("--apply needs the patch: give it with --patch")
    for name in ("function", "scope", "only"):
        if getattr(args, name):
            raise Trouble(f"--patch shows the whole patch: leave out {name}")
    with working("reading the tree"):
        patches = mail.read(args.patch)
        tree = tree_of(args, opened)
    if args.apply:
        from kvm_vmx.compare.patch_apply import apply

        if tree is None:
            raise Trouble("--apply needs the tree that the port was made from: give a v4.19 tree "
                          "with --tree")
        return apply(patches, tree, args.apply, args.json)
    with working("comparing"):
        comparison = Comparison(patches, Port(), tree)
        title = tree.title if tree else "no tree"
        skeleton = Skeleton(comparison) if comparison.newer else None
    if args.html:
        from kvm_vmx.compare.patch_page import page

        write_text(args.html, page(comparison, title))
    if args.json:
        made = {"skeleton": skeleton.diff(), "by hand": skeleton.told()} if skeleton else {}
        print_json({**patch_view.as_json(comparison, title), **made})
    elif args.html:
        print(f"{plain(args.html)}: open it in a browser.")
    else:
        patch_view.show(comparison, title)
        if tree is None:
            print("no v4.19 tree: the port alone was looked at; give one with --tree")
        if skeleton:
            show_skeleton(skeleton)
    kinds = comparison.totals
    return DIFFERS if kinds["changed"] or kinds["changed after review"] or kinds["not taken up"] \
        else HOLDS


def show_skeleton(skeleton: "Skeleton") -> None:
    """The change of the port as a diff, and what is left to do by hand."""
    print("\nthe change of the port:\n" if skeleton.edits else "\nnothing of it is in the port.")
    for line in skeleton.diff():
        print(line)
    for line in skeleton.told():
        print(line)
