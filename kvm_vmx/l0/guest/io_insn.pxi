# SPDX-License-Identifier: GPL-2.0-only
# IN, OUT, INS and OUTS of L2: who may, who wants to know, and the bus.

cdef enum:
    TSS_MAP_BASE = 102
    QUALIFY_IN = 1 << 3
    QUALIFY_STRING = 1 << 4
    QUALIFY_REPEAT = 1 << 5
    QUALIFY_IMMEDIATE = 1 << 6


# The I/O-permission bitmap of the task-state segment, where the privilege level asks for it.
cdef int check_permission_map(l0_vp *vp, u32 port, u32 size) noexcept nogil:
    cdef u64 base = segment_base(vp, SEG_TR), where = 0, bits = 0
    cdef u32 limit = segment_limit(vp, SEG_TR)
    cdef int status

    if not protected_mode(vp) or (
            not virtual_8086(vp) and vp.guest_cpl <= (vp.vmcs.f.guest_rflags >> 12 & 3)):
        return L2_DONE
    if not segment_rights(vp, SEG_TR) & 8 or limit < TSS_MAP_BASE + 1:
        # a 16-bit task has no bitmap
        return fault(vp, X86_TRAP_GP, 0)
    status = read_linear(vp, base + TSS_MAP_BASE, 2, L2_READ, &where)
    if status:
        return status
    if where + port // 8 + 1 > limit:
        return fault(vp, X86_TRAP_GP, 0)
    status = read_linear(vp, base + where + port // 8, 2, L2_READ, &bits)
    if status == L2_DONE and bits >> (port & 7) & ((1 << size) - 1):
        return fault(vp, X86_TRAP_GP, 0)
    return status


cdef bint port_exits(l0_vp *vp, u32 port, u32 size) noexcept nogil:
    cdef u32 controls = vp.vmcs.f.cpu_based_vm_exec_control
    cdef const u8 *page
    cdef u32 i

    if not controls & CPU_BASED_USE_IO_BITMAPS:
        return controls & CPU_BASED_UNCOND_IO_EXITING != 0
    if port + size > 0x10000:
        # an access that wraps round is in no bitmap
        return True
    for i in range(port, port + size):
        page = phys_page(vp.cpu.mem, vp.vmcs.f.io_bitmap_b if i >> 15 else vp.vmcs.f.io_bitmap_a)
        if page == NULL or page[(i & 0x7fff) >> 3] >> (i & 7) & 1:
            return True
    return False


cdef inline u32 port_size(const l2_insn *insn) noexcept nogil:
    return 1 if insn.byte_operand else 2 if insn.size == 2 else 4


cdef int in_out(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef bint immediate = insn.opcode < 0xe8
    cdef bint is_in = not insn.opcode & 2
    cdef u32 size = port_size(insn)
    cdef u32 port = (insn.immediate & 0xff) if immediate else (vp.regs[GPR_RDX] & 0xffff)
    cdef u64 value = size_mask(size)
    cdef int status = check_permission_map(vp, port, size)

    if status:
        return status
    if port_exits(vp, port, size):
        return leave_insn(
            vp, EXIT_REASON_IO_INSTRUCTION, insn, <u64>port << 16 | size - 1 |
            (QUALIFY_IN if is_in else 0) | (QUALIFY_IMMEDIATE if immediate else 0))
    if has_ports(vp) and not is_in:
        bus_tell(vp, False, port, size, vp.regs[GPR_RAX])
    elif has_ports(vp):
        status = bus_ask(vp, False, port, size, &value)
    if is_in and status == L2_DONE:
        store(&vp.regs[GPR_RAX], value, size, 0)
    return status


cdef int leave_string(l0_vp *vp, const l2_insn *insn, u32 port, u64 offset, bint is_in) \
        noexcept nogil:
    cdef u32 segment = SEG_ES if is_in else insn.segment
    cdef u64 linear = offset

    if vp.code_bits != 64 or segment >= SEG_FS:
        linear += segment_base(vp, segment)
    if vp.code_bits != 64:
        linear &= <u64>0xffffffff
    leave_insn(vp, EXIT_REASON_IO_INSTRUCTION, insn,
               <u64>port << 16 | port_size(insn) - 1 | QUALIFY_STRING |
               (QUALIFY_IN if is_in else 0) | (QUALIFY_REPEAT if insn.repeat else 0))
    vp.vmcs.f.guest_linear_address = linear
    vp.vmcs.f.vmx_instruction_info = address_size_info(insn) | segment << 15
    return L2_LEAVES


# One element; the loop comes back for the next.
cdef int move_element(l0_vp *vp, const l2_insn *insn, bint is_in, u64 offset) noexcept nogil:
    cdef u32 size = port_size(insn)
    cdef u32 port = vp.regs[GPR_RDX] & 0xffff
    cdef u64 value = size_mask(size)
    cdef int status

    if is_in:
        # a fault comes before the device is asked
        status = check_write(vp, SEG_ES, offset, size)
        if status == L2_DONE and has_ports(vp):
            status = bus_ask(vp, False, port, size, &value)
        return status if status else write_memory(vp, SEG_ES, offset, size, value)
    status = read_memory(vp, insn.segment, offset, size, &value)
    if status == L2_DONE and has_ports(vp):
        bus_tell(vp, False, port, size, value)
    return status


cdef int string_in_out(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef bint is_in = not insn.opcode & 2
    cdef u32 port = vp.regs[GPR_RDX] & 0xffff, size = port_size(insn)
    cdef u64 mask = size_mask(insn.address_size)
    cdef u64 *pointer = &vp.regs[GPR_RDI if is_in else GPR_RSI]
    cdef u64 count = vp.regs[GPR_RCX] & mask
    cdef u64 step = -<u64>size if vp.vmcs.f.guest_rflags & X86_EFLAGS_DF else size
    cdef int status

    if insn.repeat and count == 0:
        return L2_DONE
    status = check_permission_map(vp, port, size)
    if status:
        return status
    if port_exits(vp, port, size):
        return leave_string(vp, insn, port, pointer[0] & mask, is_in)
    status = move_element(vp, insn, is_in, pointer[0] & mask)
    if status:
        return status
    store(pointer, (pointer[0] + step) & mask, insn.address_size, 0)
    if insn.repeat:
        store(&vp.regs[GPR_RCX], count - 1, insn.address_size, 0)
        if count > 1:
            vp.next_rip = vp.vmcs.f.guest_rip
    return L2_DONE
