# SPDX-License-Identifier: GPL-2.0-only
"""MMIO and string output: what KVM's emulator hands to user space, as KVM_EXIT_MMIO and
KVM_EXIT_IO have it (Documentation/virtual/kvm/api.txt, 5)."""

import itertools

import pytest

MEMORY, START = 64 << 10, 0x1000
DEVICE = 0x300010               # mapped, and outside the memory
RAX = 0x8877665544332211
REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
             *(f"r{n}" for n in range(8, 16)))


@pytest.fixture(scope="module", params=[False, True], ids=["VMCS", "eVMCS"])
def module(request, kernel):
    with kernel(cpus=1) as machine:
        yield machine.insmod(enlightened_vmcs=request.param)


@pytest.fixture
def kvm(module):
    yield module
    for vm in list(getattr(module, "vms", ())):
        vm.destroy()


def started(kvm, code, **registers):
    vm = kvm.create_vm(code=bytes.fromhex(code) + b"\xf4", memory=MEMORY)
    vcpu = vm.create_vcpu()
    vcpu.regs.update(**registers)
    return vcpu


def told(kernel, summary):
    """(exits, reason) as the port has them: a kernel's exit for a page that its EPT has not, which
    a device's first access is, counts as none."""
    return 1 if not kernel.is_port and summary.reason == "MMIO" else summary.exits, summary.reason


def length(code):
    return len(bytes.fromhex(code))


# MOV to memory: code, what is written of RAX or of the immediate.
WRITES = {
    "MOV [RBX],AL": ("8803", 1, 0x11), "MOV [RBX],AH": ("8823", 1, 0x22),
    "MOV [RBX],AX": ("668903", 2, 0x2211), "MOV [RBX],EAX": ("8903", 4, 0x44332211),
    "MOV [RBX],RAX": ("488903", 8, RAX), "66 REX.W": ("66488903", 8, RAX),
    "a REX that does not count": ("48668903", 2, 0x2211),
    "MOV byte,0x80": ("c60380", 1, 0x80), "MOV word,0x1234": ("66c7033412", 2, 0x1234),
    "MOV dword": ("c70378563412", 4, 0x12345678),
    "MOV qword,-2": ("48c703feffffff", 8, (1 << 64) - 2),
    "MOV moffs,AL": ("a2" + DEVICE.to_bytes(8, "little").hex(), 1, 0x11),
    "MOV moffs32,EAX": ("67a3" + DEVICE.to_bytes(4, "little").hex(), 4, 0x44332211),
}


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_whole_when_it_is_told(kernel, kvm, name):
    code, size, data = WRITES[name]
    vcpu = started(kvm, code, rax=RAX, rbx=DEVICE)
    summary = vcpu.run(exits=10)
    assert told(kernel, summary) == (1, "MMIO")
    assert summary.data == {"direction": "write", "size": size, "address": DEVICE, "data": data}
    assert hex(DEVICE) in summary.why and hex(data) in summary.why
    assert vcpu.regs["rip"] == START + length(code)
    assert vcpu.run(exits=10).reason == "HLT" and vcpu.regs["rax"] == RAX


def extended(value, size, to):
    """Sign-extension of `size` bytes to `to` bytes."""
    return int.from_bytes((value & (1 << 8 * size) - 1).to_bytes(size, "little"), "little",
                          signed=False) - (value >> (8 * size - 1) & 1) * (1 << 8 * size) \
        & (1 << 8 * to) - 1


# MOV, MOVZX, MOVSX from memory: code, bytes read, bytes of the register, signed, AH.
READS = {
    "MOV AL": ("8a03", 1, 1, False, False), "MOV AH": ("8a23", 1, 1, False, True),
    "MOV AX": ("668b03", 2, 2, False, False), "MOV EAX": ("8b03", 4, 4, False, False),
    "MOV RAX": ("488b03", 8, 8, False, False), "MOVZX EAX,byte": ("0fb603", 1, 4, False, False),
    "MOVZX RAX,word": ("480fb703", 2, 8, False, False),
    "MOVSX AX,byte": ("660fbe03", 1, 2, True, False),
    "MOVSX EAX,byte": ("0fbe03", 1, 4, True, False),
    "MOVSX RAX,word": ("480fbf03", 2, 8, True, False),
    "MOV moffs": ("48a1" + DEVICE.to_bytes(8, "little").hex(), 8, 8, False, False),
}


@pytest.mark.sweep(4)
@pytest.mark.parametrize("answer", (None, 0x7F, 0x8182838485868788))
@pytest.mark.parametrize("name", READS)
def test_a_read_finds_the_answer_or_all_ones(kernel, kvm, name, answer):
    code, size, to, signed, high = READS[name]
    vcpu = started(kvm, code, rax=RAX, rbx=DEVICE)
    summary = vcpu.run(exits=10)
    assert told(kernel, summary) == (1, "MMIO")
    assert summary.data == {"direction": "read", "size": size, "address": DEVICE, "data": None}
    # the instruction waits for its data
    assert (vcpu.regs["rip"], vcpu.regs["rax"]) == (START, RAX)
    if answer is not None:
        vcpu.answer(answer)
    summary = vcpu.run(exits=10)
    assert (summary.exits, summary.reason) == (1, "HLT")
    value = ((1 << 64) - 1 if answer is None else answer) & (1 << 8 * size) - 1
    value = extended(value, size, to) if signed else value
    shift = 8 if high else 0
    mask = (1 << 8 * to) - 1 << shift
    assert vcpu.regs["rax"] == (RAX & ~mask | value << shift if to < 4 else value)


def modrm(register, base, index=None, scale=0, displacement=None):
    """REX and ModRM bytes of MOV EAX-like accesses of a register with base, index, displacement."""
    width = 0 if displacement is None else 1 if -128 <= displacement < 128 else 4
    if base & 7 == 5 and width == 0:
        width, displacement = 1, 0
    rex = 0x48 | (register >> 3) << 2 | ((index or 0) >> 3) << 1 | base >> 3
    mod = {0: 0, 1: 1, 4: 2}[width]
    low = 4 if index is not None or base & 7 == 4 else base & 7
    text = bytes([mod << 6 | (register & 7) << 3 | low])
    if low == 4:
        text += bytes([scale << 6 | (4 if index is None else index & 7) << 3 | base & 7])
    return rex, text + (displacement or 0).to_bytes(width, "little", signed=True)


@pytest.mark.sweep(8)
@pytest.mark.parametrize("base", range(16))
def test_every_register_as_base_as_index_and_as_data(kvm, base):
    for index, displacement in itertools.product((None, 1, 7, 9, 13), (None, 16, -32, 0x1000)):
        if base == index:
            continue
        register = (base + 3) % 16 if (base + 3) % 16 != index else (base + 5) % 16
        if register == index:
            continue
        rex, tail = modrm(register, base, index, 2, displacement)
        values = {REGISTERS[register]: 0x1234567890ABCDEF}
        if index is not None:
            values[REGISTERS[index]] = 8
        at = DEVICE - (displacement or 0) - (8 << 2 if index is not None else 0)
        vcpu = started(kvm, (bytes([rex, 0x89]) + tail).hex(), **values | {REGISTERS[base]: at})
        summary = vcpu.run(exits=10)
        assert summary.data == {"direction": "write", "size": 8, "address": DEVICE,
                                "data": 0x1234567890ABCDEF}, (base, index, displacement)
        vcpu.vm.destroy()


def test_an_address_behind_the_instruction(kvm):
    for code, immediate in (("8905", ""), ("c705", "78563412")):
        end = START + 6 + length(immediate)
        full = code + (DEVICE - end).to_bytes(4, "little").hex() + immediate
        summary = started(kvm, full, rax=RAX).run(exits=10)
        assert (summary.reason, summary.data["address"]) == ("MMIO", DEVICE)


def test_a_segment_has_its_base(kvm):
    vcpu = started(kvm, "648903", rax=RAX, rbx=DEVICE - 0x2000)
    sregs = vcpu.sregs
    sregs["fs"] = {**sregs["fs"], "base": 0x2000}
    vcpu.sregs = sregs
    assert vcpu.run(exits=10).data["address"] == DEVICE


@pytest.mark.parametrize("code", ["0103", "ffe3", "538703", "a4"],
                         ids=["ADD", "JMP", "XCHG", "MOVS"])
def test_what_is_not_emulated_fails_as_before(kernel, kvm, code):
    if not kernel.is_port:
        pytest.skip("the emulator of a tree's own KVM has these, the port's has MOV and OUTS alone")
    vcpu = started(kvm, code, rbx=DEVICE, rsi=DEVICE)
    summary = vcpu.run(exits=10)
    assert summary.reason != "MMIO" and summary.reason != "HLT" and summary.why
    if summary.reason == "INTERNAL_ERROR":
        assert summary.data["suberror"] == 1 and hex(summary.data["data"][0]) in summary.why


def test_an_access_across_the_memory_s_end_is_not_halved(kernel, kvm):
    if not kernel.is_port:
        pytest.skip("a tree's own KVM halves it, the port hands on whole accesses")
    summary = started(kvm, "488903", rax=RAX, rbx=MEMORY - 4).run(exits=10)
    assert summary.reason == "INTERNAL_ERROR" and hex(MEMORY) in summary.why


def test_a_page_that_nobody_maps_is_a_page_fault(kvm):
    fault = started(kvm, "8903", rbx=1 << 30).run(exits=10).fault
    assert (fault.vector, fault.event.address) == (14, 1 << 30)


# OUTS: prefixes, opcode, width; how many elements; backwards.
@pytest.mark.sweep(3)
@pytest.mark.parametrize("size, code", [(1, "6e"), (2, "666f"), (4, "6f"), (4, "486f")])
@pytest.mark.parametrize("count, backwards", [(None, False), (1, False), (3, False), (3, True)])
def test_string_output_comes_element_by_element(kvm, size, code, count, backwards):
    """With a count RIP stays: the guest finds it at zero after the last one, and goes on. A repeat
    count of zero puts out nothing."""
    text = bytes(range(0x41, 0x41 + 16))
    code = ("f3" if count else "") + code
    vcpu = started(kvm, code, rsi=0x3000 + (12 if backwards else 0), rdx=0x3F8, rcx=count or 0x77,
                   rflags=0x402 if backwards else 2)
    vcpu.vm.memory.write(0x3000, text)
    step = -size if backwards else size
    for n in range(count or 1):
        summary = vcpu.run(exits=10)
        at = (12 if backwards else 0) + n * step
        assert (summary.exits, summary.reason) == (1, "IO")
        assert summary.data == {"direction": "out", "size": size, "port": 0x3F8,
                                "data": int.from_bytes(text[at:at + size], "little")}
        assert vcpu.regs["rsi"] == 0x3000 + at + step
        assert vcpu.regs["rip"] == START + (0 if count else length(code))
    assert vcpu.regs["rcx"] == (0 if count else 0x77)
    assert vcpu.run(exits=10).reason == "HLT"


def test_no_elements_are_none(kvm):
    vcpu = started(kvm, "f36e", rsi=0x3000, rcx=0)
    assert vcpu.run(exits=10).reason == "HLT" and vcpu.regs["rsi"] == 0x3000
