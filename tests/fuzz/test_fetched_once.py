# SPDX-License-Identifier: GPL-2.0-only
"""What L1 hands over in memory (eVMCS, assist page, VMCS, lists, parameters) is read once by each
instruction of L1, whatever another processor stores there: what was checked is what is used.

L0 is compiled once more as for a thread sanitizer, whose calls before each access tell what it
reads (fetched.h); nothing depends on when another thread runs. Nor what an instruction of L2 has
changed, where another processor unmaps its operand between two of its looks.
"""

import bisect
import ctypes
import functools
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import corpus
import l0
import pytest

from world import FIELDS, TABLE

# Functions that read again, and why nothing hangs on it.
AGAIN = {
    "fetch_code": "L2 runs there", "eight_bytes": "L2 runs there", "read_part": "L2's own load",
    "run_checks": "the clean bits, to set them: by an or, and no decision looks at them again",
    "note_details": "the entry is refused: to say why", "note_no_vmcs": "the same",
}
# Some that are seen to read, so that what is looked at is what L1 hands over.
READERS = {
    "entry": {"enlightened_pointer", "become_active", "enlightened_refresh"},
    "hypercall": {"fetch_input"}, "msr": {"write_assist_page"}, "saved": {"restore_vmcs"},
    "tables": {"enlightened_refresh"},
}
COMMON = ["gcc", "-c", "-fPIC", "-O0", "-w", "-std=gnu11", "-fwrapv", "-fno-strict-aliasing",
          f"-I{l0.ROOT}", f"-I{l0.ROOT}/include", f"-I{sysconfig.get_path('include')}"]


class Twice(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("gpa", "first", "second")]


class Fetched(l0.Replayed):
    """An L0 that tells what it reads, compiled once a content, by each of two sessions that lack it
    at once in a folder of its own."""

    def __init__(self, to):
        made = to / "fetched.so"
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=to) as own:
                os.replace(self.compile(pathlib.Path(own)), made)
        super().__init__(made, l0.loaded(made))

    def compile(self, to):
        """The library, of files in a folder that nobody else writes to."""
        (to / "scene.h").write_text(l0.scene())
        for source, flags in (
                (l0.ROOT / "build/cython/kvm_vmx/l0/hyperv.c",
                 # a copy is a call, which is told, too
                 ["-fsanitize=thread", "-Wno-tsan", "-fno-builtin", "-include", "string.h",
                  "-D__builtin_memcpy=memcpy", "-DCYTHON_INLINE=inline", '-DBUILD_CONFIG=""',
                  *(f"-DCONFIG_{name}=1" for name in ("HYPERV", "JUMP_LABEL", "INSN_TRAP"))]),
                (l0.HERE / "l0.h", ["-DFETCHED", f"-I{to}", "-x", "c"])):
            subprocess.run([*COMMON, *flags, str(source), "-o", f"{to / source.stem}.o"],
                           check=True)
        subprocess.run(["gcc", "-shared", "-pthread", "-Wl,--wrap=memcpy,--wrap=memcmp",
                        f"{to}/hyperv.o", f"{to}/l0.o", "-o", f"{to}/fetched.so"], check=True)
        return to / "fetched.so"

    @functools.cached_property
    def functions(self):
        """(address, name) of the functions, by address."""
        told = subprocess.run(["nm", self.library._name], check=True, capture_output=True,
                              text=True).stdout
        return sorted((int(line[0], 16), line[2]) for line in map(str.split, told.splitlines())
                      if len(line) == 3 and line[1] in "tT")

    @functools.cached_property
    def moved(self):
        """How far the loader has moved them."""
        at, = (at for at, name in self.functions if name == "fuzz_one")
        return ctypes.cast(self.library.fuzz_one, ctypes.c_void_p).value - at

    def name(self, address):
        """The function that an address lies in."""
        behind = bisect.bisect(self.functions, address - self.moved, key=lambda one: one[0])
        found = self.functions[behind - 1][1]
        return re.sub(r"^__pyx_f_.*?_hyperv_|^__pyx_f_.*?6hyperv_", "", found)

    def readers(self):
        """The functions that have read."""
        found = (ctypes.c_uint64 * 4096)()
        self.library.fuzz_readers(found)
        return {self.name(address) for address in found if address}

    def twice(self):
        """{(first, second reader): an address} since it was asked last."""
        told = (Twice * 4096)()
        self.library.fuzz_told.restype = ctypes.c_uint64
        return {(self.name(one.first), self.name(one.second)): hex(one.gpa)
                for one in told[:self.library.fuzz_told(told)]}


def content():
    """The digest of all that it is compiled of and by."""
    digest = hashlib.sha256(repr([sys.version, COMMON, l0.scene()]).encode())
    digest.update(subprocess.run(["gcc", "-v"], capture_output=True, check=True).stderr)
    for path in (l0.ROOT / "build/cython/kvm_vmx/l0/hyperv.c", pathlib.Path(__file__), *sorted(
            path for room in (l0.HERE, l0.ROOT / "include", l0.ROOT / "kvm_vmx")
            for path in room.rglob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def fetched(request, tmp_path_factory):
    cache, to = getattr(request.config, "cache", None), None
    if cache:
        kept = cache.mkdir("fetched")
        to = kept / content()
        for other in set(kept.iterdir()) - {to}:
            shutil.rmtree(other, ignore_errors=True)
        to.mkdir(exist_ok=True)
    return Fetched(to or tmp_path_factory.mktemp("fetched"))


def nothing_twice(fetched, readers):
    found = fetched.readers()
    again = fetched.twice()
    assert readers - found == set()
    assert {pair: gpa for pair, gpa in again.items() if not set(pair) & set(AGAIN)} == {}


@pytest.mark.host("compiler")
@pytest.mark.soak
@pytest.mark.parametrize("surface", ["entry", "hypercall", "msr", "saved", "tables"])
def test_a_word_is_read_once(fetched, surface, soak):
    inputs = list(corpus.kept(surface))
    for data in inputs if soak else random.Random(surface).sample(inputs, 40):
        fetched.one(surface, data)
    # of some of them, who reads is left to chance
    nothing_twice(fetched, READERS[surface] if soak else {"enlightened_pointer"})


def word(value):
    return b"\xff" + value.to_bytes(8, "little")


def field(name, value):
    """L1 sets a field, as the steps of surface "entry" have it."""
    writable = [encoding for encoding, _, _ in TABLE if FIELDS[encoding] >> 10 & 3 != 1]
    return bytes([1, writable.index(name)]) + word(value)


def store(gpa, value):
    return b"\3" + word(gpa) + bytes(2) + word(value) + b"\7"


@pytest.mark.host("compiler")
@pytest.mark.parametrize("begin", [1, 0x81], ids=["evmcs", "plain"])
@pytest.mark.parametrize("msr", [0xC0000081, 0xC0000100, 0x79, 0x12345])
def test_an_item_of_a_list_is_read_once(fetched, begin, msr):
    """As an entry loads it and an exit stores and loads it, whatever is wrong in it."""
    lists, assist = l0.PAGES["LISTS"], l0.PAGES["ASSIST"]
    data = bytes([begin, 8])
    if begin == 1:
        # the page of this profile begins empty
        data += store(assist + 40, 1) + store(assist + 48, l0.PAGES["EVMCS"])
    for n, name in enumerate(("VM_ENTRY_MSR_LOAD", "VM_EXIT_MSR_STORE", "VM_EXIT_MSR_LOAD")):
        data += field(f"{name}_ADDR", lists + (n << 12)) + field(f"{name}_COUNT", 2)
        data += store(lists + (n << 12), 0xC0000082) + store(lists + (n << 12) + 16, msr)
    fetched.one("entry", data + b"\0\1")
    nothing_twice(fetched, {"listed"})


@pytest.mark.host("compiler")
@pytest.mark.parametrize("call", [0, 1, 3, 4, 6])
def test_the_parameters_of_a_call_are_read_once(fetched, call):
    """Of two flushes, their extended forms, and one of a guest-physical space."""
    words = l0.PAGES["PARAMETER"].to_bytes(8, "little")
    data = bytes([0, 8, 0, call, 0, 2 * (call in (1, 4)), 0, 0, 0]) + b"\xff" + words + word(0)
    fetched.one("hypercall", data)
    nothing_twice(fetched, {"fetch_input"})


# A user's page under SMAP is walked to at each access, and by EPT a place without memory. Whatever
# look finds it gone, the fault or the violation is of an instruction that has changed no register
# and no flag but RF, which is set.
UNMAPS = """
import ctypes
import importlib.util
import sys

FETCHED = sys.argv[1]


class Instead:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "kvm_vmx.l0.hyperv":
            return importlib.util.spec_from_file_location(name, FETCHED)


sys.meta_path.insert(0, Instead)
from guest import *

clear = ctypes.CDLL(FETCHED).fuzz_clear
FAR, FLAGS = 0xE00000, 1 << 18 | 0x8D7
by_ept = sys.argv[2] == "ept"
g = Guest("plain", options={"msrs": {0x489: 0x3FFFFF}, "unfinished": True},
          EXCEPTION_BITMAP=1 << 14)
for n in range(8):
    g.write(PD + 8 * n, n << 21 | 0x83)
g.set(GUEST_CR4=g.get("GUEST_CR4") | (1 << 9 if by_ept else 1 << 21 | 1 << 9))
place, there, end = PD + 8 * (FAR >> 21), FAR | 0x87, (0, 14)
if by_ept:
    g.set(EPT_POINTER=g.map_ept(), SECONDARY_VM_EXEC_CONTROL=S_EPT)
    place, there, end = g.ept_entry(FAR), 1 << 30 | 0x37, (48, 0)
word = ctypes.c_void_p(g.memory.mapped(place)[0])


def once(code, reads):
    g.write(place, there)
    g.write(FAR, 0x1111)
    before = g.regs(rax=0x1111, rbx=FAR, rcx=3, rdx=5, rsi=FAR, rdi=FAR, rbp=FAR)
    g.set(GUEST_RFLAGS=FLAGS, GUEST_RSP=FAR + 0x100)
    clear(word, reads)
    found = g.run(code + VMCALL)
    clear(None, 0)
    if found.reason == 18:
        return None
    assert (found.reason, found.intr_info & 0xFF, found.rip) == (*end, CODE), found
    now = g.regs(), g.get("GUEST_RSP"), g.get("GUEST_RFLAGS")
    return now == (before, FAR + 0x100, FLAGS | 1 << 16)


for code in sys.argv[3:]:
    kept = []
    while (same := once(code, len(kept) + 1)) is not None:
        kept.append(same)
    print(code, len(kept), all(kept))
"""
WRITES = ["0103", "1103", "f71b", "f713", "ff03", "ff0b", "83037f", "d123", "d113", "d33b",
          "0fa30b", "0fab0b", "0fba3b01", "0fa41303", "0fad0b", "0fc10b", "870b", "0fb10b",
          "0fb113", "0fc70b", "0f9303", "8903", "c60305", "50", "ff33", "8f03", "58", "c9", "6a05",
          "9c", "aa", "a4", "66890b", "0f2903", "0fae03", "d93b", "0f010b"]
# POPFQ and FXRSTOR, which fault by what is read where there is no memory
READS = ["9d", "0fae0b"]


@pytest.mark.host("compiler")
@pytest.mark.parametrize("by", ["paging", "ept"])
def test_an_instruction_of_which_a_page_goes_changes_nothing(fetched, by):
    codes = [*WRITES, *(READS if by == "paging" else ())]
    told = subprocess.run([sys.executable, "-c", UNMAPS, fetched.library._name, by, *codes],
                          capture_output=True, text=True, env={
                              **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert told.returncode == 0, told.stderr
    found = [line.split() for line in told.stdout.splitlines()]
    assert [code for code, _, same in found if same == "False"] == []
    # it is there when it is checked, when it is read and when it is written
    assert {"0103", "0fc10b", "870b"} <= {code for code, looks, _ in found if int(looks) > 2}
