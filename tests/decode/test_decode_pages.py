# SPDX-License-Identifier: GPL-2.0-only
"""A page is read as its writer has it: the port's eVMCS, KVM's vmcs12, an assist page, in hex."""

import json
import pathlib
import random
import re
import subprocess

import needed
import pytest

from kvm_vmx import Machine, decode, decode_all, guests, host
from kvm_vmx.compare.opening import open_tree
from kvm_vmx.decode.hexdump import read_hex
from kvm_vmx.decode.layouts import evmcs, synthetic, vmcs12


@pytest.fixture(scope="module")
def written():
    """(page, the port's view, assist page) of a vCPU that has run."""
    with Machine() as machine:
        vcpu = machine.insmod().create_vm(code=guests.CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        return (machine.memory.read(vcpu.vmcs_gpa, 4096), dict(vcpu.evmcs), dict(vcpu.vmcs),
                machine.memory.read(machine.assist_page_gpa(0), 4096), vcpu.vmcs_gpa)


@pytest.mark.needs("hyperv")
def test_the_ports_page_is_the_ports_view(written):
    page, view, read, _, _ = written
    found = decode(page)
    assert found.form == "evmcs" and view.items() <= found.fields.items()
    # what the port reads by its accessors; every load of a vCPU moves its time
    assert {**read, "TSC_OFFSET": view["TSC_OFFSET"]}.items() <= found.fields.items()
    assert found.clean_fields == int.from_bytes(page[824:828], "little")
    assert all(found.groups.values()) and found.refusals == () and found.why is None


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("profile", [None, "kvm-6.12", "tlfs-strict", "ice-lake"])
def test_what_the_port_wrote_is_taken(written, profile):
    page, view, _, _, _ = written
    assert decode(page, profile=profile).refusals == ()
    assert decode(view, profile=profile).refusals == ()


@pytest.mark.needs("hyperv")
def test_an_assist_page(written):
    _, _, _, assist, gpa = written
    found = decode(assist)
    assert found.form == "assist" and found.others["current_nested_vmcs"] == gpa
    assert f"the eVMCS at {gpa:#x}" in str(found)
    off = assist[:40] + bytes(1) + assist[41:]
    assert "enlighten_vmentry is 0" in str(decode(off))
    # bit 0 of apic_assist is an eVMCS's version, too
    assert decode(b"\1" + assist[1:]).form == "assist"


def test_a_plain_vmcs_of_this_l0():
    with Machine() as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        vcpu = kvm.create_vm(code=guests.CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        view = dict(vcpu.vmcs)
        assert machine.cpu(0).vmclear(vcpu.vmcs_gpa).ok
        page = machine.memory.read(vcpu.vmcs_gpa, 4096)
    found = decode(page)
    assert found.form == "vmcs" and found.refusals == ()
    there = {name: value for name, value in view.items()
             if name in found.fields and name != "TSC_OFFSET"}
    assert there.items() <= found.fields.items() and len(there) > 100


@pytest.fixture(scope="module", params=["4.19", "6.1", "6.12"])
def tree(request):
    needed.capability(f"tree-{request.param}")
    return open_tree(host.find(f"tree-{request.param}"))


def test_the_vmcs12_of_a_kernel(tree):
    """Its struct's members at their offsets, and the table from encodings to members."""
    text = "\n".join(tree.files.get(path, "") for path in (
        "arch/x86/kvm/vmx/vmcs12.h", "arch/x86/kvm/vmx/vmcs12.c", "arch/x86/kvm/vmx.c"))
    checked = dict(re.findall(r"CHECK_OFFSET\((\w+), (\d+)\)", text))
    table = dict(re.findall(r"\bFIELD(?:64)?\(([A-Z]\w+), (\w+)\)", text))
    assert len(checked) > 140 and len(table) > 130
    for field, member in table.items():
        if field in vmcs12():
            assert vmcs12()[field].offset == int(checked[member]), field
    assert table.keys() <= vmcs12().keys()


@pytest.mark.needs("hyperv")
def test_a_vmcs12_page(written):
    _, view, *_ = written
    page = bytearray((0x11E57ED0).to_bytes(4, "little").ljust(4096, b"\0"))
    for name, place in vmcs12().items():
        if name in view:
            page[place.offset:place.offset + place.size] = view[name].to_bytes(place.size, "little")
    found = decode(bytes(page))
    assert found.form == "vmcs12" and found.refusals == () and found.groups == {}
    assert {name: value for name, value in view.items() if name in vmcs12()}.items() \
        <= found.fields.items()


def by_words(page, size, start=0xFFFF888100003000, word="{:#0{w}x}", line="{:#x}:\t", end=""):
    """As gdb, crash and QEMU print memory: little-endian words behind an address."""
    return "\n".join(
        line.format(start + n) + " ".join(
            word.format(int.from_bytes(page[n + k:n + k + size], "little"), w=2 * size + 2)
            for k in range(0, 16, size)) + end for n in range(0, len(page), 16))


def letters(part):
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)


def by_bytes(page, line, between=" "):
    """As windbg and the kernel's own hex dump print it."""
    return "\n".join(
        line.format(n) + page[n:n + 8].hex(" ") + between + page[n + 8:n + 16].hex(" ")
        + "  " + letters(page[n:n + 16]) for n in range(0, len(page), 16))


PRINTED = {
    "plain": lambda page: page.hex(),
    "python": lambda page: page.hex(" "),
    "wrapped": lambda page: "\n".join(page.hex()[n:n + 64] for n in range(0, 8192, 64)),
    "gdb x/512gx": lambda page: by_words(page, 8),
    "gdb x/1024wx": lambda page: by_words(page, 4),
    "gdb with symbols": lambda page: by_words(page, 8, line="{:#x} <evmcs+8>:\t"),
    "qemu xp": lambda page: by_words(page, 8, 0x3000, line="{:016x}: "),
    "crash rd": lambda page: by_words(
        page, 8, word="{:016x}", line="{:016x}:  ", end="   ........"),
    "windbg db": lambda page: by_bytes(page, "fffff800`{:08x}  ", "-"),
    "print_hex_dump": lambda page: by_bytes(page, "[   12.000345] kvm: {:08x}: "),
}
TOOLS = ["xxd", "xxd -g1", "xxd -g8", "xxd -e", "xxd -p", "hexdump", "hexdump -C", "hexdump -v",
         "od", "od -tx1", "od -Ax -tx1", "od -v -An -tx1", "od -Ax -tx1z", "od -Ax -tx4",
         "od -Ax -tx8", "od -v -Ax -tx2"]


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("how", PRINTED)
def test_a_page_as_it_is_printed(written, how):
    page, *_ = written
    found = decode(PRINTED[how](page) + "\n")
    assert found.page == page and found.form == "evmcs"


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("command", TOOLS[:8] + TOOLS[9:])
def test_a_page_as_a_tool_prints_it(written, command, tmp_path):
    name, *options = command.split()
    page, *_ = written
    (tmp_path / "page").write_bytes(page)
    try:
        text = subprocess.run([name, *options, tmp_path / "page"], capture_output=True, text=True,
                              check=True).stdout
    except FileNotFoundError:
        pytest.skip(f"no {name} here")
    assert decode(text).page == page


def test_random_pages_come_back():
    chosen = random.Random(4)
    for _ in range(5):
        page = bytes(chosen.choice((0, 0, 1, chosen.randrange(256))) for _ in range(4096))
        for how in PRINTED.values():
            assert page in read_hex(how(page))


@pytest.mark.needs("hyperv")
def test_a_part_of_a_page(written):
    """The first 1,024 bytes are all that an eVMCS has; of fewer what is there is read."""
    page, view, *_ = written
    assert decode(page[:1024]).refusals == () and decode(page[:1024]).missing == ()
    part = decode(page[:700], form="evmcs")
    assert part.fields.items() <= decode(page).fields.items()
    assert "GUEST_RIP" not in part.fields and part.refusals == () and part.missing
    assert any("700 of" in note for note in part.notes)


@pytest.mark.needs("hyperv")
def test_what_is_in_no_member_is_told(written):
    page = bytearray(written[0])
    page[0x16] = page[2000] = 7
    assert len(decode(bytes(page)).notes) == 2
    page[824:828] = (0x1FFFF).to_bytes(4, "little")
    found = decode(bytes(page))
    assert "clean_fields_reserved" in [lint.name for lint in found.lints]
    assert "R59" in str(found)


def test_members_beside_the_fields_are_where_the_kernel_has_them():
    data = pathlib.Path(__file__).parents[1] / "data/evmcs_layout_4.19.json"
    known = {row["name"]: (row["offset"], row["size"]) for row in json.loads(data.read_text())}
    assert len(synthetic()) == 8
    assert {name: known[name] for name in synthetic()} == {
        name: (place.offset, place.size) for name, place in synthetic().items()}


def test_places_are_disjoint():
    for places in ({**evmcs(), **synthetic()}, vmcs12()):
        taken = [n for place in places.values()
                 for n in range(place.offset, place.offset + place.size)]
        assert len(taken) == len(set(taken))


@pytest.mark.parametrize("source", [
    b"", bytes(4096), b"\1\0\0\0", bytes(range(256)) * 16, "nothing\nat all\n", b"\xff" * 4096, 7,
    {"GUEST_RIPP": 0}, {"GUEST_RIP": -1}, {"GUEST_ES_SELECTOR": 0x10000}, "/nowhere/there", "/tmp",
    "/dev/zero", "01 02\n", b"\x7fELF" + bytes(5000)])
def test_what_is_no_vmcs_is_one_line(source):
    with pytest.raises(ValueError) as caught:
        decode_all(source)
    assert "\n" not in str(caught.value) and 10 < len(str(caught.value)) < 300
    assert re.search("give|names|did you mean", str(caught.value))
