# SPDX-License-Identifier: GPL-2.0-only
"""The kept inputs: a file a surface in tests/data/corpus, compressed, each with its length."""

import lzma
import pathlib

KEPT = pathlib.Path(__file__).resolve().parents[1] / "data/corpus"


def kept(surface):
    """The inputs of a surface."""
    data = lzma.decompress((KEPT / f"{surface}.bin").read_bytes())
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 2], "little")
        yield data[at + 2:at + 2 + size]
        at += 2 + size


def keep(surface, inputs):
    """Keep these inputs and no others."""
    KEPT.mkdir(exist_ok=True)
    data = b"".join(len(one).to_bytes(2, "little") + one for one in sorted(set(inputs)))
    (KEPT / f"{surface}.bin").write_bytes(lzma.compress(data, preset=9))
