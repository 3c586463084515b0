# SPDX-License-Identifier: GPL-2.0-only
"""What dump_vmcs() prints is read: every kernel's own format strings, as logs and mails have them."""

import quopri
import random
import textwrap

import needed
import pytest
from kernel_dumps import Printer

from kvm_vmx import decode_all, host
from kvm_vmx.compare.opening import open_tree
from kvm_vmx.decode.dumps import read_dumps

TREES = ("4.19", "6.1", "6.12")


@pytest.fixture(scope="module", params=TREES)
def tree(request):
    needed.capability(f"tree-{request.param}")
    return open_tree(host.find(f"tree-{request.param}"))


def stamped(n, line):
    return f"[{n * 1.5 + 4321.000123:12.6f}] {line}"


def long_word(line, width=76):
    return "\n".join(textwrap.wrap(line, width, drop_whitespace=False, break_long_words=False))


FORMS = {
    "as it is": lambda n, line: line,
    "time stamps": stamped,
    "module": lambda n, line: f"[{n:5}.{n:06}] kvm_intel: {line}",
    "caller": lambda n, line: f"[{n:5}.{n:06}][ T{n + 1000}] kvm_intel: {line}",
    "dmesg -T": lambda n, line: f"[Thu May 12 10:{n % 60:02}:01 2016] {line}",
    "journal": lambda n, line: f"May 12 10:{n % 60:02}:01 host.example kernel: [{n}.5] {line}",
    "iso journal": lambda n, line: f"2026-01-02T10:{n % 60:02}:01+0100 host kernel: kvm_intel: {line}",
    "raw": lambda n, line: f"<3>[{n:5}.{n:06}] {line}",
    "quoted": lambda n, line: f"> > {stamped(n, line)}",
    "xen": lambda n, line: f"(XEN) [2024-03-0{1 + n % 9} 10:00:00] {line}",
    "windows": lambda n, line: f"{line}\r",
    "wrapped": lambda n, line: long_word(stamped(n, line)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_line_of_a_kernel(tree, form):
    printer = Printer(tree, len(form))
    dumps = read_dumps("\n".join(FORMS[form](n, line) for n, line in enumerate(printer.run())))
    assert len(printer.told) > 90
    assert [dump.values for dump in dumps] == [printer.told]


@pytest.mark.parametrize("efer", ["autoload", "effective"])
def test_an_efer_that_the_vmcs_has_not(tree, efer):
    printer = Printer(tree, 1, efer)
    text = "\n".join(printer.run())
    dump, = read_dumps(text)
    assert dump.values == printer.told
    # v4.19 has one form alone
    assert (f"({efer})" in text) == any(f"({efer})" in note for note in dump.notes)


def test_a_mail_in_quoted_printable(tree):
    printer = Printer(tree, 7)
    text = quopri.encodestring("\n".join(printer.run()).encode()).decode()
    assert "=3D" in text and read_dumps(text)[0].values == printer.told


def test_a_log_with_several(tree):
    printers = [Printer(tree, seed) for seed in range(4)]
    lines = sum((["something else", *one.run(), "kvm: exiting hardware virtualization"]
                 for one in printers), [])
    dumps = read_dumps("\n".join(lines))
    assert [dump.values["GUEST_RIP"] for dump in dumps] == [
        one.told["GUEST_RIP"] for one in printers]
    assert all("*** Guest State ***" in lines[dump.line - 1] for dump in dumps)
    assert [one.at for one in decode_all("\n".join(lines))] == [dump.line for dump in dumps]


def test_any_part_of_a_dump_is_read_and_nothing_of_it_is_wrong(tree):
    printer = Printer(tree, 3)
    lines = printer.run()
    for seed in range(20):
        chosen = random.Random(seed)
        kept = [line for line in lines if "***" in line or chosen.random() < 0.4]
        for dump in read_dumps("\n".join(kept)):
            assert dump.values.items() <= printer.told.items()
