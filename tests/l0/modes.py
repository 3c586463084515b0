# SPDX-License-Identifier: GPL-2.0-only
"""L2 where its code is checked more than in flat 64-bit mode: level 3, virtual-8086 mode, 32 bits;
every exception leaves, and so tells itself."""

import functools

from guest import *
from test_guest_modes import flat_32
from test_guest_modes import real as real

UD, NP, SS, GP, PF, TS = 6, 11, 12, 13, 14, 10
DONE = None
# where memory ends that L2's tables map
END = 0x1000000
FREE = GDT + 0x30
LEVEL_3 = dict(GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB, GUEST_SS_SELECTOR=0x23,
               GUEST_SS_AR_BYTES=0xC0F3)
FLAT_3 = dict(GUEST_CS_SELECTOR=0x3B, GUEST_CS_AR_BYTES=0xC0FB, GUEST_SS_SELECTOR=0x23,
              GUEST_SS_AR_BYTES=0xC0F3)
plain = functools.partial(Guest, "plain")


def told(found):
    """An exit: (vector, error code) of an exception, or DONE where VMCALL has been reached."""
    if found.reason == 18:
        return DONE
    assert found.reason == 0, found
    return found.intr_info & 0xFF, found.error if found.intr_info & CODE_BIT else 0


def wide(code, **fields):
    """64-bit code."""
    return plain(code, EXCEPTION_BITMAP=0xFFFFFFFF, **fields)


def narrow(code, **fields):
    """Flat 32-bit code, with 32-bit code of level 3 at 0x38."""
    g = flat_32(plain, code, EXCEPTION_BITMAP=0xFFFFFFFF, **fields)
    g.write(GDT + 0x38, descriptor(0xC0FB))
    return g


def virtual(code, flags=0, at=0x7000, **fields):
    """Virtual-8086 mode without paging."""
    segments = {f"GUEST_{name}_{what}": value for name in ("CS", "SS", "DS", "ES", "FS", "GS")
                for what, value in (("SELECTOR", 0), ("BASE", 0), ("LIMIT", 0xFFFF),
                                    ("AR_BYTES", 0xF3))}
    g = flat_32(plain, "", **{**segments, **dict(
        EXCEPTION_BITMAP=0xFFFFFFFF, GUEST_RFLAGS=0x20002 | flags, GUEST_RIP=at,
        GUEST_RSP=0x6800), **fields})
    g.code(code, at)
    return g


__all__ = [name for name in dir() if not name.startswith("_")]
