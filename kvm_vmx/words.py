# SPDX-License-Identifier: GPL-2.0-only
"""What is said of a name that nothing has: those that there are, and the one that was meant."""

from collections.abc import Iterable

# names that a line can list beside the one that was meant
LISTED = 20
NEAREST = 3
ALIKE = 0.6


def near(word: object, known: Iterable[str], most: int = 1) -> list[str]:
    """The known names that look like a word, the most alike first; letters' case counts little."""
    # long to import, and asked for where something is wrong
    import difflib

    names = {name.casefold(): name for name in map(str, known)}
    found = difflib.get_close_matches(str(word).casefold()[:100], names, most, ALIKE)
    return [names[name] for name in found]


def meant(word: object, known: Iterable[str], most: int = 1) -> str:
    """The question whether a known name was meant, or nothing."""
    found = near(word, known, most)
    return f"did you mean {', '.join(found)}?" if found else ""


def choices(word: object, known: Iterable[str], there: str = "") -> str:
    """What to say behind a name that is none: what there is, and what may have been meant.

    there tells what there is in other words than a list of `known`.
    """
    names = list(map(str, known))
    guess = meant(word, names)
    if not there and (len(names) <= LISTED or not guess):
        there = f"there are {', '.join(names)}"
    return ": ".join(filter(None, (there, guess)))


def unknown(what: str, word: object, known: Iterable[str], there: str = "") -> str:
    """One line for a name that is none, as in "no lesson 'moon': there are levels, ..."."""
    return f"no {what} {word!r}: {choices(word, known, there)}"
