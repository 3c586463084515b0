# SPDX-License-Identifier: GPL-2.0-only
"""The shortest program that still fails: by hypothesis where it is installed, or by trying."""

import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence

from kvm_vmx.lessons.record import UNDO, NothingShown
from kvm_vmx import host

LONGEST = 6


def shortest(letters: Sequence[str], fails: Callable[[list[str]], bool],
             seed: int) -> tuple[list[str], str]:
    """The shortest list of letters that ends with the first letter and fails(), of those the
    first in the letters' order; and how it was found. NothingShown: none was."""
    if not host.has("hypothesis"):
        return by_trying(letters, fails), "found by trying all, the shortest first"
    return by_hypothesis(letters, fails, seed), "found by hypothesis"


def by_trying(letters: Sequence[str], fails: Callable[[list[str]], bool]) -> list[str]:
    """Every program, the shortest first."""
    for length in range(LONGEST):
        for program in itertools.product(letters, repeat=length):
            if fails([*program, letters[0]]):
                return [*program, letters[0]]
    raise NothingShown(f"no program of up to {LONGEST} steps fails: {UNDO}")


def by_hypothesis(letters: Sequence[str], fails: Callable[[list[str]], bool],
                  seed: int) -> list[str]:
    """Random programs until one fails, then less and less of it."""
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.configuration import set_hypothesis_home_dir

    programs = st.lists(st.sampled_from(letters), max_size=2 * LONGEST).map(
        lambda program: [*program, letters[0]])
    with tempfile.TemporaryDirectory() as home, no_sources():
        set_hypothesis_home_dir(home)
        # its explanations trace each line from the first failure on, and nobody reads them
        settings = hypothesis.settings(
            database=None, deadline=None, max_examples=1000,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck))
        try:
            found: list[str] = hypothesis.find(
                programs, fails, settings=settings, random=random.Random(seed))
            return found
        except hypothesis.errors.NoSuchExample as error:
            raise NothingShown(f"no program that was tried fails: {UNDO}") from error
        finally:
            set_hypothesis_home_dir(None)


@contextlib.contextmanager
def no_sources() -> Iterator[None]:
    """Hypothesis draws what stands as a constant in the sources of a checkout's modules, and parses
    them all for it: a second, and then chance depends on what else is loaded."""
    try:
        from hypothesis.internal.conjecture import providers
        gather, kept = providers._get_local_constants, providers._local_constants
    except (ImportError, AttributeError):   # another version's
        yield
        return
    providers._get_local_constants = lambda: kept
    try:
        yield
    finally:
        providers._get_local_constants = gather
