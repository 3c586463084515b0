# SPDX-License-Identifier: GPL-2.0-only
"""What held of a content holds of the same content: it is looked at once."""

import hashlib
import subprocess

import pytest
import tree


class Held:
    """Contents by their digests, of which a test has found that they hold; in pytest's cache, which
    `pytest --cache-clear` empties."""

    def __init__(self, cache, name, *how):
        self.cache, self.name = cache, f"held/{name}"
        self.how = repr(how).encode()
        self.found = set(cache.get(self.name, [])) if cache else set()
        self.now = set()

    def digest(self, *paths):
        """Of files, by their names below the root and what is in them."""
        digest = hashlib.sha256(self.how)
        for path in paths:
            text = (tree.ROOT / path).read_bytes()
            digest.update(f"{path} {len(text)}\n".encode() + text)
        return digest.hexdigest()

    def __contains__(self, digest):
        self.now.add(digest)
        return digest in self.found

    def keep(self):
        """All that was asked about holds."""
        if self.cache and self.now - self.found:
            self.cache.set(self.name, sorted(self.now))


@pytest.fixture(scope="session")
def compiler():
    """Which one reads the headers, in its own words."""
    return subprocess.run(["gcc", "-v"], capture_output=True, text=True, check=True).stderr


@pytest.fixture
def held(request):
    """held(*how): the contents of which this test has found before that they hold, judged so."""
    judge = request.node.path.read_text(encoding="utf-8")
    return lambda *how: Held(
        getattr(request.config, "cache", None), request.node.name, judge, *how)
