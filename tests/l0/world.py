# SPDX-License-Identifier: GPL-2.0-only
"""A partition in VMX operation, and the names and places of VMCS fields, for these tests."""

import ctypes
import json
import pathlib
import re

from kvm_vmx.machine.fields import CLEAN_FIELDS as CLEAN_FIELDS
from kvm_vmx.machine.partition import Partition, PhysicalMemory

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = json.loads((ROOT / "tests/data/entry_vectors.json").read_text())
REVISION = 0x11E57ED0
VMXON, VMCS_A, VMCS_B, ASSIST, EVMCS, EVMCS_B = (n << 12 for n in range(0x40, 0x46))
ALL_CLEAN = 0xFFFF


def _header(name):
    return (ROOT / "include/asm" / name).read_text()


FIELDS = {
    name: int(number, 16)
    for name, number in re.findall(
        r"^\t([A-Z][A-Z0-9_]+) = (0x[0-9a-f]{4}),", _header("vmx.h"), re.M
    )
}


def _layout():
    """Offset and size of each member of the enlightened VMCS, by its C declaration."""
    body = re.search(r"struct hv_enlightened_vmcs \{(.*?)\n\};", _header("hyperv-tlfs.h"), re.S)[1]
    body = re.sub(r"struct \{.*?\}", "u32", body, flags=re.S)
    kinds = {"u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64}
    members = [
        (name, kinds[kind] * int(count) if count else kinds[kind])
        for kind, name, count in re.findall(r"(u\d\d) (\w+)(?:\[(\d+)\])?;", body)
    ]
    layout = type("Layout", (ctypes.Structure,), {"_fields_": members})
    return {name: (getattr(layout, name).offset, getattr(layout, name).size) for name, _ in members}


LAYOUT = _layout()
TABLE = [
    (encoding, member, group)
    for encoding, member, group in re.findall(
        r"^EVMCS_FIELD\((\w+), (\w+), (\w+)\)", _header("evmcs_fields.h"), re.M
    )
]
GROUP_BITS = {
    name: int(bit)
    for name, bit in re.findall(r"CLEAN_FIELD_(\w+) \(1u << (\d+)\)", _header("hyperv-tlfs.h"))
}
BASE = {FIELDS[name]: int(value, 16) for name, value in DATA["base"].items()}


def _base_page():
    """An eVMCS of BASE."""
    page = bytearray(4096)
    values = {"revision_id": 1} | {member: BASE[FIELDS[encoding]] for encoding, member, _ in TABLE
                                   if FIELDS[encoding] in BASE}
    for member, value in values.items():
        offset, size = LAYOUT[member]
        page[offset:offset + size] = value.to_bytes(size, "little")
    return bytes(page)


BASE_PAGE = _base_page()


def config_a_msrs():
    """The capability MSRs of the configuration that the vectors were made for."""
    low = {"pin": 0x16, "proc": 0x401E172, "exit": 0x36DFF, "entry": 0x11FF}
    msrs = {
        0x480: REVISION | 0x1000 << 32 | 6 << 50 | 1 << 55,
        0x485: 0x1E5 | 4 << 16,
        0x486: 0x80000021,
        0x487: 0xFFFFFFFF,
        0x488: 0x2000,
        0x489: 0x3727FF,
        0x48C: 0x00000F0106334141,
    }
    control = {k: [int(x, 16) for x in v] for k, v in DATA["config"]["ctls"].items()}
    for name, plain, exact in (
        ("pin", 0x481, 0x48D),
        ("proc", 0x482, 0x48E),
        ("exit", 0x483, 0x48F),
        ("entry", 0x484, 0x490),
    ):
        msrs[plain] = control[name][1] << 32 | low[name]
        msrs[exact] = control[name][1] << 32 | control[name][0]
    msrs[0x48B] = control["secondary"][1] << 32
    return msrs


class World:
    """One machine of 16 MiB, of its own unless memory is given; cpu is its processor 0, in VMX
    operation unless vmx is False."""

    SIZE = 16 << 20

    def __init__(self, vmx=True, memory=None, **options):
        self.memory = memory or PhysicalMemory(self.SIZE)
        self.partition = Partition(self.memory, **options)
        self.cpu = self.partition.processor(0)
        for page in (VMXON, VMCS_A, VMCS_B):
            self.memory.write(page, REVISION.to_bytes(4, "little"))
        if vmx:
            for n in range(len(self.partition)):
                self.turn_on(self.partition.processor(n))

    def turn_on(self, cpu):
        assert cpu.wrmsr(0x3A, 5).ok
        assert cpu.mov_to_cr(4, cpu.cr4 | 0x2000).ok
        assert cpu.vmxon(VMXON).ok

    def plain(self, page=VMCS_A, **changes):
        """Make the VMCS at page current and write BASE, changed, into it."""
        vmwrite = self.cpu.vmwrite
        assert self.cpu.vmclear(page).ok and self.cpu.vmptrld(page).ok
        for field, value in {**BASE, **{FIELDS[k]: v for k, v in changes.items()}}.items():
            assert vmwrite(field, value).ok

    def enlighten(self, page=EVMCS, cpu=None, assist=ASSIST, **changes):
        """Fill an eVMCS with BASE, changed, and let the next entry use it."""
        cpu = cpu or self.cpu
        self.memory.write(page, BASE_PAGE)
        for name, value in changes.items():
            self.put(page, name, value)
        assert cpu.wrmsr(0x40000073, assist | 1).ok
        self.memory.write(assist + 40, b"\1\0\0\0")
        self.memory.write_u64(assist + 48, page)

    def put(self, page, member, value):
        offset, size = LAYOUT[member]
        self.memory.write(page + offset, value.to_bytes(size, "little"))

    def get(self, page, member):
        offset, size = LAYOUT[member]
        return int.from_bytes(self.memory.read(page + offset, size), "little")

    def set_clean(self, bits=ALL_CLEAN, page=EVMCS):
        self.put(page, "hv_clean_fields", bits)

    def guest_code(self, code, at=BASE[FIELDS["GUEST_RIP"]]):
        """Put code where the guest of BASE begins, and page tables under its CR3: memory as it
        is, in pages of 1 GByte."""
        tables = BASE[FIELDS["GUEST_CR3"]]
        self.memory.write_u64(tables, tables + 0x1000 | 3)
        self.memory.write_u64(tables + 0x1000, 0x83)
        self.memory.write(at, code)
