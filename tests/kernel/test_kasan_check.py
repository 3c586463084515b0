# SPDX-License-Identifier: GPL-2.0-only
"""What code that is compiled to ask calls before each access: as a look at each of its bytes."""

import ctypes
import random
import re
import subprocess
from pathlib import Path

import pytest

import kvm_vmx

STANDINS = Path(kvm_vmx.__file__).parent / "kernel/standins"
# Of a kernel's headers what this one file has need of; who is told does not come back.
INSTEAD = """
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#define STANDIN_SANITIZED
#define __memset memset
#define round_down(x, y) ((x) & ~((y) - 1UL))
#define min(a, b) ((a) < (b) ? (a) : (b))
enum { %s };
static jmp_buf out;
static char said[120];
static void die(const char *line, unsigned long ip) { strcpy(said, line); longjmp(out, 1); }
static unsigned char shadow[%d];
static struct { unsigned long memory, memory_size; unsigned char *shadow;
		void (*die)(const char *, unsigned long); } host_is = { %#x, %d, shadow, die },
	*host = &host_is;
"""
ASKS = """
const char *asks(unsigned long at, unsigned long size)
{
	said[0] = 0;
	if (!setjmp(out))
		__asan_loadN(at, size);
	return said;
}
"""
MEMORY, SIZE, ROOM = 0x100000, 1024, 4096
KINDS = dict(re.findall(r"\b(SHADOW_\w+) = (0x\w+)", (STANDINS / "standin.h").read_text()))
RED, FREED, NOBODY = (int(KINDS[f"SHADOW_{name}"], 16) for name in ("RED", "FREED", "NOBODY"))
WORDS = {RED: "beyond an object", FREED: "of memory that was freed",
         NOBODY: "of memory that was never handed out"}


@pytest.fixture(scope="module")
def asks(tmp_path_factory):
    """The check as a function of Python, and the words that it has for a byte; of all kinds."""
    to = tmp_path_factory.mktemp("kasan")
    (to / "standin.h").write_text(INSTEAD % (
        ", ".join(f"{name} = {value}" for name, value in KINDS.items()), ROOM, MEMORY, SIZE))
    (to / "kasan.c").write_text((STANDINS / "kasan.c").read_text() + ASKS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-strict-overflow",
                    str(to / "kasan.c"), "-o", str(to / "kasan.so")], check=True)
    library, dice = ctypes.CDLL(str(to / "kasan.so")), random.Random(2)
    library.asks.restype, library.asks.argtypes = ctypes.c_char_p, [ctypes.c_uint64] * 2
    said, at = {}, 0
    while at < SIZE:
        room = min(dice.choice([8, 16, 40, 64]), SIZE - at)
        size = dice.randrange(1, room + 1)
        kind = dice.choice([0, 0, RED, FREED, NOBODY])
        place = ctypes.c_uint64(MEMORY + at)
        if kind:
            library.standin_shadow(place, ctypes.c_uint64(room), kind)
        else:
            library.standin_shadow_object(place, ctypes.c_uint64(size), ctypes.c_uint64(room))
        for n in range(room):
            said[at + n] = WORDS[kind] if kind else WORDS[RED] if n >= size else None
        at += room
    return lambda at, size: library.asks(at, size).decode(), said


@pytest.mark.host("compiler")
def test_an_access_is_refused_for_each_byte_that_nobody_has(asks):
    ask, said = asks
    dice = random.Random(3)
    sizes = [1, 2, 3, 4, 8, 16, 17, 100, SIZE]
    # that wrap: alone, and with their address
    sizes += [(1 << 64) - n for n in (1, 8, MEMORY, MEMORY + SIZE)] + [1 << 32, 1 << 63]
    for _ in range(4000):
        at, size = dice.randrange(SIZE), dice.choice(sizes)
        ends = at + size > SIZE
        wrong = [said[n] for n in range(at, min(at + size, SIZE)) if said[n]]
        found = ask(MEMORY + at, size)
        assert bool(found) == (ends or wrong != []), (at, size, found)
        if found:
            words = WORDS[NOBODY] if ends else wrong[0]
            # of eight bytes that are not all an object's the kind is that of what is behind it
            assert found == f"KASAN: a read of {size} bytes {words}"
    # what is no memory of the machine is no affair of this
    for at in (MEMORY - 1, MEMORY + SIZE, 1 << 63):
        assert ask(at, 8) == ""
