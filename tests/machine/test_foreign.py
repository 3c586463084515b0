# SPDX-License-Identifier: GPL-2.0-only
"""By trap, an exception of L1's text that no instruction of its processor explains is a bug of the
kernel with the processor's vector, and never ends the process."""

import pytest
from trapping import CPUID_LOOP, RAX, RCX, RDX, execute

from kvm_vmx import KernelBug, Machine
from kvm_vmx.machine.kernel import call_function
from kvm_vmx.trap.engine import Text

DE, DB, BP, UD, GP, PF, AC = 0, 1, 3, 6, 13, 14, 17

# By the SDM, volume 2: what user space may not execute, and the vector that it raises there.
PRIVILEGED = {
    "MOV from CR0": "0f20c0", "MOV to CR0": "0f22c0", "MOV to CR3": "0f22d8",
    "MOV to CR4": "0f22e0", "MOV from CR8": "440f20c0", "MOV from DR7": "0f21f8",
    "MOV to DR7": "0f23f8", "CLTS": "0f06", "LMSW": "0f01f0", "CLI": "fa", "STI": "fb",
    "HLT": "f4", "IN imm8": "e460", "IN DX": "ed", "OUT imm8": "e660", "OUT DX": "ef",
    "INS": "6c", "OUTS": "6e", "INVD": "0f08", "WBINVD": "0f09", "INVLPG": "0f0138",
    "LGDT": "0f0110", "LIDT": "0f0118", "LLDT": "0f00d0", "LTR": "0f00d8", "SWAPGS": "0f01f8",
    "SYSRET": "480f07", "XSETBV": "0f01d1", "IRETQ": "6a00" * 5 + "48cf", "LRETQ": "6a006a0048cb",
    "INT 0x60": "cd60",
}
UNDEFINED = {
    "UD2": "0f0b", "UD1": "0fb9c0", "VMFUNC": "0f01d4", "VMRESUME with LOCK": "f00f01c3",
    "VMREAD through FS": "640f7800", "LEAVE with LOCK": "f0c9", "0F 04": "0f04",
}
OTHER = {
    "DIV by zero": ("31c9f7f1", DE), "INT3": ("cc", BP), "INT1": ("f1", DB),
    # pushfq; orl $0x100, (%rsp); popfq; nop
    "a single step": ("9c810c24000100009d90", DB),
    # pushfq; orl $0x40000, (%rsp); popfq; mov 1(%rsp), %eax
    "an unaligned access": ("9c810c24000004009d8b442401", AC),
    "a load from nowhere": ("31c08b00", PF), "a store to nowhere": ("31c08900", PF),
    "RSP nowhere": ("31e450", PF), "a call with RSP nowhere": ("31e4e800000000", PF),
    # movabs $0x8000000000000000, %rax; mov (%rax), %rax
    "an address that is not canonical": ("48b80000000000000080488b00", GP),
}
CASES = {**{name: (code, GP) for name, code in PRIVILEGED.items()},
         **{name: (code, UD) for name, code in UNDEFINED.items()}, **OTHER}


def die(code):
    """What the kernel says of the machine code that it ran."""
    with Machine(cpus=2, insn="trap") as machine:
        text = Text(bytes.fromhex(code) + b"\xc3")
        with pytest.raises(KernelBug) as caught:
            call_function(machine._kernel, 0, text.address, ())
        with pytest.raises(KernelBug, match="close the machine"):
            machine.insmod()
        return str(caught.value)


@pytest.mark.both("fsgsbase")
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_kernels_bug(name):
    code, vector = CASES[name]
    assert f"kernel BUG: exception: vector {vector} at " in die(code)


def test_the_next_machine_is_whole():
    """Nothing of a kernel that died is left in the thread: no flag, no stack, no handler."""
    for name in ("a single step", "an unaligned access", "RSP nowhere", "CLI") * 2:
        die(CASES[name][0])
        with Machine(cpus=1, insn="trap") as machine:
            vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
            assert vcpu.run(exits=50).exits == 50
            # rdmsr: as it was
            assert execute(machine, bytes.fromhex("0f32"), {RCX: 0x480, RAX: 0, RDX: 0})[0]


@pytest.mark.parametrize("name, code", [("SMSW", "0f01e0"), ("XGETBV", "31c90f01d0"),
                                        ("MOV from CS", "8cc8"), ("POPF that clears IF", "9c9d")])
def test_what_does_not_trap_in_user_space_is_the_hosts(name, code):
    with Machine(cpus=1, insn="trap") as machine:
        text = Text(bytes.fromhex(code) + b"\xc3")
        call_function(machine._kernel, 0, text.address, ())
        machine.insmod()
