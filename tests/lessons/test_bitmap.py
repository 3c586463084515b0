# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `bitmap`: byte, bit and exits by the SDM's quarters and by what v4.19 gives away."""

import pytest

from kvm_vmx.lessons import bitmap

# vmx_create_vcpu() of v4.19 lets L2 at these without an exit: FS, GS and KERNEL_GS base, SYSENTER.
GIVEN = {0xC0000100, 0xC0000101, 0xC0000102, 0x174, 0x175, 0x176}
RIGHT = """
def exits(msr, write, bitmap):
    if msr < 0x2000:
        at = msr
    elif 0xc0000000 <= msr < 0xc0002000:
        at = msr - 0xc0000000 + 8192
    else:
        return 1
    return bytes.fromhex(bitmap)[(at + 16384 * write) // 8] >> at % 8 & 1
"""


def expected(given):
    """The answer, from what the student is given."""
    msr, write = given["accesses"][-1]
    return {"byte": 2048 * write + 1024 * (msr >= 0xC0000000) + (msr & 0x1FFF) // 8, "bit": msr & 7,
            "exits": sum(one not in GIVEN for one, _ in given["accesses"][-3:])}


@pytest.mark.soak
def test_the_answers_are_the_sdms(soak):
    seen = set()
    for seed in range(1000 if soak else 60):
        record = bitmap.run(seed)
        assert record.values == expected(record.given), seed
        seen.add(tuple(record.values.values()))
    assert len(seen) > (40 if soak else 20)


def test_each_exit_is_of_its_instruction():
    accesses = [bitmap.Access(msr, write) for msr in bitmap.WRITABLE for write in (False, True)]
    exits, page = bitmap.film(accesses)
    for access, found in zip(accesses, exits):
        assert found == ([] if access.msr in GIVEN else [32 if access.write else 31]), access
    cleared = sum(8 - byte.bit_count() for byte in page)
    assert cleared == 2 * len(GIVEN)


@pytest.mark.parametrize("wrong, code", [
    (False, RIGHT), (True, RIGHT.replace("16384", "8192")), (True, RIGHT.replace("% 8", "% 7")),
    (True, RIGHT.replace("return 1", "return 0"))])
def test_a_students_function(told, tmp_path, wrong, code):
    (tmp_path / "mine.py").write_text(code)
    done = told("lesson", "bitmap", "--write", tmp_path / "mine.py")
    assert done.returncode == (1 if wrong else 0)
    assert (f"{len(bitmap.NAMED) + len(bitmap.WRITABLE) + 6} of" in done.stdout) != wrong
