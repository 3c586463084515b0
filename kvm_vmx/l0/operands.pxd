# SPDX-License-Identifier: GPL-2.0-only
# Registers, memory operands and the stack of L2.
from kvm_vmx.abi.types cimport likely, u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport GPR_RSP
from kvm_vmx.abi.vmx cimport VMX_AR_DB_MASK, VMX_AR_DPL
from kvm_vmx.l0.control_registers cimport CR0_PE
from kvm_vmx.l0.msr cimport EFER_LMA
from kvm_vmx.l0.state cimport *

cdef enum:
    SEG_ES = 0
    SEG_CS = 1
    SEG_SS = 2
    SEG_DS = 3
    SEG_FS = 4
    SEG_GS = 5
    SEG_LDTR = 6
    SEG_TR = 7
    SEG_GDTR = 8
    SEG_IDTR = 9

    VECTOR_DE = 0
    VECTOR_DB = 1
    VECTOR_NMI = 2
    VECTOR_BP = 3
    VECTOR_OF = 4
    VECTOR_UD = 6
    VECTOR_NM = 7
    VECTOR_DF = 8
    VECTOR_TS = 10
    VECTOR_NP = 11
    VECTOR_SS = 12
    VECTOR_GP = 13
    VECTOR_PF = 14
    VECTOR_AC = 17

    FLAG_CF = 1 << 0
    FLAG_PF = 1 << 2
    FLAG_AF = 1 << 4
    FLAG_ZF = 1 << 6
    FLAG_SF = 1 << 7
    FLAG_TF = 1 << 8
    FLAG_IF = 1 << 9
    FLAG_DF = 1 << 10
    FLAG_OF = 1 << 11
    FLAG_IOPL = 3 << 12
    FLAG_NT = 1 << 14
    FLAG_RF = 1 << 16
    FLAG_VM = 1 << 17
    FLAG_AC = 1 << 18

# An explicit access of the instruction in progress; those to system tables are a supervisor's.
cdef int read_memory(l0_vp *vp, u32 segment, u64 offset, u32 size, u64 *value) noexcept nogil
cdef int write_memory(l0_vp *vp, u32 segment, u64 offset, u32 size, u64 value) noexcept nogil
# Would a write be possible? What a read-modify-write asks before it reads.
cdef int check_write(l0_vp *vp, u32 segment, u64 offset, u32 size) noexcept nogil
cdef int linear_address(l0_vp *vp, u32 segment, u64 offset, u32 size, bint write, u64 *linear) \
    noexcept nogil
cdef int read_linear(l0_vp *vp, u64 linear, u32 size, u32 right, u64 *value) noexcept nogil
cdef int write_linear(l0_vp *vp, u64 linear, u32 size, u32 right, u64 value) noexcept nogil
cdef int push(l0_vp *vp, u32 size, u64 value) noexcept nogil
cdef int peek(l0_vp *vp, u32 size, u32 depth, u64 *value) noexcept nogil
cdef void pop_done(l0_vp *vp, u32 bytes) noexcept nogil

cdef inline u64 *gpr(l0_vp *vp, u32 number) noexcept nogil:
    return &vp.vmcs.f.guest_rsp if number == GPR_RSP else &vp.regs[number]

cdef inline int fault(l0_vp *vp, u32 vector, u32 error) noexcept nogil:
    vp.fault.vector = vector
    vp.fault.error = error
    vp.fault.payload = 0
    return L2_FAULTS

cdef inline u32 segment_rights(l0_vp *vp, u32 segment) noexcept nogil:
    return (&vp.vmcs.f.guest_es_ar_bytes)[segment]

cdef inline u64 segment_base(l0_vp *vp, u32 segment) noexcept nogil:
    return (&vp.vmcs.f.guest_es_base)[segment]

cdef inline u32 segment_limit(l0_vp *vp, u32 segment) noexcept nogil:
    return (&vp.vmcs.f.guest_es_limit)[segment]

cdef inline bint protected_mode(l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_cr0 & CR0_PE != 0

cdef inline bint long_mode(l0_vp *vp) noexcept nogil:
    return vp.efer & EFER_LMA != 0

cdef inline bint virtual_8086(l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_rflags & FLAG_VM != 0

# Segments are selectors times 16: real-address mode and virtual-8086 mode.
cdef inline bint plain_segments(l0_vp *vp) noexcept nogil:
    return not protected_mode(vp) or virtual_8086(vp)

cdef inline u64 size_mask(u32 size) noexcept nogil:
    return ~<u64>0 if size == 8 else (<u64>1 << 8 * size) - 1

cdef inline u64 extend(u64 value, u32 size) noexcept nogil:
    # the sign of `size` bytes into all 64 bits
    return value if size == 8 else (value & size_mask(size) ^ <u64>1 << (8 * size - 1)) - \
        (<u64>1 << (8 * size - 1))

cdef inline u64 *place_of(l0_vp *vp, u32 number, const l2_insn *insn, u32 size, u32 *shift) \
        noexcept nogil:
    # without a REX prefix, byte registers 4 to 7 are AH, CH, DH and BH
    shift[0] = 8 if size == 1 and not insn.rex and 4 <= number < 8 else 0
    return gpr(vp, number & 3 if shift[0] else number)

cdef inline u64 read_register(l0_vp *vp, const l2_insn *insn, u32 number, u32 size) noexcept nogil:
    cdef u32 shift
    cdef const u64 *place = place_of(vp, number, insn, size, &shift)
    return place[0] >> shift & size_mask(size)

cdef inline void store(u64 *place, u64 value, u32 size, u32 shift) noexcept nogil:
    # 4 bytes clear the upper half, as in 64-bit mode; 1 and 2 leave the rest alone
    cdef u64 mask

    if size >= 4:
        place[0] = value & size_mask(size)
    else:
        mask = size_mask(size) << shift
        place[0] = place[0] & ~mask | value << shift & mask

cdef inline void write_register(
        l0_vp *vp, const l2_insn *insn, u32 number, u32 size, u64 value) noexcept nogil:
    cdef u32 shift
    cdef u64 *place = place_of(vp, number, insn, size, &shift)
    store(place, value, size, shift)

cdef inline u32 operand_size(const l2_insn *insn) noexcept nogil:
    return 1 if insn.byte_operand else insn.size

# The operand that ModRM's rm names, in a register or in memory.
cdef inline int read_rm(l0_vp *vp, const l2_insn *insn, u32 size, u64 *value) noexcept nogil:
    if insn.is_memory:
        return read_memory(vp, insn.segment, insn.offset, size, value)
    value[0] = read_register(vp, insn, insn.rm, size)
    return L2_DONE

cdef inline int write_rm(l0_vp *vp, const l2_insn *insn, u32 size, u64 value) noexcept nogil:
    if insn.is_memory:
        return write_memory(vp, insn.segment, insn.offset, size, value)
    write_register(vp, insn, insn.rm, size, value)
    return L2_DONE

# What the mode is, from the registers that make it: 16-, 32- or 64-bit code, privilege.
cdef inline void mode_changed(l0_vp *vp) noexcept nogil:
    vp.cpl2 = 3 if virtual_8086(vp) else VMX_AR_DPL(vp.vmcs.f.guest_ss_ar_bytes)
    if long_mode(vp) and vp.vmcs.f.guest_cs_ar_bytes >> 13 & 1:
        vp.code_bits = 64
    else:
        vp.code_bits = 32 if vp.vmcs.f.guest_cs_ar_bytes & VMX_AR_DB_MASK else 16
