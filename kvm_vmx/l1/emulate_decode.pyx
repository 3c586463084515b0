# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/emulate.c, its decoding half: MOV and OUTS of 64-bit code.
from kvm_vmx.abi.types cimport u8, u32, u64, ulong
from kvm_vmx.l1.kvm_cache_regs cimport (
    is_64_bit_mode, kvm_read_cr3, kvm_register_read, kvm_rip_read)
from kvm_vmx.l1.kvm_host cimport (
    VCPU_REGS_RSI, VCPU_REGS_RSP, VCPU_SREG_DS, VCPU_SREG_FS, VCPU_SREG_GS, kvm_vcpu_t)
from kvm_vmx.l1.mmu cimport guest_page_get, guest_page_put
from kvm_vmx.l1.x86 cimport kvm_x86_ops
from libc.string cimport memcpy, memset

cdef enum:
    ENTRY_PRESENT = 1 << 0
    ENTRY_LARGE = 1 << 7
    NO_REGISTER = 0xff


cdef bint read_guest(kvm_vcpu_t *vcpu, u64 gpa, void *data, u64 size) noexcept nogil:
    # within a page; False where the guest has no memory
    cdef u8 *page = guest_page_get(vcpu.kvm, gpa)

    if page == NULL:
        return False
    memcpy(data, page + (gpa & 0xfff), size)
    guest_page_put(vcpu.kvm)
    return True


cdef bint read_guest_byte(kvm_vcpu_t *vcpu, u64 gva, u8 *byte) noexcept nogil:
    # by four levels of page tables
    cdef u64 table = kvm_read_cr3(vcpu), entry, within
    cdef int shift

    for shift in range(39, 11, -9):
        table &= <u64>0x000ffffffffff000
        if not read_guest(vcpu, table | (gva >> shift & 511) << 3, &entry, sizeof(entry)) or \
                not entry & ENTRY_PRESENT:
            return False
        table = entry
        if shift == 12 or (shift < 39 and entry & ENTRY_LARGE):
            break
    within = gva & ((<u64>1 << shift) - 1)
    table = table & <u64>0x000ffffffffff000 & ~((<u64>1 << shift) - 1) | within
    return read_guest(vcpu, table, byte, 1)


cdef bint take(decoded *insn, u32 size, u64 *value) noexcept nogil:
    # size bytes of the instruction, sign-extended; False where they are missing
    cdef u64 found = 0
    cdef u32 i

    if insn.at + size > insn.have:
        return False
    for i in range(size):
        found |= <u64>insn.code[insn.at + i] << 8 * i
    insn.at += size
    if 0 < size < 8 and found >> (8 * size - 1) & 1:
        found |= ~<u64>0 << 8 * size
    value[0] = found
    return True


cdef bint prefixes(decoded *insn) noexcept nogil:
    cdef u8 byte

    insn.size = 4
    insn.segment = VCPU_SREG_DS
    while insn.at < insn.have:
        byte = insn.code[insn.at]
        if byte & 0xf0 == 0x40:
            insn.rex = byte
        elif byte == 0x66:
            insn.size = 2
        elif byte == 0x67:
            insn.address_32 = True
        elif byte == 0x64 or byte == 0x65:
            insn.segment = VCPU_SREG_FS if byte == 0x64 else VCPU_SREG_GS
        elif byte == 0xf2 or byte == 0xf3:
            insn.rep = True
        elif byte != 0x26 and byte != 0x2e and byte != 0x36 and byte != 0x3e:
            break
        if byte & 0xf0 != 0x40:
            insn.rex = 0
        insn.at += 1
    if insn.rex & 8:
        insn.size = 8
    return insn.at < insn.have


# ModRM, SIB and displacement: the register, and the address; False for a register operand.
cdef bint modrm(kvm_vcpu_t *vcpu, decoded *insn, u32 immediate) noexcept nogil:
    cdef u64 byte = 0, sib = 0, displacement = 0
    cdef u32 mod, rm, base, index = NO_REGISTER, scale = 0, wide

    if not take(insn, 1, &byte):
        return False
    mod = byte >> 6 & 3
    rm = byte & 7
    insn.reg = byte >> 3 & 7 | (insn.rex & 4) << 1
    if mod == 3:
        return False
    wide = 1 if mod == 1 else 4 if mod == 2 else 0
    base = rm | (insn.rex & 1) << 3
    if rm == 4:
        if not take(insn, 1, &sib):
            return False
        base = sib & 7 | (insn.rex & 1) << 3
        index = sib >> 3 & 7 | (insn.rex & 2) << 2
        scale = sib >> 6 & 3
        if index == VCPU_REGS_RSP:
            index = NO_REGISTER
        rm = sib & 7
        if rm == 5 and mod == 0:
            base = NO_REGISTER
            wide = 4
    elif rm == 5 and mod == 0:
        base = NO_REGISTER
        wide = 4
    if not take(insn, wide, &displacement):
        return False
    insn.address = displacement
    if base == NO_REGISTER and index == NO_REGISTER and byte & 7 == 5:
        # behind the instruction, its immediate included
        insn.address += kvm_rip_read(vcpu) + insn.at + immediate
    if base != NO_REGISTER:
        insn.address += kvm_register_read(vcpu, base)
    if index != NO_REGISTER:
        insn.address += kvm_register_read(vcpu, index) << scale
    return True


cdef bint operands(kvm_vcpu_t *vcpu, decoded *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode, immediate = 0

    insn.memory_size = insn.size if opcode & 1 else 1
    if opcode == 0x6e or opcode == 0x6f:
        # a port has no 8 bytes
        insn.memory_size = min(insn.memory_size, <u32>4)
        insn.address = kvm_register_read(vcpu, VCPU_REGS_RSI)
        return True
    if 0xa0 <= opcode <= 0xa3:
        # the accumulator, and an address by itself
        return take(insn, 4 if insn.address_32 else 8, &insn.address)
    if opcode == 0xfb6 or opcode == 0xfb7 or opcode == 0xfbe or opcode == 0xfbf:
        insn.memory_size = 2 if opcode & 1 else 1
    elif opcode == 0xc6 or opcode == 0xc7:
        immediate = min(insn.memory_size, <u32>4)
    elif opcode < 0x88 or opcode > 0x8b:
        return False
    if not modrm(vcpu, insn, immediate):
        return False
    return not immediate or (insn.reg & 7 == 0 and take(insn, immediate, &insn.immediate))


cdef bint decode(kvm_vcpu_t *vcpu, decoded *insn) noexcept nogil:
    cdef ulong rip = kvm_rip_read(vcpu)
    cdef u64 second = 0

    memset(insn, 0, sizeof(decoded))
    if not is_64_bit_mode(vcpu):
        return False
    while insn.have < LONGEST and read_guest_byte(vcpu, rip + insn.have, &insn.code[insn.have]):
        insn.have += 1
    if not prefixes(insn):
        return False
    insn.opcode = insn.code[insn.at]
    insn.at += 1
    if insn.opcode == 0x0f:
        if not take(insn, 1, &second):
            return False
        insn.opcode = 0xf00 | <u8>second
    if not operands(vcpu, insn):
        return False
    if insn.address_32:
        insn.address &= <u64>0xffffffff
    if insn.segment != VCPU_SREG_DS:
        insn.address += kvm_x86_ops.get_segment_base(vcpu, insn.segment)
    return True
