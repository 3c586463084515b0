# SPDX-License-Identifier: GPL-2.0-only
"""The inputs that the fuzzers have kept, and some of our own: none ends but as it should."""

import os
import random
import signal
import traceback

import corpus
import l0
import pytest
import surfaces


def in_child(call):
    """The status of a process of its own that calls: what crashes there ends no other."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    signal.alarm(300)
    status = 1
    try:
        call()
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    return l0.Replayed(l0.compile_here(tmp_path_factory.mktemp("fuzz")))


@pytest.mark.host("compiler")
@pytest.mark.parametrize("surface", l0.SURFACES)
def test_l0(replayed, surface):
    inputs = list(corpus.kept(surface))
    assert len(inputs) > 300

    def replay():
        # each input lets both processors write MSRs at least
        assert sum(replayed.one(surface, data) for data in inputs) > 4 * len(inputs)

    assert in_child(replay) == 0


@pytest.mark.host("compiler")
@pytest.mark.parametrize("surface", l0.SURFACES)
def test_l0_while_its_memory_changes(replayed, surface):
    """Another thread stores into the pages that L0 reads: what was checked is what is used."""
    dice = random.Random(surface)
    inputs = list(corpus.kept(surface))

    def replay():
        with replayed.storm():
            for data in dice.sample(inputs, 200):
                replayed.one(surface, data)

    assert in_child(replay) == 0


@pytest.mark.parametrize("surface", surfaces.SURFACES)
def test_python(surface, tmp_path):
    inputs = [*surfaces.SEEDS[surface], *corpus.kept(surface)]

    def replay():
        for data in inputs:
            surfaces.SURFACES[surface](data, tmp_path)
        surfaces.close()

    assert in_child(replay) == 0
