# SPDX-License-Identifier: GPL-2.0-only
"""vmcs_read*() and vmcs_write*(): every encoding of 16 bits, on plain and enlightened VMCSs."""

import itertools
import json
import pathlib
import random

import pytest

from kvm_vmx import Machine
from kvm_vmx.machine.fields import CLEAN_FIELDS

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
TABLE = {int(row["encoding"], 16): row
         for row in json.loads((DATA / "evmcs_fields_4.19.json").read_text())}
ENCODINGS = {int(row["encoding"], 16): row
             for row in json.loads((DATA / "vmcs_encodings_4.19.json").read_text())}
PAGE, ALL_CLEAN = 4096, 0xFFFF
WIDTH = {"u16": 16, "u32": 32, "u32(high)": 32, "u64": 64, "natural": "l"}
BYTES = {16: 2, 32: 4, 64: 8, "l": 8}
HLT = b"\xf4"


def index(encoding):
    """ROL16(encoding, 6): the encoding as an index of v4.19's table."""
    return (encoding << 6 | (encoding & 0xFFFF) >> 10) & 0xFFFF


ROWS = max(map(index, TABLE)) + 1
BY_INDEX = {index(encoding): row for encoding, row in TABLE.items()}


def place(encoding):
    """(offset, clean mask) as get_evmcs_offset() gives them; None beyond the table."""
    at = index(encoding)
    if at >= ROWS:
        return None
    row = BY_INDEX.get(at)
    # a hole is a row of zeros
    return (row["offset"], int(row["clean_mask"], 16)) if row else (0, 0)


class Accessors:
    """The port's accessors on a vCPU that is current on CPU 0, and its VMCS page."""

    def __init__(self, machine, enlightened):
        self.machine = machine
        self.kvm = machine.insmod(enlightened_vmcs=enlightened)
        self.vcpu = self.kvm.create_vm(code=HLT, memory=64 << 10).create_vcpu(cpu=0)
        self.gpa = self.vcpu.vmcs_gpa
        port = self.kvm.port
        self.read = {width: getattr(port, f"vmcs_read{width}") for width in BYTES}
        self.write = {width: getattr(port, f"vmcs_write{width}") for width in BYTES}

    def page(self):
        return bytearray(self.machine.memory.read(self.gpa, PAGE))

    def set_clean(self, value=ALL_CLEAN):
        self.machine.memory.write(self.gpa + CLEAN_FIELDS, value.to_bytes(4, "little"))


# VMX_MISC of a processor with four CR3 targets, on which VMWRITE refuses exit information
BARE_METAL = {0x485: 0x401E5}


@pytest.fixture(params=[True, False], ids=["evmcs", "vmcs"])
def either(request):
    with Machine(cpus=1, msrs=BARE_METAL) as machine, machine.cpu(0):
        yield Accessors(machine, request.param)


@pytest.fixture
def evmcs():
    with Machine(cpus=1) as machine, machine.cpu(0):
        yield Accessors(machine, True)


def values(width):
    """Numbers that tell bytes apart, all ones, zero."""
    size = 8 * BYTES[width]
    yield int.from_bytes(bytes(range(0x81, 0x81 + BYTES[width])), "little")
    yield (1 << size) - 1
    yield 1 << size - 1
    yield 0


def read_only(encoding):
    """Bits 11:10 are 1: VM-exit information, which VMWRITE refuses on this processor."""
    return encoding >> 10 & 3 == 1


def test_every_field_of_the_table_makes_the_round_trip(either):
    assert len(TABLE) == 126
    refused = []
    for encoding, row in TABLE.items():
        width = WIDTH[ENCODINGS[encoding]["width"]]
        for value in values(width):
            before = either.read[width](encoding)
            either.write[width](encoding, value)
            after = either.read[width](encoding)
            if read_only(encoding) and not either.kvm.enable_evmcs:
                assert after == before
                refused.append(f"vmwrite error: reg {encoding:x} value {value:x} (err 13)")
            else:
                assert after == value, row["vmcs_field"]
    said = [line for line in either.machine.dmesg if line.startswith("vmwrite error")]
    exit_information = [e for e in TABLE if ENCODINGS[e]["type"] == "exit_info_ro"]
    assert said == refused
    assert len(said) == (0 if either.kvm.enable_evmcs else 4 * len(exit_information))
    assert either.machine.warnings == 0


def test_fields_do_not_share_their_places(either):
    """Write all, then read all: no field has taken another one's bytes."""
    rng = random.Random(4)
    wrote = {}
    for encoding in TABLE:
        if read_only(encoding):
            continue
        width = WIDTH[ENCODINGS[encoding]["width"]]
        wrote[encoding] = rng.getrandbits(8 * BYTES[width])
        either.write[width](encoding, wrote[encoding])
    for encoding, value in wrote.items():
        assert either.read[WIDTH[ENCODINGS[encoding]["width"]]](encoding) == value


@pytest.mark.case("PRT-07")
@pytest.mark.case("P03")
def test_a_write_stores_its_bytes_and_clears_its_group(evmcs):
    for encoding, row in TABLE.items():
        width = WIDTH[ENCODINGS[encoding]["width"]]
        assert BYTES[width] == row["size"]
        for value in values(width):
            evmcs.set_clean()
            expected = evmcs.page()
            expected[row["offset"]:row["offset"] + row["size"]] = value.to_bytes(
                row["size"], "little")
            left = ALL_CLEAN & ~int(row["clean_mask"], 16)
            expected[CLEAN_FIELDS:CLEAN_FIELDS + 4] = left.to_bytes(4, "little")
            evmcs.write[width](encoding, value)
            assert evmcs.page() == expected, row["vmcs_field"]


@pytest.mark.case("PRT-07")
def test_a_write_sets_no_clean_bit_and_leaves_the_upper_half(evmcs):
    """hv_clean_fields is 32 bits wide and the mask 16: ~mask keeps the others."""
    for encoding, row in TABLE.items():
        for clean in (0, 0xFFFF0000, 0xA5A5A5A5):
            evmcs.set_clean(clean)
            width = WIDTH[ENCODINGS[encoding]["width"]]
            evmcs.write[width](encoding, evmcs.read[width](encoding))
            left = int.from_bytes(evmcs.page()[CLEAN_FIELDS:CLEAN_FIELDS + 4], "little")
            assert left == clean & ~int(row["clean_mask"], 16)


@pytest.mark.case("PRT-08")
def test_a_read_changes_nothing(either):
    either.set_clean()
    before = either.page()
    for encoding in TABLE:
        for width in BYTES:
            either.read[width](encoding)
    assert either.page() == before


def test_named_fields_without_a_row_are_holes_or_lie_beyond():
    """What the table of encodings says of each is what v4.19's macro makes of it."""
    for encoding, row in ENCODINGS.items():
        kind = "table" if encoding in TABLE else "oob" if place(encoding) is None else "hole"
        assert (kind, index(encoding)) == (row["evmcs_class"], int(row["evmcs_index"], 16))


def encodings(width, soak):
    """Every encoding, outside of a soak by one width or another; those that are named by each."""
    turn = list(BYTES).index(width)
    return [encoding for encoding in range(1 << 16)
            if soak or encoding in ENCODINGS or (encoding + encoding // 4) % len(BYTES) == turn]


@pytest.mark.soak
@pytest.mark.parametrize("width", list(BYTES))
@pytest.mark.case("P02")
def test_every_encoding_reads_as_v4_19_would(evmcs, width, soak):
    """The table, offset 0 for a hole (erratum: holes), 0 beyond it."""
    evmcs.machine.memory.write(evmcs.gpa, bytes(i * 5 % 251 + 1 for i in range(1024)))
    page = evmcs.page()
    read = evmcs.read[width]
    for encoding in encodings(width, soak):
        where = place(encoding)
        expected = 0 if where is None else int.from_bytes(
            page[where[0]:where[0] + BYTES[width]], "little")
        assert read(encoding) == expected, hex(encoding)
    assert evmcs.page() == page


@pytest.mark.soak
@pytest.mark.parametrize("width", list(BYTES))
@pytest.mark.case("P02")
def test_every_encoding_writes_as_v4_19_would(evmcs, width, soak):
    """A hole overwrites revision_id and clears no bit; a write beyond the table is lost."""
    write, size = evmcs.write[width], BYTES[width]
    expected = evmcs.page()
    for n, encoding in enumerate(encodings(width, soak)):
        value = (encoding * 0x9E3779B97F4A7C15 + 1) & (1 << 8 * size) - 1
        write(encoding, value)
        where = place(encoding)
        if where is not None:
            offset, mask = where
            expected[offset:offset + size] = value.to_bytes(size, "little")
            clean = int.from_bytes(expected[CLEAN_FIELDS:CLEAN_FIELDS + 4], "little") & ~mask
            expected[CLEAN_FIELDS:CLEAN_FIELDS + 4] = clean.to_bytes(4, "little")
        if n % 64 == 0 or where == (0, 0) and n % 8 == 0:
            assert evmcs.page() == expected, hex(encoding)
    assert evmcs.page() == expected


def test_a_hole_is_not_warned_of_and_beyond_is_once_a_load(evmcs):
    machine = evmcs.machine
    holes = [e for e, row in ENCODINGS.items() if row["evmcs_class"] == "hole"]
    beyond = [e for e, row in ENCODINGS.items() if row["evmcs_class"] == "oob"]
    assert len(holes) == 52 and len(beyond) == 6
    for encoding, width in itertools.product(holes, BYTES):
        evmcs.read[width](encoding)
        evmcs.write[width](encoding, 1)
    assert machine.warnings == 0
    before = evmcs.page()
    for encoding, width in itertools.product(beyond, BYTES):
        assert evmcs.read[width](encoding) == 0
        evmcs.write[width](encoding, 0xAAAA)
    assert evmcs.page() == before
    said = [line for line in machine.dmesg if "unsupported EVMCS field" in line]
    assert machine.warnings == 1
    assert said == [f"WARNING: KVM: accessing unsupported EVMCS field {beyond[0]:x}"]
    evmcs.kvm.rmmod()
    again = Accessors(machine, True)
    again.read[64](beyond[-1])
    assert machine.warnings == 2


@pytest.mark.parametrize("upper", [0x10000, 0xFFFF0000, 1 << 32, 0xDEADBEEF << 16])
@pytest.mark.case("P02")
def test_an_encoding_above_16_bits_is_its_lower_half(evmcs, upper):
    """ROL16() casts to u16 before it rotates."""
    evmcs.machine.memory.write(evmcs.gpa, bytes(i * 7 % 253 + 1 for i in range(1024)))
    for encoding in TABLE:
        for width in BYTES:
            assert evmcs.read[width](encoding | upper) == evmcs.read[width](encoding)
    rip, = [e for e, row in TABLE.items() if row["vmcs_field"] == "GUEST_RIP"]
    evmcs.write["l"](rip | upper, 0x1234)
    assert evmcs.read["l"](rip) == 0x1234
    assert evmcs.machine.warnings == 0


CONTROLS = [e for e, row in ENCODINGS.items()
            if row["width"] == "u32" and row["type"] == "control" and e in TABLE]


@pytest.mark.parametrize("mask", [0, 1, 0x80000000, 0x00FF00FF, 0xFFFFFFFF])
def test_set_and_clear_bits(either, mask):
    port = either.kvm.port
    for encoding in CONTROLS:
        either.write[32](encoding, 0x5A5A5A5A)
        port.vmcs_set_bits(encoding, mask)
        assert either.read[32](encoding) == 0x5A5A5A5A | mask
        port.vmcs_clear_bits(encoding, mask)
        assert either.read[32](encoding) == 0x5A5A5A5A & ~mask
        if either.kvm.enable_evmcs:
            either.set_clean()
            port.vmcs_set_bits(encoding, mask)
            left = int.from_bytes(either.page()[CLEAN_FIELDS:CLEAN_FIELDS + 4], "little")
            assert left == ALL_CLEAN & ~int(TABLE[encoding]["clean_mask"], 16)


@pytest.mark.case("P10")
def test_no_vmx_instruction_on_the_enlightened_vmcs_and_one_on_the_plain(either):
    for encoding in TABLE:
        width = WIDTH[ENCODINGS[encoding]["width"]]
        before = dict(either.machine.counters)
        either.write[width](encoding, either.read[width](encoding))
        moved = {name: either.machine.counters[name] - before[name]
                 for name in ("vmread", "vmwrite")}
        if either.kvm.enable_evmcs:
            assert moved == {"vmread": 0, "vmwrite": 0}
        else:
            # a VMWRITE that fails is followed by a VMREAD of the error
            assert moved == {"vmread": 1 + read_only(encoding), "vmwrite": 1}


def test_a_narrow_accessor_cuts_a_value(either):
    """vmcs_read16() of a 32-bit field is its lower half, as the C casts."""
    field, = [e for e, row in TABLE.items() if row["vmcs_field"] == "EXCEPTION_BITMAP"]
    either.write[32](field, 0x12345678)
    assert either.read[16](field) == 0x5678
