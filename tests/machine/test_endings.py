# SPDX-License-Identifier: GPL-2.0-only
"""How a guest ends, told by the API: the fault with its instruction, what followed, port I/O."""

import pickle

import pytest

from kvm_vmx import MachineError, host
from kvm_vmx.machine import ending

START = 0x1000
CAPSTONE = host.has("capstone")


@pytest.fixture(scope="module", params=[False, True], ids=["VMCS", "eVMCS"])
def module(request, kernel):
    with kernel(cpus=1) as machine:
        yield machine.insmod(enlightened_vmcs=request.param)


@pytest.fixture
def kvm(module):
    yield module
    for vm in list(getattr(module, "vms", ())):
        vm.destroy()


def ended(kvm, code, **registers):
    """(summary, vCPU) of a guest that runs until KVM hands it to user space."""
    vcpu = kvm.create_vm(code=bytes.fromhex(code), memory=64 << 10).create_vcpu()
    vcpu.regs.update(**registers)
    return vcpu.run(exits=1_000), vcpu


# Exceptions by vector, as the SDM (volume 3, 6.15) has them: the code that raises each, where in
# it, error code, CR2. There is no IDT: its limit is 0.
FAULTS = {
    "divide by 0": ("31c9" "f7f1" "f4", 0, 2, None, None, "f7 f1", "div ecx"),
    "INT3": ("cc", 3, 0, None, None, "cc", "int3"),
    "UD2": ("90" "0f0b", 6, 1, None, None, "0f 0b", "ud2"),
    "not decoded": ("90" "f20f7cc0", 6, 1, None, None, "f2 0f 7c c0", "haddps xmm0,xmm0"),
    "none in 64-bit code": ("06", 6, 0, None, None, None, None),
    "an MSR there is not": ("b9ffffff7f" "0f32", 13, 5, 0, None, "0f 32", "rdmsr"),
    "a jump to nowhere": ("48b80000000000000080" "ffe0", 13, 10, 0, None, "ff e0", "jmp rax"),
    "a page that is not": ("488b042500000040", 14, 0, 0, 0x40000000,
                           "48 8b 04 25 00 00 00 40", "mov rax,qword ptr [0x40000000]"),
    "a write there": ("89042500000040", 14, 0, 2, 0x40000000,
                      "89 04 25 00 00 00 40", "mov dword ptr [0x40000000],eax"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_without_a_handler_is_told(kvm, name):
    code, vector, offset, error, address, shown, text = FAULTS[name]
    summary, _ = ended(kvm, code)
    fault = summary.fault
    assert (summary.reason, fault.triple) == ("SHUTDOWN", True)
    assert (fault.vector, fault.rip) == (vector, START + offset)
    assert (fault.event.error_code, fault.event.address) == (error, address)
    if shown is not None and (CAPSTONE or name != "not decoded"):
        assert fault.code.hex(" ") == shown
    if CAPSTONE:
        assert fault.instruction == text
    assert fault.decoded == (name not in ("not decoded", "none in 64-bit code"))
    assert str(fault) in summary.why and hex(START + offset) in summary.why


CONTRIBUTORY = {0, 10, 11, 12, 13}      # SDM volume 3, table 6-4
PAGE_FAULT, DOUBLE_FAULT, GENERAL_PROTECTION = 14, 8, 13


def chain_without_idt(vector):
    """What delivering an event meets where no entry lies within the IDT's limit: #GP with the
    entry as error code (SDM volume 3, 6.13), until two contributory ones make #DF, and #DF a
    triple fault (table 6-5)."""
    found = []
    while True:
        met = (GENERAL_PROTECTION, vector * 8 + 2)
        found.append(met)
        if vector == DOUBLE_FAULT:
            return found
        if vector in CONTRIBUTORY or vector == PAGE_FAULT:
            found.append((DOUBLE_FAULT, 0))
            vector = DOUBLE_FAULT
        else:
            vector = GENERAL_PROTECTION


@pytest.mark.parametrize("name", FAULTS)
def test_a_triple_fault_has_its_chain(kvm, name):
    fault = ended(kvm, FAULTS[name][0])[0].fault
    # the lowest bit says that the event came from outside the program
    assert [(event.vector, event.error_code & ~1) for event in fault.then] == \
        chain_without_idt(fault.vector)


@pytest.mark.parametrize("vector", [0, 3, 8, 13, 14, 32, 0x80, 255])
def test_int_n_is_no_exception_whatever_its_vector(kvm, vector):
    fault = ended(kvm, f"cd{vector:02x}")[0].fault
    assert (fault.event.name, fault.rip, fault.code) == \
        (f"INT {vector:#x}", START, bytes([0xCD, vector]))
    # benign: what follows is the chain of the #GP of its own delivery
    assert [(event.vector, event.error_code & ~1) for event in fault.then] == \
        [(GENERAL_PROTECTION, vector * 8 + 2), *chain_without_idt(GENERAL_PROTECTION)]


@pytest.mark.parametrize("memory", [64 << 10, 2 << 20])
def test_running_on_through_memory_is_told_where_it_ends(kvm, memory):
    """Zeros are ADD [RAX],AL; the end is behind the memory, or in the page tables on the way."""
    vcpu = kvm.create_vm(code=b"\x90", memory=memory).create_vcpu()
    summary = vcpu.run(exits=100)
    assert summary.reason not in ("HLT", "INTR") and summary.why
    assert memory - 0x5000 < vcpu.regs["rip"] <= memory
    if summary.fault is not None:
        assert summary.fault.rip == vcpu.regs["rip"]


def test_an_instruction_across_a_page_is_whole(kvm):
    jump, at = "e9fb0f0000", 0x1FFC + 4
    vcpu = kvm.create_vm(code=bytes.fromhex(jump), memory=64 << 10).create_vcpu()
    vcpu.vm.memory.write(at - 4 + 2, bytes.fromhex("89042500000040"))
    vcpu.regs.update(rip=at - 2)
    fault = vcpu.run(exits=10).fault
    assert fault.code.hex(" ") == "89 04 25 00 00 00 40" and fault.rip == at - 2


def test_a_fault_that_is_handled_is_no_end(kvm):
    """A guest with an IDT: #UD, whose handler skips it, then HLT."""
    assert ended(kvm, "f4")[0].fault is None
    handler, idt = 0x3000, 0x4000
    vcpu = kvm.create_vm(code=bytes.fromhex("0f0b" "f4"), memory=64 << 10).create_vcpu()
    memory = vcpu.vm.memory
    memory.write(handler, bytes.fromhex("488304240248cf"))
    gate = (handler & 0xFFFF) | 0x10 << 16 | 0x8E00 << 32
    memory.write(idt + 6 * 16, gate.to_bytes(16, "little"))
    memory.write(0x5000, (0x10 << 3).to_bytes(8, "little"))
    memory.write(0x6010, (0x00209B0000000000).to_bytes(8, "little"))
    memory.write(0x6018, (0x00CF93000000FFFF).to_bytes(8, "little"))
    sregs = vcpu.sregs
    sregs["idt"], sregs["gdt"] = {"base": idt, "limit": 0xFFF}, {"base": 0x6000, "limit": 0x1F}
    vcpu.sregs = sregs
    summary = vcpu.run(exits=100)
    assert (summary.reason, summary.fault, vcpu.regs["rip"]) == ("HLT", None, START + 3)


def test_the_chain_of_another_guest_is_not_this_one_s(kvm):
    assert ended(kvm, "0f0b")[0].fault is not None
    for code, reason in (("f4", "HLT"), ("e680", "IO"), ("0fa2f4", "HLT")):
        summary, _ = ended(kvm, code)
        assert (summary.reason, summary.fault) == (reason, None)


def test_a_run_in_slices_tells_the_same(kvm):
    """#UD leaves to L1, which injects it: between the two a run may end."""
    whole = ended(kvm, "0fa2" "0f0b")[0]
    vcpu = kvm.create_vm(code=bytes.fromhex("0fa20f0b"), memory=64 << 10).create_vcpu()
    for _ in range(3):
        last = vcpu.run(exits=1)
    assert (last.reason, last.fault, last.why) == ("SHUTDOWN", whole.fault, whole.why)


@pytest.mark.parametrize("size, prefix, wide", [(1, "", 0), (2, "66", 1), (4, "", 1)])
def test_out_is_told_with_port_width_and_value(kvm, size, prefix, wide):
    value, rax = 0x11223344 & (1 << 8 * size) - 1, 0xAABBCCDD11223344
    immediate = f"{prefix}{0xE6 + wide:02x}e9"
    summary, _ = ended(kvm, immediate, rax=rax)
    assert summary.data == {"direction": "out", "size": size, "port": 0xE9, "data": value}
    assert f"{value:#x}" in summary.why and "0xe9" in summary.why and str(size) in summary.why
    summary, _ = ended(kvm, f"{prefix}{0xEE + wide:02x}", rax=rax, rdx=0x12345)
    assert summary.data["port"] == 0x2345


@pytest.mark.parametrize("size, prefix, wide", [(1, "", 0), (2, "66", 1), (4, "", 1)])
def test_in_finds_all_ones_or_what_user_space_answers(kvm, size, prefix, wide):
    """AL and AX leave the rest of RAX alone; EAX clears the upper half (SDM volume 1, 3.4.1.1)."""
    rax, mask = 0xAABBCCDD11223344, (1 << 8 * size) - 1
    rest = rax & ~mask if size < 4 else 0
    for answer in (None, 0x5566778899):
        summary, vcpu = ended(kvm, f"{prefix}{0xE4 + wide:02x}60" "f4", rax=rax)
        assert (summary.data["direction"], summary.data["size"], summary.data["port"]) == \
            ("in", size, 0x60)
        assert summary.data["data"] is None
        if answer is not None:
            vcpu.answer(answer)
        assert vcpu.run(exits=10).reason == "HLT"
        assert vcpu.regs["rax"] == rest | (mask if answer is None else answer & mask)


def test_an_answer_where_nobody_asked(kvm):
    for code in ("f4", "e680"):
        _, vcpu = ended(kvm, code)
        with pytest.raises(MachineError, match="no IN"):
            vcpu.answer(0)


@pytest.mark.parametrize("bits, text", [
    (64, "haddps xmm0,xmmword ptr [rbx]"), (32, "haddps xmm0,xmmword ptr [ebx]"),
    (16, "haddps xmm0,xmmword ptr [bp + di]")])
def test_code_of_other_modes_is_read_as_theirs(kvm, bits, text):
    """Compatibility mode: CS without L, with D for 32 bits."""
    code = "f20f7c03"
    vcpu = kvm.create_vm(code=bytes.fromhex(code + "f4"), memory=64 << 10).create_vcpu()
    sregs = vcpu.sregs
    sregs["cs"] = {**sregs["cs"], "l": int(bits == 64), "db": int(bits == 32)}
    vcpu.sregs = sregs
    fault = vcpu.run(exits=10).fault
    assert (fault.event.name, fault.decoded) == ("#UD", False)
    if CAPSTONE:
        assert (fault.instruction, fault.code.hex(" ")) == (text, "f2 0f 7c 03")


def test_views_are_mappings_and_wrong_names_are_told(kvm):
    _, vcpu = ended(kvm, "f4")
    assert "GUEST_RIP" in list(vcpu.vmcs) and len(vcpu.vmcs) == len(list(vcpu.vmcs))
    assert dict(vcpu.vmcs.items())["GUEST_RIP"] == vcpu.vmcs["GUEST_RIP"]
    for view in (vcpu.vmcs, vcpu.evmcs):
        with pytest.raises(KeyError, match="GUEST_RIP"):
            view["guest_rip"]
        with pytest.raises(KeyError, match="fields"):
            view["X"]


def test_an_internal_error_says_which(kernel, kvm):
    if not kernel.is_port:
        pytest.skip("the emulator of a tree's own KVM has INVD, the port's has MOV and OUTS alone")
    summary, _ = ended(kvm, "0f08")             # INVD
    assert summary.reason == "INTERNAL_ERROR" and "emulation" in summary.why


def test_words_for_what_only_a_broken_vmcs_shows():
    texts = {
        ending.in_words("FAIL_ENTRY", {"hardware_entry_failure_reason": 0x80000021}, None),
        ending.in_words("FAIL_ENTRY", {"hardware_entry_failure_reason": 7}, None)}
    assert any("INVALID_STATE" in text for text in texts)
    assert any("VM-instruction error 7" in text for text in texts)
    text = ending.in_words("INTERNAL_ERROR", {"suberror": 3, "data": [0x80000B0E, 48, 0]}, None)
    assert "0xe" in text and "EPT_VIOLATION" in text
    assert ending.in_words("INTR", {}, None) == ""


def test_without_capstone_the_bytes_remain(kvm, monkeypatch):
    monkeypatch.setattr(ending, "disassembler", lambda bits: None)
    fault = ended(kvm, "f20f7cc0")[0].fault
    assert fault.instruction is None and fault.code.hex().startswith("f20f7cc0")
    assert str(fault).startswith("#UD at 0x1000: f2 0f 7c c0")
    assert str(fault).endswith("not decoded")
    assert str(ended(kvm, "0f0b")[0].fault) == "#UD at 0x1000: 0f 0b"


def test_a_summary_travels(kvm):
    summary, _ = ended(kvm, "0f0b")
    assert pickle.loads(pickle.dumps(summary)) == summary
