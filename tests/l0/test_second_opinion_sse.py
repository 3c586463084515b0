# SPDX-License-Identifier: GPL-2.0-only
"""Random rows of SSE2 instructions on the processor of L2 and on unicorn's."""

import random

import needed
import pytest

needed.capability("unicorn")

from guest import CODE  # noqa: E402
from on_board import OnBoard  # noqa: E402
from random_insn import SIZE  # noqa: E402
from random_sse import float_row, row  # noqa: E402
from second_opinion import Ours, Unicorn  # noqa: E402

SEED, LENGTH = 1612, 24
ROWS, SOAK = 60, 30_000
CSR, FLAGS = SIZE - 4, 0x3F
OSFXSR, PAE_VMXE = 1 << 9, 0x2020


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["plain", "board"])
def test_both_processors_agree_on_rows_of_sse(mode, soak):
    both = Both(mode)
    for _ in range(SOAK if soak else ROWS):
        code, before = row(both.rng, LENGTH)
        a, b = both.run(code, before)
        assert (a.registers, a.rip) == (b.registers, b.rip), code.hex()
        assert a.rip == CODE + len(code) - 2, "a row ends with UD2"
        assert not differing(a, b), code.hex()


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["plain", "board"])
def test_both_processors_agree_on_rows_of_numbers(mode, soak):
    """Of two NaNs SSE takes the first, SDM 1 table 4-7, and unicorn's x87 rule is another: a row
    may differ from the instruction on that had two."""
    both = Both(mode)
    for _ in range(SOAK if soak else ROWS):
        programs, before = float_row(both.rng, LENGTH)
        a, b = both.run(programs[-1], before)
        assert a.rip == b.rip == CODE + len(programs[-1]) - 2, "a row ends with UD2"
        if a.registers == b.registers and not numbers_differing(a, b):
            continue
        for code in programs:
            a, b = both.run(code, before)
            if wrong := numbers_differing(a, b):
                break
            assert a.registers == b.registers, code.hex()
        assert all(two_nans(a.memory, b.memory, n) for n in wrong), code.hex()


def is_nan(memory, at, size):
    """Is the number there one?"""
    value = int.from_bytes(memory[at & -size:(at & -size) + size], "little")
    infinity = 0x7F800000 if size == 4 else 0x7FF0000000000000
    return value & (1 << 8 * size - 1) - 1 > infinity


def two_nans(one, other, at):
    """Do both have a NaN there?"""
    return any(is_nan(one, at, size) and is_nan(other, at, size) for size in (4, 8))


def differing(a, b):
    """The bytes of memory that are not the same."""
    if a.memory == b.memory:
        return []
    return [n for n in range(len(a.memory)) if a.memory[n] != b.memory[n]]


def numbers_differing(a, b):
    """Likewise, but for the flags of MXCSR, of which unicorn tells none."""
    return [n for n in differing(a, b) if n != CSR or b.memory[CSR] & FLAGS]


class Both:
    """Our processor and unicorn's."""

    def __init__(self, mode):
        self.rng = random.Random(SEED if mode == "plain" else SEED + 1)
        self.mode, self.theirs = mode, Unicorn()
        self.ours = OnBoard() if mode == "board" else Ours(mode)
        if mode == "plain":
            self.ours.guest.set(GUEST_CR4=PAE_VMXE | OSFXSR)

    def run(self, code, before):
        """What both have behind a program."""
        a = self.ours.run(code, before, 1)
        return a if self.mode == "board" else a.state, self.theirs.run(code, before, 1).state
