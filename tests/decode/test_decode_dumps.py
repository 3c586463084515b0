# SPDX-License-Identifier: GPL-2.0-only
"""What dump_vmcs() prints is read: each kernel's own format strings, in logs and mails."""

import quopri
import random
import re
import textwrap
import time

import needed
import pytest
from kernel_dumps import Printer

from kvm_vmx import decode_all, host
from kvm_vmx.compare.opening import open_tree
from kvm_vmx.decode.dumps import read_dumps
from kvm_vmx.decode.hexdump import read_hex
from kvm_vmx.decode.layouts import width

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
    "iso journal": lambda n, line:
        f"2026-01-02T10:{n % 60:02}:01+0100 host kernel: kvm_intel: {line}",
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


# Public reports: the lines that tell, and what was found to be wrong by those who answered.
REPORTS = {
    # xen-devel, 2019-11: ICEBP behind MOV SS while single-stepping, in a mail that wraps
    "pending_step": """\
>>>> (XEN) [2019-11-02 14:09:46] d2v0 vmentry failure (reason 0x80000021):
>>>> Invalid guest state (0)
>>>> (XEN) [2019-11-02 14:09:46] *** Guest State ***
>>>> (XEN) [2019-11-02 14:09:46] RFLAGS=0x00000187 (0x00000187)  DR7 =
>>>> 0x0000000000000400
>>>> (XEN) [2019-11-02 14:09:46] DebugCtl = 0x0000000000000000
>>>> DebugExceptions = 0x0000000000000000
>>>> (XEN) [2019-11-02 14:09:46] Interruptibility = 00000002  ActivityState
>>>> = 00000000
>>>> (XEN) [2019-11-02 14:09:46] *** Control State ***
>>>> (XEN) [2019-11-02 14:09:46] VMEntry: intr_info=80000501
>>>> errcode=00000000 ilen=00000001
""",
    # tklengyel/drakvuf #388, 2018-04: the bit that keeps the TLB, left in CR3
    "guest_cr3": """\
(XEN) d12v0 vmentry failure (reason 0x80000021): Invalid guest state (0)
(XEN) *** Guest State ***
(XEN) CR0: actual=0x000000008005003b, shadow=0x0000000080050033, gh_mask=ffffffffffffffff
(XEN) CR3 = 0x800000001a02f080
(XEN) RFLAGS=0x00000082 (0x00000082)  DR7 = 0x0000000000000400
""",
    # tianocore/edk2 #91, 2016-05: an interrupt for a guest that has them off
    "guest_rflags_if": """\
    [ 7058.291757] *** Guest State ***
    [ 7058.291776] RFLAGS=0x00000002 DR7 = 0x0000000000000400
    [ 7058.291829] *** Control State ***
    [ 7058.291838] VMEntry: intr_info=800000d1 errcode=00000000 ilen=00000000
""",
}


@pytest.mark.parametrize("id", REPORTS)
def test_a_public_report_names_its_cause(id):
    found, = decode_all(REPORTS[id])
    assert [one.id for one in found.refusals] == [id]
    if "reason 0x" in REPORTS[id]:
        assert any("0x80000021" in note for note in found.notes)


def work(text):
    """Seconds of CPU that reading a text takes, of three the fewest."""
    found = []
    for _ in range(3):
        before = time.process_time()
        read_dumps(text)
        read_hex(text)
        found.append(time.process_time() - before)
    return min(found)


@pytest.mark.parametrize("text", [
    "*** Host State ***\n", "CR3 ", "CR3 target", "[[[[ ", "Sysenter RSP=", "01 02 ", "0x1: ",
    "> > ",
    "*\n", "hardware error ", "*** Guest State ***\nRFLAGS=2\n"])
def test_no_text_takes_long(text):
    """Not even one that repeats what a reader looks for: eight times as long is about eight times
    the work, where it would be sixty-four if each looked at all."""
    assert work(text * 6_000) < 24 * work(text * 750) + 0.02


def test_any_part_of_a_dump_is_read_and_nothing_of_it_is_wrong(tree):
    printer = Printer(tree, 3)
    lines = printer.run()
    for seed in range(20):
        chosen = random.Random(seed)
        kept = [line for line in lines if "***" in line or chosen.random() < 0.4]
        for dump in read_dumps("\n".join(kept)):
            assert dump.values.items() <= printer.told.items()


# Xen's vmcs_dump_vcpu(), where it is not what the kernel prints; other numbers in brackets.
XEN = {
    "PDPTE0 = 0x{GUEST_PDPTR0:016x}  PDPTE1 = 0x{GUEST_PDPTR1:016x}": "Guest",
    "RSP = 0x{GUEST_RSP:016x} (0x00000000deadbeef)  RIP = 0x{GUEST_RIP:016x} (0x0000000000000bad)":
        "Guest",
    "RFLAGS=0x{GUEST_RFLAGS:08x} (0x00000bad)  DR7 = 0x{GUEST_DR7:016x}": "Guest",
    "       sel  attr  limit   base": "Guest",
    **{f"{reg:>4}: {{GUEST_{reg}_SELECTOR:04x}} {{GUEST_{reg}_AR_BYTES:05x}} "
       f"{{GUEST_{reg}_LIMIT:08x}} {{GUEST_{reg}_BASE:016x}}": "Guest"
       for reg in ("CS", "DS", "SS", "ES", "FS", "GS", "LDTR", "TR")},
    **{f"{reg}:            {{GUEST_{reg}_LIMIT:08x}} {{GUEST_{reg}_BASE:016x}}": "Guest"
       for reg in ("GDTR", "IDTR")},
    "EFER(VMCS) = 0x{GUEST_IA32_EFER:016x}  PAT = 0x{GUEST_IA32_PAT:016x}": "Guest",
    "PreemptionTimer = 0x{VMX_PREEMPTION_TIMER_VALUE:08x}  SM Base = 0x00000bad": "Guest",
    "PerfGlobCtl = 0x{GUEST_IA32_PERF_GLOBAL_CTRL:016x}  BndCfgS = 0x{GUEST_BNDCFGS:016x}": "Guest",
    "RIP = 0x{HOST_RIP:016x} (vmx_asm_vmexit_handler)  RSP = 0x{HOST_RSP:016x}": "Host",
    "TSC Offset = 0x{TSC_OFFSET:016x}  TSC Multiplier = 0x{TSC_MULTIPLIER:016x}": "Control",
    "TPR Threshold = 0x{TPR_THRESHOLD:02x}  PostedIntrVec = 0x{POSTED_INTR_NV:02x}": "Control",
    "EPT pointer = 0x{EPT_POINTER:016x}  EPTP index = 0x0bad": "Control",
    "Virtual processor ID = 0x{VIRTUAL_PROCESSOR_ID:04x} VMfunc controls = "
    "{VM_FUNCTION_CONTROL:016x}": "Control",
}


def test_xens_form():
    chosen = random.Random(8)
    names = sorted({name for line in XEN for name in re.findall(r"\{(\w+):", line)})
    values = {name: chosen.getrandbits(8 * width(name)) for name in names}
    # what has five digits has no more
    values |= {name: value & 0xFFFFF for name, value in values.items() if name.endswith("AR_BYTES")}
    lines = [line for part in ("Guest", "Host", "Control")
             for line in (f"*** {part} State ***", *(
                 text.format(**values) for text, where in XEN.items() if where == part))]
    dump, = read_dumps("\n".join(f"(XEN) [2024-03-01 10:00:00] {line}" for line in lines))
    assert dump.values == values
    other, = read_dumps("\n".join(lines).replace("EFER(VMCS)", "EFER(MSR LL)"))
    assert "GUEST_IA32_EFER" not in other.values
