# SPDX-License-Identifier: GPL-2.0-only
# Memory operands of L2: segmentation, then bytes in one page or two; the stack.
from kvm_vmx.abi.types cimport u8, u32, u64, unlikely
from kvm_vmx.abi.virt_cpu cimport GPR_RSP
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.outcome cimport is_canonical
from kvm_vmx.l0.state cimport *
from kvm_vmx.l0.translate cimport translate
from libc.string cimport memcpy

cdef enum:
    CR0_AM = 1 << 18
    TYPE_WRITABLE = 2
    TYPE_EXPAND_DOWN = 4
    TYPE_CODE = 8


cdef int outside(l0_vp *vp, u32 segment) noexcept nogil:
    return fault(vp, VECTOR_SS if segment == SEG_SS else VECTOR_GP, 0)


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


cdef int read_linear(l0_vp *vp, u64 linear, u32 size, u32 right, u64 *value) noexcept nogil:
    cdef u32 first = 4096 - (<u32>linear & 4095)
    cdef const u8 *page = translate(vp, linear, right)
    cdef const u8 *second
    cdef int status = L2_DONE

    value[0] = 0
    if page == NULL:
        return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES
    if first >= size:
        memcpy(value, page + (linear & 4095), size)
        return status
    second = translate(vp, linear + first, right)
    if second == NULL:
        return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES
    memcpy(value, page + (linear & 4095), first)
    memcpy(<u8 *>value + first, second, size - first)
    return status


cdef int write_linear(l0_vp *vp, u64 linear, u32 size, u32 right, u64 value) noexcept nogil:
    cdef u32 first = 4096 - (<u32>linear & 4095)
    cdef u8 *page = translate(vp, linear, right)
    cdef u8 *second = page

    if page != NULL and first < size:
        # both pages before the first byte
        second = translate(vp, linear + first, right)
    if page == NULL or second == NULL:
        return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES
    if first >= size:
        memcpy(page + (linear & 4095), &value, size)
    else:
        memcpy(page + (linear & 4095), &value, first)
        memcpy(second, <u8 *>&value + first, size - first)
    return L2_DONE


cdef inline u32 user(l0_vp *vp) noexcept nogil:
    return L2_USER if vp.cpl2 == 3 else 0


cdef bint misaligned(l0_vp *vp, u64 linear, u32 size) noexcept nogil:
    return vp.cpl2 == 3 and linear & (size - 1) and vp.vmcs.f.guest_cr0 & CR0_AM and \
        vp.vmcs.f.guest_rflags & FLAG_AC != 0


cdef int read_memory(l0_vp *vp, u32 segment, u64 offset, u32 size, u64 *value) noexcept nogil:
    cdef u64 linear = 0
    cdef int status = linear_address(vp, segment, offset, size, False, &linear)

    if status:
        return status
    if unlikely(misaligned(vp, linear, size)):
        return fault(vp, VECTOR_AC, 0)
    return read_linear(vp, linear, size, L2_READ << user(vp), value)


cdef int write_memory(l0_vp *vp, u32 segment, u64 offset, u32 size, u64 value) noexcept nogil:
    cdef u64 linear = 0
    cdef int status = linear_address(vp, segment, offset, size, True, &linear)

    if status:
        return status
    if unlikely(misaligned(vp, linear, size)):
        return fault(vp, VECTOR_AC, 0)
    return write_linear(vp, linear, size, L2_WRITE << user(vp), value)


cdef int check_write(l0_vp *vp, u32 segment, u64 offset, u32 size) noexcept nogil:
    cdef u64 linear = 0
    cdef int status = linear_address(vp, segment, offset, size, True, &linear)

    if status:
        return status
    if translate(vp, linear, L2_WRITE << user(vp)) == NULL or \
            translate(vp, linear + size - 1, L2_WRITE << user(vp)) == NULL:
        return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES
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
