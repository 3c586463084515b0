# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/emulate.c, its decoding half.
from kvm_vmx.abi.types cimport u8, u16, u32, u64
from kvm_vmx.l1.kvm_host cimport kvm_vcpu_t

cdef enum:
    LONGEST = 15

# An instruction as far as its bytes say it, and the address of its memory operand.
ctypedef struct decoded:
    u8 code[LONGEST]
    u32 have
    u32 at
    u32 size                    # of its operand
    u32 memory_size             # of what it reads or writes
    bint rep
    bint address_32
    u8 rex
    u8 segment
    u16 opcode                  # 0x0fxx behind 0f
    u8 reg
    u64 immediate
    u64 address

# The byte behind a linear address of 64-bit code; or NULL.
cdef bint read_guest_byte(kvm_vcpu_t *vcpu, u64 gva, u8 *byte) noexcept nogil
# The instruction at RIP; False where it is none that is emulated.
cdef bint decode(kvm_vcpu_t *vcpu, decoded *insn) noexcept nogil
