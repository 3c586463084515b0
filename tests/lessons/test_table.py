# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `table`: slot, offset and clean bits from v4.19's table, and what lies outside it."""

import pytest
import rules

from kvm_vmx.lessons import table

BY_ENCODING = {encoding: name for name, encoding in rules.ENCODINGS.items()}


def rotated(encoding):
    """ROL16 by 6, bit by bit: bit n goes to n + 6, the six highest to the lowest places."""
    return sum(1 << (bit + 6) % 16 for bit in range(16) if encoding >> bit & 1)


SLOTS = max(map(rotated, BY_ENCODING)) + 1


def expected(given):
    """The answer, from the two encodings that the student is given."""
    row, slot = rules.TABLE[BY_ENCODING[given["encoding"]]], rotated(given["unmapped"])
    assert given["unmapped"] not in BY_ENCODING
    return {"slot": rotated(given["encoding"]), "offset": row["offset"],
            "clean": int(row["clean_mask"], 16),
            # a slot in between holds zeros, and offset 0; beyond the table nothing is written
            "unmapped_slot": slot, "unmapped_offset": 0 if slot < SLOTS else None}


@pytest.mark.soak
def test_the_answers_follow_the_table(soak):
    beyond = set()
    for seed in range(1000 if soak else 60):
        record = table.run(seed)
        assert record.values == expected(record.given), seed
        assert record.given["slots"] == SLOTS == 2825
        beyond.add(record.values["unmapped_offset"])
    assert beyond == {0, None}


def test_every_kind_of_field_is_asked_for():
    widths, types = set(), set()
    for seed in range(60):
        encoding = table.run(seed).given["encoding"]
        widths.add(encoding >> 13 & 3)
        types.add(encoding >> 10 & 3)
    # exit information is read only
    assert widths == {0, 1, 2, 3} and types == {0, 2, 3}


def test_a_row_of_the_picture_is_one_of_the_table():
    """The solved one; of the two rows that are asked for the other shows the encoding alone."""
    for seed in range(20):
        record = table.run(seed)
        for hidden, row in zip(record.picture.steps[-1].rows, record.solved.steps[-1].rows):
            name, typed, bits, turned, slot, offset, clears = (cell.text for cell in row)
            encoding = int(typed, 16)
            assert int(bits.replace(" ", ""), 2) == encoding
            assert int(turned.replace(" ", ""), 2) == int(slot, 16) == rotated(encoding)
            asked = encoding in (record.given["encoding"], record.given["unmapped"])
            assert [cell.text for cell in hidden] == (
                [name, typed, bits, "?", "?", "?", "?"] if asked else [cell.text for cell in row])
            if encoding == record.given["unmapped"]:
                assert offset == ("0x0" if rotated(encoding) < SLOTS else "none")
                continue
            assert encoding == rules.ENCODINGS[name]
            assert (int(offset, 16), int(clears, 16)) == (
                rules.TABLE[name]["offset"], rules.MASKS[name])
        shown = {slot for slot, _ in record.picture.slots}
        assert {slot for slot, _ in record.solved.slots} == set(map(rotated, BY_ENCODING))
        assert set(map(rotated, BY_ENCODING)) - shown == {record.values["slot"]}
