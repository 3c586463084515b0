# SPDX-License-Identifier: GPL-2.0-only
"""A compared patch as text in three columns and as JSON."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kvm_vmx import rendering
from kvm_vmx.compare.patch_fate import KINDS
from kvm_vmx.streams import plain

if TYPE_CHECKING:
    from kvm_vmx.rendering import Console

    from kvm_vmx.compare.mail import Remark
    from kvm_vmx.compare.patch import Comparison, Looked
    from kvm_vmx.compare.patch_fate import Fate
    from kvm_vmx.compare.patch_places import Spot

SIGNS = {"same": "=", "renamed": "→", "moved": "↕", "changed": "~", "changed after review": "~",
         "not taken up": "-"}
STYLES = {"same": "", "renamed": "cyan", "moved": "cyan", "changed": "yellow",
          "changed after review": "yellow", "not taken up": "magenta"}
AHEAD = {"same": "there already", "renamed": "there already, by another name",
        "moved": "there already, elsewhere", "changed": "to change",
        "changed after review": "to change", "not taken up": "to do"}


def counted(totals: Mapping[str, int], newer: bool) -> str:
    """How many statements of each kind, in words."""
    words: dict[str, int] = {}
    for kind in KINDS:
        if totals[kind]:
            word = AHEAD[kind] if newer else kind
            words[word] = words.get(word, 0) + totals[kind]
    return ", ".join(f"{count} {word}" for word, count in words.items()) or "none"


def heading(looked: "Looked") -> str:
    """What a hunk is of, and what of it is not there."""
    hunk = looked.hunk
    told = [hunk.cut, *hunk.notes]
    more = "".join(f"; {note}" for note in told if note)
    return f"@@ {plain(hunk.heading or '(no function)')}  {plain(hunk.file)}:{hunk.new[0]}{more}"


def spot(found: "Spot | None", text: str = "") -> str:
    """A statement of one side with its place, shorter where it says what `text` says."""
    if found is None:
        return ""
    place = f"{found.path.rpartition('/')[2]}:{found.line}" if found.line else ""
    how = f"({found.how}: {found.why})" if found.how and found.why else ""
    same = text and found.text.rstrip(";") == text.rstrip(";")
    return "\n".join(part for part in (place, "(the same)" if same else found.text, how) if part)


def show(comparison: "Comparison", tree: str) -> None:
    """Every hunk in three columns, then what it comes to."""
    terminal, last = rendering.console(), None
    gaps: dict[int, int] = {}
    for looked in comparison.hunks:
        if looked.patch is not last:
            last, gaps = looked.patch, {id(hunk): net for hunk, net in looked.patch.missing()}
            print(f"{plain(last.subject or 'a patch without a subject')}")
            print(f"{plain(last.author)}  {plain(last.date)}".rstrip() + "\n")
            for remark in last.remarks:
                show_remark(remark)
        if gap := gaps.get(id(looked.hunk)):
            print(f"(hunks that add {gap} lines net are not quoted here)")
        show_hunk(terminal, looked, tree, comparison.newer)
    for line in summary(comparison, tree):
        print(line)


def show_hunk(terminal: "Console", looked: "Looked", tree: str, newer: bool) -> None:
    """One hunk: its statements, and each remark behind the statements that it is of."""
    print(heading(looked))
    waiting = list(looked.hunk.remarks)
    rows: list[Fate] = []
    for fate in looked.fates:
        while waiting and waiting[0].number < fate.statement.number:
            show_rows(terminal, rows, tree, newer)
            rows = []
            show_remark(waiting.pop(0))
        rows.append(fate)
    show_rows(terminal, rows, tree, newer)
    for remark in waiting:
        show_remark(remark)
    print()


def show_rows(terminal: "Console", fates: "list[Fate]", tree: str, newer: bool) -> None:
    """Some statements in three columns."""
    from rich.table import Table
    from rich.text import Text

    from kvm_vmx.compare.hanging import Hanging

    if not fates:
        return
    grid = Table(box=None, expand=True, pad_edge=False, show_header=True, header_style="bold")
    for title, wide in (("as mailed", 1), ("", 0), (tree, 1), ("port", 1)):
        grid.add_column(title, ratio=wide or None, width=None if wide else 1, overflow="fold")
    for fate in fates:
        style, text = STYLES[fate.kind], fate.statement.text
        word = AHEAD[fate.kind] if newer else fate.kind
        note = ", ".join(part for part in (word if fate.kind != "same" else "", fate.why) if part)
        grid.add_row(Hanging(f"{fate.statement.sign} {text}", style, f"  {note}" if note else ""),
                     Text(SIGNS[fate.kind], style=style), Hanging(spot(fate.kernel, text)),
                     Hanging(spot(fate.port)))
    terminal.print(grid)


def show_remark(remark: "Remark") -> None:
    """What somebody said, with who it was."""
    print(f"      {plain(remark.author or 'somebody')}, line {remark.number}:")
    for line in remark.text.split("\n"):
        for part in textwrap.wrap(line.expandtabs(), 88) or [""]:
            print(f"      | {part}".rstrip())


def summary(comparison: "Comparison", tree: str) -> list[str]:
    """What the patches come to, in a few lines."""
    fates, hunks = comparison.fates, [looked.hunk for looked in comparison.hunks]
    cut = sum(max(hunk.new[1] - hunk.quoted("-"), 0) for hunk in hunks)
    lines = [f"{len(hunks)} hunks, {len(fates)} statements: "
             f"{counted(comparison.totals, comparison.newer)}"]
    if cut:
        lines.append(f"not quoted: {cut} lines of the hunks that are here")
    for patch in comparison.patches:
        plus = sum(line.sign == "+" for hunk in patch.hunks for line in hunk.lines)
        if patch.insertions and plus != patch.insertions:
            lines.append(f"quoted: {plus} of the {patch.insertions} lines that the patch adds")
    if comparison.newer:
        lines.append(f"This patch is newer than {tree}: most of what it adds is not there.")
    return lines


def as_json(comparison: "Comparison", tree: str) -> dict[str, object]:
    """The comparison for programs."""
    return {
        "schema": "kvm_vmx.patch/1", "tree": tree, "newer": comparison.newer,
        "totals": comparison.totals,
        "patches": [
            {"subject": patch.subject, "author": patch.author, "date": patch.date,
             "insertions": patch.insertions, "remarks": [remark_json(r) for r in patch.remarks],
             "missing": [{"before": hunk.number, "lines": net} for hunk, net in patch.missing()],
             "hunks": [hunk_json(looked) for looked in comparison.hunks if looked.patch is patch]}
            for patch in comparison.patches],
    }


def hunk_json(looked: "Looked") -> dict[str, object]:
    """One hunk for programs."""
    hunk = looked.hunk
    return {
        "file": hunk.file, "heading": hunk.heading, "line": hunk.number,
        "old": list(hunk.old), "new": list(hunk.new), "quoted": hunk.quoted("-"),
        "cut": hunk.cut, "notes": hunk.notes,
        "remarks": [remark_json(remark) for remark in hunk.remarks],
        "statements": [
            {"sign": fate.statement.sign, "line": fate.statement.number,
             "function": fate.statement.function, "text": fate.statement.text,
             "kind": fate.kind, "why": fate.why,
             "kernel": spot_json(fate.kernel), "port": spot_json(fate.port),
             "remark": fate.remark.number if fate.remark else None}
            for fate in looked.fates],
    }


def remark_json(remark: "Remark") -> dict[str, object]:
    """One remark for programs."""
    return {"author": remark.author, "line": remark.number, "text": remark.text}


def spot_json(found: "Spot | None") -> dict[str, object] | None:
    """One place for programs."""
    return {"file": found.path, "line": found.line, "text": found.text,
            "how": found.how, "why": found.why} if found else None
