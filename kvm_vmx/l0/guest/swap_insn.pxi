# SPDX-License-Identifier: GPL-2.0-only
# XADD and CMPXCHG of L2: what compiled atomics are made of.


# The register gets what the destination had; where both are one, the sum stays. Memory is first:
# where its write fails, nothing has changed.
cdef int exchange_add(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 value = 0, other
    cdef int status = read_to_change(vp, insn, size, &value)

    if status:
        return status
    other = read_register(vp, insn, insn.reg, size)
    if insn.is_memory:
        status = write_memory(vp, insn.segment, insn.offset, size, value + other)
        if status:
            return status
    alu(vp, ALU_ADD, value, other, size)
    write_register(vp, insn, insn.reg, size, value)
    if not insn.is_memory:
        write_register(vp, insn, insn.rm, size, value + other)
    return L2_DONE


# SDM 2A CMPXCHG: memory gets a write either way. Of the accumulator and a register destination, the
# one that loses is not touched at all. Memory is first, too.
cdef int compare_exchange(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 value = 0, expected = read_register(vp, insn, GPR_RAX, size)
    cdef int status = read_to_change(vp, insn, size, &value)

    if status:
        return status
    if expected == value:
        status = write_rm(vp, insn, size, read_register(vp, insn, insn.reg, size))
    elif insn.is_memory:
        status = write_rm(vp, insn, size, value)
    if status:
        return status
    alu(vp, ALU_CMP, expected, value, size)
    if expected != value:
        write_register(vp, insn, GPR_RAX, size, value)
    return L2_DONE


cdef int write_halves(l0_vp *vp, const l2_insn *insn, u32 size, u64 low, u64 high) noexcept nogil:
    cdef int status = write_memory(vp, insn.segment, insn.offset, size, low)

    if status == L2_DONE:
        status = write_memory(vp, insn.segment, insn.offset + size, size, high)
    return status


# CMPXCHG8B and CMPXCHG16B: RDX:RAX is expected, RCX:RBX replaces it; ZF alone changes.
cdef int compare_exchange_pair(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = 8 if insn.rex & 8 else 4
    cdef u64 low = 0, high = 0, linear = 0
    cdef bint equal
    cdef int status

    if size == 8 and not cpuid_offers(vp, 1, REGISTER_ECX, 13):
        return undefined(vp)
    status = linear_address(vp, insn.segment, insn.offset, 2 * size, True, &linear)
    if status:
        return status
    if size == 8 and linear & 15:
        return fault(vp, X86_TRAP_GP, 0)
    status = check_write(vp, insn.segment, insn.offset, 2 * size)
    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset, size, &low)
    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset + size, size, &high)
    if status:
        return status
    equal = low == vp.regs[GPR_RAX] & size_mask(size) and high == vp.regs[GPR_RDX] & size_mask(size)
    status = write_halves(vp, insn, size, vp.regs[GPR_RBX] if equal else low,
                          vp.regs[GPR_RCX] if equal else high)
    if status:
        return status
    set_status(vp, flag_if(equal, X86_EFLAGS_ZF), X86_EFLAGS_ZF)
    if not equal:
        store(&vp.regs[GPR_RAX], low, size, 0)
        store(&vp.regs[GPR_RDX], high, size, 0)
    return L2_DONE
