# SPDX-License-Identifier: GPL-2.0-only
"""What the edits came to: counted by side, kind of unit and kind of edit, kept between runs."""

import collections
import hashlib
import json
import pathlib

COMPARE = pathlib.Path(__file__).parents[2] / "kvm_vmx/compare"


def state(units) -> str:
    """A digest of both sides, of the comparison and of what makes the edits."""
    digest = hashlib.blake2s(digest_size=8)
    texts = [*(file.read_text() for place in (COMPARE, pathlib.Path(__file__).parent)
               for file in sorted(place.glob("*.*")) if file.is_file()),
             *(text for _, text in sorted(units.report.tree.files.items())),
             repr(sorted((path, of) for path, of in units.now["port"].items()))]
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()


class Tally:
    """The slices that are done, and what passed of them."""

    def __init__(self, kept, units):
        """`kept` is the directory that holds them between runs, or None."""
        self.path = kept and pathlib.Path(kept) / f"{state(units)}.json"
        self.done = {}
        if self.path and self.path.exists():
            self.done = json.loads(self.path.read_text())

    def known(self, side: str, each) -> bool:
        """Whether a slice was done."""
        return f"{side} {each.path} {each.number}" in self.done

    def add(self, side: str, each, bad: list[str]):
        """Note a slice."""
        count = collections.Counter(f"{unit}|{what if meaning else 'neutral'}"
                                    for unit, what, meaning, _ in each.edits)
        self.done[f"{side} {each.path} {each.number}"] = {"count": count, "bad": bad}
        if self.path and len(self.done) % 20 == 0:
            self.keep()

    def keep(self):
        """Write what is done."""
        if self.path:
            self.path.write_text(json.dumps(self.done))

    def of(self, side: str) -> list[dict]:
        """The slices of one side."""
        return [of for key, of in self.done.items() if key.startswith(f"{side} ")]

    def passed(self, side: str) -> list[str]:
        """What passed of one side."""
        return [text for of in self.of(side) for text in of["bad"]]

    def count(self, side: str) -> int:
        """How many edits there were on one side."""
        return sum(sum(of["count"].values()) for of in self.of(side))

    def table(self) -> str:
        """Kind of edit x kind of unit x side: how many there were, and how many of them passed."""
        self.keep()
        made, bad = collections.Counter(), collections.Counter()
        for key, of in self.done.items():
            side = "kernel" if key.startswith("Kernel") else "port"
            for name, number in of["count"].items():
                made[(side, *name.split("|"))] += number
            for text in of["bad"]:
                _, unit, what, *_ = text.split(": ")
                neutral = text.endswith(": told")
                bad[side, unit, "neutral" if neutral else what] += 1
        rows = [f"{'side':8}{'unit':16}{'edit':14}{'made':>8}{'passed':>8}"]
        rows += [f"{side:8}{unit:16}{what:14}{number:8}{bad[side, unit, what]:8}"
                 for (side, unit, what), number in sorted(made.items())]
        rows.append(f"{'all':38}{sum(made.values()):8}{sum(bad.values()):8}")
        return "\n".join(rows)
