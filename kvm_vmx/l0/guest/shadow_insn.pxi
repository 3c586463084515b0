# SPDX-License-Identifier: GPL-2.0-only
# VMREAD and VMWRITE of L2: to L1, or where L1 lets it to the VMCS that its link pointer names.

cdef enum:
    FIELD_BITS = 15


# SDM 24.6.15: a bit of the bitmap for each field whose number fits into 15 bits.
cdef bint shadow_exits(l0_vp *vp, u64 encoding, u64 bitmap) noexcept nogil:
    cdef const u8 *page

    if not secondary_controls(vp.vmcs) & SECONDARY_EXEC_SHADOW_VMCS or encoding >> FIELD_BITS:
        return True
    page = phys_page(vp.cpu.mem, bitmap)
    return page == NULL or page[encoding >> 3] >> (encoding & 7) & 1


# An error's number goes to the current VMCS, and not to the one that was to be accessed.
cdef int shadow_outcome(l0_vp *vp, u64 flags, u32 error) noexcept nogil:
    vp.vmcs.f.guest_rflags = vp.vmcs.f.guest_rflags & ~<u64>INSN_STATUS_FLAGS | flags
    if error:
        vp.vmcs.f.vm_instruction_error = error
    return L2_DONE


cdef const l0_field *shadow_field(l0_vp *vp, u64 encoding, int *high) noexcept nogil:
    cdef const l0_field *field = l0_field_of(encoding, high)

    if field != NULL:
        return field
    high[0] = 0
    return optional_field(vp, encoding)


cdef int read_shadow(l0_vp *vp, const l2_insn *insn, const l0_field *field, int high,
                     const u8 *page, u32 size) noexcept nogil:
    cdef u64 value = l0_field_get(page, field, high)
    cdef int status = L2_DONE

    if insn.is_memory:
        status = write_memory(vp, insn.segment, insn.offset, size, value)
    else:
        gpr(vp, insn.rm)[0] = value & size_mask(size)
    return status if status else shadow_outcome(vp, 0, 0)


cdef int access_shadow(l0_vp *vp, const l2_insn *insn, u64 encoding, u32 size) noexcept nogil:
    cdef u8 *page = NULL
    cdef const l0_field *field
    cdef bint is_write = insn.opcode & 1
    cdef u64 value = 0
    cdef int high, status = L2_DONE

    if vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    if is_write:
        status = read_rm(vp, insn, size, &value)
    if status:
        return status
    if vp.vmcs.f.vmcs_link_pointer != L0_NO_VMCS:
        page = phys_page(vp.cpu.mem, vp.vmcs.f.vmcs_link_pointer)
    if page == NULL:
        return shadow_outcome(vp, INSN_VMFAIL_INVALID, 0)
    field = shadow_field(vp, encoding, &high)
    if field == NULL:
        return shadow_outcome(
            vp, INSN_VMFAIL_VALID, VMXERR_UNSUPPORTED_VMCS_COMPONENT)
    if not is_write:
        return read_shadow(vp, insn, field, high, page, size)
    if field.read_only and not vp.partition.caps.misc & MISC_VMWRITE_ANY_FIELD:
        return shadow_outcome(
            vp, INSN_VMFAIL_VALID, VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT)
    l0_field_set(page, field, high, value)
    return shadow_outcome(vp, 0, 0)


cdef int read_write_vmcs(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef bint is_write = insn.opcode & 1
    cdef u32 size = natural_size(vp)
    cdef u64 encoding = gpr(vp, insn.reg)[0] & size_mask(size)

    if insn.operand_prefix or insn.repeat or not nesting_exists(vp):
        return undefined(vp)
    if not is_root(vp) and not shadow_exits(
            vp, encoding, vp.vmcs.vmwrite_bitmap if is_write else vp.vmcs.vmread_bitmap):
        return access_shadow(vp, insn, encoding, size)
    return leave_nested_operand(
        vp, insn, EXIT_REASON_VMWRITE if is_write else EXIT_REASON_VMREAD,
        <u32>insn.reg << 28)
