# SPDX-License-Identifier: GPL-2.0-only
"""`--apply`: the skeleton of a change, written into a checkout of this project."""

import json
import pathlib
import subprocess
from typing import TYPE_CHECKING

from kvm_vmx.compare.patch import Comparison
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.skeleton import Skeleton
from kvm_vmx.console import DIFFERS, HOLDS, Trouble, print_json
from kvm_vmx.streams import plain

if TYPE_CHECKING:
    from kvm_vmx.compare.mail import Patch
    from kvm_vmx.compare.trees import Tree

PINS = "kvm_vmx/compare/marks_4.19.json"


def apply(patches: "list[Patch]", tree: "Tree", directory: str, as_json: bool) -> int:
    """Change the port in a directory; 0 where nothing is left to a hand, 1 otherwise."""
    root = checkout(directory)
    port = Port(root / "kvm_vmx" / "l1", pins_of(root))
    comparison = Comparison(patches, port, tree)
    skeleton = Skeleton(comparison)
    if comparison.tree and not comparison.newer:
        raise Trouble(f"the patch is in {tree.title} already: --apply is for a newer one; see "
                      "`kvm-vmx compare --patch` without it")
    changed = list(dict.fromkeys(edit.path for edit in skeleton.edits))
    texts = {path: "\n".join(skeleton.text(path)) for path in changed}
    for path, text in texts.items():
        (root / path).write_text(text)
    keep_pins(root, port)
    if as_json:
        print_json({"schema": "kvm_vmx.apply/1", "changed": changed, "diff": skeleton.diff(),
                    "by hand": skeleton.told()})
    else:
        for path in changed:
            print(f"changed: {path}")
        for line in skeleton.told():
            print(line)
        if changed:
            print(f"\nbuild and test it: cd {plain(directory)} && python setup.py build_ext "
                  "--inplace && python -m pytest tests/l1 tests/machine")
    return DIFFERS if skeleton.told() or not changed else HOLDS


def checkout(directory: str) -> pathlib.Path:
    """A work tree of this project without changes of its own in the port; Trouble otherwise."""
    root = pathlib.Path(directory)
    cure = "give a fresh one: git worktree add DIR"
    try:
        if not (root / "kvm_vmx" / "l1" / "vmx.pyx").is_file():
            raise Trouble(f"{plain(directory)} is no checkout of this project: {cure}")
        status = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--", "kvm_vmx/l1", PINS],
            capture_output=True, text=True, errors="replace")
    except (OSError, ValueError) as error:
        raise Trouble(f"{plain(directory)}: {error}: {cure}") from error
    if status.returncode:
        raise Trouble(f"{plain(directory)} is no work tree of git, and a change could not be "
                      f"undone there: {cure}")
    if status.stdout.strip():
        raise Trouble(f"{plain(directory)} has changes in the port already: commit them, or {cure}")
    return root


def pins_of(root: pathlib.Path) -> dict[str, list[str]]:
    """The pins of a checkout's marks."""
    try:
        found = json.loads((root / PINS).read_text())
        if not isinstance(found, dict) or not all(
                isinstance(pins, list) and all(isinstance(pin, str) for pin in pins)
                for pins in found.values()):
            raise ValueError("it holds no lists of pins by function")
        return found
    except (OSError, ValueError) as error:
        raise Trouble(f"cannot read {PINS} there: {error}: give a whole checkout") from error


def keep_pins(root: pathlib.Path, before: Port) -> None:
    """Keep each pin with its mark: the marks that were written have none."""
    after = Port(root / "kvm_vmx" / "l1", {})
    pins = pins_of(root)
    held: dict[str, list[tuple[str, str, str]]] = {}
    for name, subject in before.subjects.items():
        held[name] = [(mark.kind, mark.what, mark.reason) for mark in subject.function.marks]
    for name in list(pins):
        left = list(zip(held.get(name, ()), pins[name]))
        found = []
        for mark in after.subjects[name].function.marks if name in after.subjects else ():
            text = f"{mark.what}: {mark.reason}"
            hit = next((pair for pair in left if f"{pair[0][1]}: {pair[0][2]}" == text), None)
            if hit:
                left.remove(hit)
            found.append(hit[1] if hit else "")
        while found and not found[-1] and len(found) > len(pins[name]):
            found.pop()
        pins[name] = found
    rows = (f'"{name}": {json.dumps(found)}' for name, found in pins.items())
    (root / PINS).write_text("{\n" + ",\n".join(rows) + "\n}\n")
