# SPDX-License-Identifier: GPL-2.0-only
# Memory operands of L2: segmentation, then bytes in one page or two; the stack.

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

cdef enum:
    TYPE_WRITABLE = 2
    TYPE_EXPAND_DOWN = 4
    TYPE_CODE = 8


cdef inline u64 *gpr(l0_vp *vp, u32 number) noexcept nogil:
    return &vp.vmcs.f.guest_rsp if number == GPR_RSP else &vp.regs[number]


cdef inline int fault(l0_vp *vp, u32 vector, u32 error) noexcept nogil:
    vp.fault.vector = vector
    vp.fault.error = error
    vp.fault.payload = 0
    return L2_FAULTS


cdef inline int undefined(l0_vp *vp) noexcept nogil:
    return fault(vp, X86_TRAP_UD, 0)


cdef inline u32 segment_rights(l0_vp *vp, u32 segment) noexcept nogil:
    return (&vp.vmcs.f.guest_es_ar_bytes)[segment]


cdef inline u64 segment_base(l0_vp *vp, u32 segment) noexcept nogil:
    return (&vp.vmcs.f.guest_es_base)[segment]


cdef inline u32 segment_limit(l0_vp *vp, u32 segment) noexcept nogil:
    return (&vp.vmcs.f.guest_es_limit)[segment]


cdef inline bint protected_mode(l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_cr0 & X86_CR0_PE != 0


cdef inline bint long_mode(l0_vp *vp) noexcept nogil:
    return vp.efer & EFER_LMA != 0


cdef inline bint virtual_8086(l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_rflags & X86_EFLAGS_VM != 0


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


# What has been calculated, with its flags: those are as they were where it cannot be written. RF is
# of the exit that says so.
cdef inline int write_changed(l0_vp *vp, const l2_insn *insn, u32 size, u64 value, u64 flags) \
        noexcept nogil:
    cdef int status = write_rm(vp, insn, size, value)

    if unlikely(status):
        vp.vmcs.f.guest_rflags ^= (vp.vmcs.f.guest_rflags ^ flags) & INSN_STATUS_FLAGS
    return status


# What the mode is, from the registers that make it: 16-, 32- or 64-bit code, privilege.
cdef inline void mode_changed(l0_vp *vp) noexcept nogil:
    vp.guest_cpl = 3 if virtual_8086(vp) else VMX_AR_DPL(vp.vmcs.f.guest_ss_ar_bytes)
    if long_mode(vp) and vp.vmcs.f.guest_cs_ar_bytes >> 13 & 1:
        vp.code_bits = 64
    else:
        vp.code_bits = 32 if vp.vmcs.f.guest_cs_ar_bytes & VMX_AR_DB_MASK else 16


cdef int outside(l0_vp *vp, u32 segment) noexcept nogil:
    return fault(vp, X86_TRAP_SS if segment == SEG_SS else X86_TRAP_GP, 0)


# Does the offset's last byte lie within the segment?
cdef bint within_limit(u64 offset, u32 size, u32 limit, u32 rights) noexcept nogil:
    cdef u64 last = offset + size - 1
    cdef u64 top = <u64>0xffffffff if rights & VMX_AR_DB_MASK else 0xffff

    if rights & (TYPE_CODE | TYPE_EXPAND_DOWN) == TYPE_EXPAND_DOWN and rights & VMX_AR_S_MASK:
        return offset > limit and last <= top
    return last <= limit


cdef bint type_allows(u32 rights, bint write) noexcept nogil:
    # bit 1: a data segment may be written, a code segment read
    if rights & TYPE_CODE:
        return not write and rights & TYPE_WRITABLE != 0
    return not write or rights & TYPE_WRITABLE != 0


cdef int linear_address(l0_vp *vp, u32 segment, u64 offset, u32 size, bint write, u64 *linear) \
        noexcept nogil:
    cdef u32 rights = segment_rights(vp, segment)

    if vp.code_bits == 64:
        linear[0] = offset
        if segment >= SEG_FS:
            linear[0] += segment_base(vp, segment)
        if not is_canonical(linear[0]) or not is_canonical(linear[0] + size - 1):
            return outside(vp, segment)
        return L2_DONE
    if rights & VMX_AR_UNUSABLE_MASK and not plain_segments(vp):
        return outside(vp, segment)
    if not plain_segments(vp) and not type_allows(rights, write):
        return outside(vp, segment)
    if not within_limit(offset, size, segment_limit(vp, segment), rights):
        return outside(vp, segment)
    linear[0] = segment_base(vp, segment) + offset & <u64>0xffffffff
    return L2_DONE


cdef inline u32 user(l0_vp *vp) noexcept nogil:
    return L2_USER if vp.guest_cpl == 3 else 0


cdef bint misaligned(l0_vp *vp, u64 linear, u32 size) noexcept nogil:
    return vp.guest_cpl == 3 and linear & (size - 1) and vp.vmcs.f.guest_cr0 & X86_CR0_AM and \
        vp.vmcs.f.guest_rflags & X86_EFLAGS_AC != 0


# An explicit access of the instruction in progress; those to system tables are a supervisor's.
cdef int read_memory(l0_vp *vp, u32 segment, u64 offset, u32 size, u64 *value) noexcept nogil:
    cdef u64 linear = 0
    cdef const u8 *place = at_once(vp, segment, offset, size, L2_READ)
    cdef int status

    if likely(place != NULL):
        value[0] = load_bytes(place, size)
        return L2_DONE
    status = linear_address(vp, segment, offset, size, False, &linear)
    if status:
        return status
    if unlikely(misaligned(vp, linear, size)):
        return fault(vp, X86_TRAP_AC, 0)
    return read_linear(vp, linear, size, L2_READ << user(vp), value)


cdef int write_memory(l0_vp *vp, u32 segment, u64 offset, u32 size, u64 value) noexcept nogil:
    cdef u64 linear = 0
    cdef u8 *place = at_once(vp, segment, offset, size, L2_WRITE)
    cdef int status

    if likely(place != NULL):
        store_bytes(place, size, value)
        return L2_DONE
    status = linear_address(vp, segment, offset, size, True, &linear)
    if status:
        return status
    if unlikely(misaligned(vp, linear, size)):
        return fault(vp, X86_TRAP_AC, 0)
    return write_linear(vp, linear, size, L2_WRITE << user(vp), value)


# Would a write be possible? What a read-modify-write asks before it reads. Of a register of the
# APIC-access page that may be read alone, the write leaves here, before anything has changed.
cdef int check_write(l0_vp *vp, u32 segment, u64 offset, u32 size) noexcept nogil:
    cdef u64 linear = 0
    cdef u8 *page
    cdef int status

    if likely(at_once(vp, segment, offset, size, L2_WRITE) != NULL):
        return L2_DONE
    status = linear_address(vp, segment, offset, size, True, &linear)
    if status:
        return status
    page = translate(vp, linear, L2_WRITE << user(vp))
    if page == NULL:
        return not_translated(vp)
    if is_virtual_page(vp, page) and read_is_virtual(vp, linear & 0xfff, size) and \
            not write_is_virtual(vp, linear & 0xfff, size):
        return apic_access_exit(vp, linear, ACCESS_WRITE)
    if translate(vp, linear + size - 1, L2_WRITE << user(vp)) == NULL:
        return not_translated(vp)
    return L2_DONE


# The bits of RSP that the stack segment lets count.
cdef u64 stack_mask(l0_vp *vp) noexcept nogil:
    if vp.code_bits == 64:
        return ~<u64>0
    return <u64>0xffffffff if segment_rights(vp, SEG_SS) & VMX_AR_DB_MASK else 0xffff


cdef void set_stack_pointer(l0_vp *vp, u64 value) noexcept nogil:
    cdef u64 mask = stack_mask(vp)

    vp.vmcs.f.guest_rsp = vp.vmcs.f.guest_rsp & ~mask | value & mask


cdef int push(l0_vp *vp, u32 size, u64 value) noexcept nogil:
    cdef u64 rsp = (vp.vmcs.f.guest_rsp - size) & stack_mask(vp)
    cdef int status = write_memory(vp, SEG_SS, rsp, size, value)

    if status == L2_DONE:
        set_stack_pointer(vp, rsp)
    return status


# What lies `depth` bytes above the top of the stack; RSP stays.
cdef int peek(l0_vp *vp, u32 size, u32 depth, u64 *value) noexcept nogil:
    return read_memory(vp, SEG_SS, (vp.vmcs.f.guest_rsp + depth) & stack_mask(vp), size, value)


cdef void pop_done(l0_vp *vp, u32 bytes) noexcept nogil:
    set_stack_pointer(vp, vp.vmcs.f.guest_rsp + bytes)
