# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx decode: what it prints, its statuses, and one line for what it cannot read."""

import contextlib
import html.parser
import io
import json
import os
import random
import sys
import tracemalloc
import types

import pytest
from kernel_dumps import Printer

from kvm_vmx import Field, Machine, decode, decode_all, guests, host
from kvm_vmx.cli import main
from kvm_vmx.compare.opening import open_tree
from kvm_vmx.decode import command, inputs
from kvm_vmx.decode.layouts import evmcs, vmcs12

INTR_IF0 = """\
*** Guest State ***
CR0: actual=0x0000000080000031, shadow=0x0000000080000031, gh_mask=fffffffffffffff7
RFLAGS=0x00000002         DR7 = 0x0000000000000400
*** Control State ***
PinBased=0000003f CPUBased=b6a06dfa SecondaryExec=000000ea
VMEntry: intr_info=800000d1 errcode=00000000 ilen=00000000
"""


@pytest.fixture(scope="module")
def page():
    with Machine() as machine:
        vcpu = machine.insmod().create_vm(code=guests.CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        return machine.memory.read(vcpu.vmcs_gpa, 4096)


@pytest.fixture
def files(page, tmp_path):
    (tmp_path / "page.bin").write_bytes(page)
    (tmp_path / "dump.txt").write_text(INTR_IF0)
    return tmp_path


def run(capsys, *words):
    status = main(["decode", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_dump_of_a_mail_names_its_check(files, capsys):
    status, out, _ = run(capsys, files / "dump.txt")
    assert status == 1
    assert "refused by guest_rflags_if (exit 33: hardware error 0x80000021)" in out
    assert "bit 9 (IF) must be 1 to inject an external interrupt" in out and "27.3.1.4" in out
    assert "CPU_BASED_TPR_SHADOW" in out and "0x800000d1" in out


@pytest.mark.needs("hyperv")
def test_a_page(files, capsys):
    status, out, _ = run(capsys, files / "page.bin")
    assert status == 0 and "no check refuses it" in out
    assert "GUEST_GRP2, clean" in out and "VM_ENTRY_IA32E_MODE" in out
    assert out.index("guest state") < out.index("host state") < out.index("controls\n")


def test_standard_input(files, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(INTR_IF0.encode())))
    status, out, _ = run(capsys, "-")
    assert status == 1 and "guest_rflags_if" in out


@pytest.mark.needs("hyperv")
def test_json(files, capsys):
    status, out, _ = run(capsys, files / "dump.txt", files / "page.bin", "--json")
    told = json.loads(out)
    assert status == 1 and told["schema"] == "kvm_vmx.decode/1"
    dump, page = told["states"]
    assert dump["refusals"][0]["id"] == "guest_rflags_if" and page["refusals"] == []
    assert dump["refusals"][0]["ends"] == "exit 33" and dump["fields"]["GUEST_RFLAGS"] == "0x2"
    assert page["groups"]["CRDR"] is True and page["form"] == "evmcs"
    assert set(page["controls"]) == {
        "PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "VM_EXIT_CONTROLS",
        "VM_ENTRY_CONTROLS", "SECONDARY_VM_EXEC_CONTROL"}


class Wellformed(html.parser.HTMLParser):
    """Every element that is opened is closed."""

    VOID = {"meta", "br", "rect"}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.needs("hyperv")
def test_a_page_of_html(files, capsys, tmp_path):
    hostile = tmp_path / "<script>.txt"
    hostile.write_text(INTR_IF0)
    status, _, _ = run(capsys, hostile, files / "page.bin", "--html", tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text()
    Wellformed().feed(text)
    assert status == 1 and "guest_rflags_if" in text and "<script>" not in text
    assert "<svg" in text and "http" not in text.replace("http-equiv", "")
    assert run(capsys, files / "page.bin", "--html", tmp_path)[0] == 2


@pytest.mark.needs("hyperv")
def test_the_difference_of_two(files, capsys, page):
    other = bytearray(page)
    other[evmcs()["VM_ENTRY_CONTROLS"].offset] ^= 4
    (files / "other.bin").write_bytes(other)
    status, out, _ = run(capsys, "--diff", files / "page.bin", files / "other.bin")
    assert status == 1
    assert "- VM_ENTRY_LOAD_DEBUG_CONTROLS" in out and "CONTROL_ENTRY, clean" in out
    assert "changed while the clean bit stayed set" in out
    status, out, _ = run(capsys, "--diff", files / "page.bin", files / "other.bin", "--json")
    assert "VM_ENTRY_CONTROLS" in json.loads(out)["stale"]
    assert run(capsys, "--diff", files / "page.bin", files / "page.bin")[0] == 0


@pytest.mark.needs("hyperv")
def test_a_sparse_image_of_4_gib(files, capsys, page):
    image = files / "image"
    places = [0x3F2000, 1 << 30, (4 << 30) - 4096]
    with image.open("wb") as file:
        file.truncate(4 << 30)
        for at in places:
            file.seek(at)
            file.write(page)
    told = []
    tracemalloc.start()
    found = decode_all(image, progress=lambda size: lambda done: told.append((done, size)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one.at for one in found] == places and all(one.page == page for one in found)
    assert peak < 4 * inputs.CHUNK
    assert told == sorted(told) and told[-1] == (4 << 30, 4 << 30)
    status, out, _ = run(capsys, image)
    assert status == 0 and out.count("no check refuses it") == 3 and "0x40000000" in out
    assert "GUEST_RIP" in run(capsys, image, "--at", "0x40000000")[1]
    status, _, err = run(capsys, image, "--at", "0x1000")
    assert status == 2 and "there are 0x3f2000" in err


@pytest.mark.needs("hyperv")
def test_a_search_has_a_bar(tmp_path, capsys, page, monkeypatch):
    (tmp_path / "image").write_bytes(bytes(3 * inputs.CHUNK) + page)
    said = []

    @contextlib.contextmanager
    def bar(totals):
        said.append(totals)
        yield lambda name, done: said.append((name, done))

    monkeypatch.setattr(command, "progress", bar)
    assert run(capsys, tmp_path / "image")[0] == 0
    size = 3 * inputs.CHUNK + 4096
    assert said[0] == {"searching": size} and said[-1] == ("searching", size) and len(said) == 5


@pytest.mark.needs("hyperv")
def test_an_image_without_holes(tmp_path, page):
    """Whatever else is in it, a page at any multiple of 4096 is found, and no other."""
    chosen = random.Random(6)
    data = bytearray(chosen.randbytes(1 << 16) * 144)
    places = sorted(4096 * n for n in chosen.sample(range(len(data) // 4096), 12))
    for at in places:
        data[at:at + 4096] = page
    data[5000:9096] = page                  # not at a page's beginning
    data[4096 * 3:4096 * 3 + 4] = b"\1\0\0\0"   # no more than the first word
    places = [at for at in places if at not in (4096, 8192, 4096 * 3)]
    (tmp_path / "image").write_bytes(data)
    assert [one.at for one in decode_all(tmp_path / "image")] == places
    assert [one.at for one in decode_all(bytes(data))] == places


BAD = {
    "nothing": b"", "zeros": bytes(4096), "noise": bytes(range(1, 256)) * 20, "words": b"hello\n",
    "a cpuid": b"   0x00000001 0x00: eax=0x000606a6 ebx=0x00400800 ecx=0xfeda3223 edx=0x1f8bfbff\n",
    "a boot log": b"[    0.000000] Hyper-V: Nested features: 0x4a0000\n",
    "an error alone": b"KVM: entry failed, hardware error 0x80000021\n",
    "an image of nothing": bytes(1 << 20), "half a word": b"0123 4\n", "utf-16": b"\xff\xfea\0b",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_nothing_is_one_line(what, tmp_path, capsys):
    (tmp_path / "bad").write_bytes(BAD[what])
    status, out, err = run(capsys, tmp_path / "bad")
    assert status == 2 and out == "" and err.count("\n") == 1 and "give" in err
    if what == "an error alone":
        assert "dump_invalid_vmcs=1" in err
    if what == "a cpuid":
        assert "--cpuid" in err


@pytest.mark.parametrize("words", [
    ["/nowhere"], ["/dev/zero"], ["/"], ["--diff", "a"], ["-", "-"], ["a", "--profile", "none"],
    ["a", "--msr", "7"], ["a", "--at", "x"], ["a", "--cpuid", "/nowhere"], ["a", "--form", "elf"],
    ["a\0b"], []])
def test_bad_words_are_one_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text(INTR_IF0)
    status, out, err = run(capsys, *words)
    assert status == 2 and out == "" and err.count("\n") == 1


def mutated(data, chosen):
    """A file that something has happened to."""
    data = bytearray(data)
    for _ in range(chosen.choice((1, 1, 3, 20))):
        at = chosen.randrange(len(data) + 1)
        kind = chosen.randrange(6)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << chosen.randrange(8)
        elif kind == 1:
            data[at:at] = chosen.randbytes(chosen.randrange(1, 9))
        elif kind == 2:
            del data[at:at + chosen.randrange(1, 64)]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at + 8] = chosen.choice((b"\xff" * 8, bytes(8), b"=0x", b"\n", b"*** "))
        else:
            end = at + chosen.randrange(1, 200)
            data[at:at] = data[at:end]
    return bytes(data)


@pytest.mark.soak
def test_mutated_files_are_read_or_told_in_a_line(page, soak):
    plain = bytearray((0x11E57ED0).to_bytes(4, "little").ljust(4096, b"\0"))
    for name, place in vmcs12().items():
        value = decode(page).fields.get(name, 0)
        plain[place.offset:place.offset + place.size] = value.to_bytes(place.size, "little")
    seeds = [page, page[:1024], bytes(plain), page.hex().encode(), INTR_IF0.encode(),
             INTR_IF0.replace("\n", "\r\n> ").encode(), page + plain + bytes(4096) + page,
             "\n".join(f"{n:08x}: {page[n:n + 16].hex(' ')}" for n in range(0, 4096, 16)).encode(),
             "".join(f"haxm_warning: {Field[name]:04x} {name}: {value:x}\n"
                     for name, value in decode(page).fields.items()).encode()]
    chosen = random.Random(17)
    read = 0
    rounds = 100_000 if soak else 240
    for _ in range(rounds):
        data = mutated(chosen.choice(seeds), chosen)
        try:
            for one in decode_all(data, profile=chosen.choice((None, "kvm-6.12", "tlfs-strict"))):
                assert str(one) and one.as_json()
                read += 1
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
    assert read > rounds / 2


@pytest.mark.soak
@pytest.mark.host("tree-4.19")
def test_mutated_text_of_a_kernel(soak):
    lines = Printer(open_tree(host.find("tree-4.19")), 5).run()
    chosen = random.Random(18)
    for _ in range(10_000 if soak else 100):
        data = mutated("\n".join(lines).encode(), chosen)
        try:
            assert all(str(one) for one in decode_all(data))
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.needs("hyperv")
def test_a_file_that_shrinks_while_it_is_read(tmp_path, page, monkeypatch):
    (tmp_path / "image").write_bytes((page + bytes(4096)) * 3000)
    whole = os.pread

    def shrinking(handle, length, at):
        if at:
            os.truncate(tmp_path / "image", 4096)
        return whole(handle, length, at)

    monkeypatch.setattr(os, "pread", shrinking)
    assert decode_all(tmp_path / "image")
