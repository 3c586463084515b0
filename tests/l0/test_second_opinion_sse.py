# SPDX-License-Identifier: GPL-2.0-only
"""Random rows of SSE2 instructions on the processor of L2 and on unicorn's."""

import random

import needed
import pytest

needed.capability("unicorn")

from guest import CODE  # noqa: E402
from on_board import OnBoard  # noqa: E402
from random_sse import row  # noqa: E402
from second_opinion import Ours, Unicorn  # noqa: E402

SEED, LENGTH = 1612, 24
ROWS, SOAK = 60, 30_000
OSFXSR, PAE_VMXE = 1 << 9, 0x2020


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["plain", "board"])
def test_both_processors_agree_on_rows_of_sse(mode, soak):
    rng = random.Random(SEED if mode == "plain" else SEED + 1)
    ours, theirs = OnBoard() if mode == "board" else Ours(mode), Unicorn()
    if mode == "plain":
        ours.guest.set(GUEST_CR4=PAE_VMXE | OSFXSR)
    for _ in range(SOAK if soak else ROWS):
        code, before = row(rng, LENGTH)
        a = ours.run(code, before, 1)
        a = a if mode == "board" else a.state
        b = theirs.run(code, before, 1).state
        wrong = [n for n in range(len(a.memory)) if a.memory[n] != b.memory[n]]
        assert (a.registers, a.rip) == (b.registers, b.rip), code.hex()
        assert a.rip == CODE + len(code) - 2, "a row ends with UD2"
        assert not wrong, (wrong[:20], code.hex())
