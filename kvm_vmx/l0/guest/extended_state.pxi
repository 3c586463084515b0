# SPDX-License-Identifier: GPL-2.0-only
# FXSAVE, XSAVE and their like: x87 and SSE state to memory and back, and XCR0.

cdef enum:
    FXSAVE_BYTES = 512
    # what the processor writes of it: the rest is software's
    LEGACY_BYTES = 416
    X87_BYTES = 24
    X87_REGISTERS = 32
    MXCSR_AT = 24
    XMM_AT = 160
    HEADER_AT = 512
    XSAVE_BYTES = 576
    XCR0_X87 = 1
    XCR0_SSE = 2
    MXCSR_INIT = 0x1f80
    MXCSR_MAY = 0xffff
    CONTROL_INIT = 0x37f
    ECX_XSAVE = 26


# As FNINIT leaves the x87; its registers keep what they have, all of them empty.
cdef void x87_init(l0_extended *e) noexcept nogil:
    e.control = CONTROL_INIT
    e.status = e.tags = e.opcode = 0
    e.instruction = e.operand = 0


# As after power-up, but that the x87 is as FNINIT leaves it.
cdef void extended_init(l0_extended *e) noexcept nogil:
    memset(e, 0, sizeof(e[0]))
    x87_init(e)
    e.mxcsr = MXCSR_INIT
    e.mxcsr_mask = MXCSR_MAY
    e.xcr0 = XCR0_X87


# Bytes of the image in memory, at a place that is known to be aligned to 8.
cdef int image_bytes(l0_vp *vp, const l2_insn *insn, u8 *image, u32 first, u32 end, bint write) \
        noexcept nogil:
    cdef u32 at
    cdef int status = L2_DONE

    for at in range(first, end, 8):
        if write:
            status = write_memory(vp, insn.segment, insn.offset + at, 8, (<u64 *>(image + at))[0])
        else:
            status = read_memory(vp, insn.segment, insn.offset + at, 8, <u64 *>(image + at))
        if status:
            break
    return status


cdef int check_area(l0_vp *vp, const l2_insn *insn, u32 bytes, u32 alignment, bint write) \
        noexcept nogil:
    cdef u64 linear = 0
    cdef int status = linear_address(vp, insn.segment, insn.offset, bytes, write, &linear)

    if status == L2_DONE and linear & (alignment - 1):
        return fault(vp, X86_TRAP_GP, 0)
    if status == L2_DONE and write:
        # no byte is written where another cannot be
        status = check_write(vp, insn.segment, insn.offset, bytes)
    return status


cdef int fxsave(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef int status = check_area(vp, insn, FXSAVE_BYTES, 16, True)

    if status:
        return status
    return image_bytes(vp, insn, <u8 *>&vp.extended, 0, LEGACY_BYTES, True)


cdef int fxrstor(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef l0_extended found = vp.extended
    cdef int status = check_area(vp, insn, FXSAVE_BYTES, 16, False)

    if status == L2_DONE:
        status = image_bytes(vp, insn, <u8 *>&found, 0, LEGACY_BYTES, False)
    if status:
        return status
    if found.mxcsr & ~<u32>MXCSR_MAY:
        return fault(vp, X86_TRAP_GP, 0)
    found.mxcsr_mask = MXCSR_MAY
    vp.extended = found
    return L2_DONE


cdef u64 wanted_components(const l0_vp *vp) noexcept nogil:
    return (vp.regs[GPR_RDX] << 32 | vp.regs[GPR_RAX] & <u64>0xffffffff) & vp.extended.xcr0


# SDM 1 13.7. Of a component that is asked for, everything is in use.
cdef int xsave(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 wanted = wanted_components(vp), header = 0
    cdef u8 *image = <u8 *>&vp.extended
    cdef int status = check_area(vp, insn, XSAVE_BYTES, 64, True)

    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset + HEADER_AT, 8, &header)
    if status == L2_DONE and wanted & XCR0_X87:
        status = image_bytes(vp, insn, image, 0, X87_BYTES, True)
        if status == L2_DONE:
            status = image_bytes(vp, insn, image, X87_REGISTERS, XMM_AT, True)
    if status == L2_DONE and wanted & XCR0_SSE:
        status = image_bytes(vp, insn, image, MXCSR_AT, MXCSR_AT + 8, True)
        if status == L2_DONE:
            status = image_bytes(vp, insn, image, XMM_AT, LEGACY_BYTES, True)
    if status == L2_DONE:
        # RFBM's bits of XSTATE_BV, and the others as they are
        status = write_memory(
            vp, insn.segment, insn.offset + HEADER_AT, 8,
            header | wanted)
    return status


# SDM 1 13.8.1: the standard form alone; a compacted image would need XSAVEC.
cdef int check_xsave_header(l0_vp *vp, const l2_insn *insn, u64 *there) noexcept nogil:
    cdef u64 more[3]
    cdef int status = read_memory(vp, insn.segment, insn.offset + HEADER_AT, 8, there)
    cdef u32 i

    for i in range(2):
        if status == L2_DONE:
            status = read_memory(
                vp, insn.segment, insn.offset + HEADER_AT + 8 + 8 * i, 8, &more[i])
    if status == L2_DONE and (more[0] or more[1] or there[0] & ~vp.extended.xcr0):
        return fault(vp, X86_TRAP_GP, 0)
    return status


cdef int xrstor(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 wanted = wanted_components(vp), there = 0
    cdef l0_extended found = vp.extended
    cdef u8 *image = <u8 *>&found
    cdef int status = check_area(vp, insn, XSAVE_BYTES, 64, False)

    if status == L2_DONE:
        status = check_xsave_header(vp, insn, &there)
    if status == L2_DONE and wanted & XCR0_X87:
        x87_init(&found)
        memset(found.x87, 0, sizeof(found.x87))
        if there & XCR0_X87:
            status = image_bytes(vp, insn, image, 0, X87_BYTES, False)
            if status == L2_DONE:
                status = image_bytes(vp, insn, image, X87_REGISTERS, XMM_AT, False)
    if status == L2_DONE and wanted & XCR0_SSE:
        memset(found.xmm, 0, sizeof(found.xmm))
        # MXCSR is loaded whatever XSTATE_BV says
        status = image_bytes(vp, insn, image, MXCSR_AT, MXCSR_AT + 8, False)
        if status == L2_DONE and there & XCR0_SSE:
            status = image_bytes(vp, insn, image, XMM_AT, LEGACY_BYTES, False)
    if status == L2_DONE and found.mxcsr & ~<u32>MXCSR_MAY:
        return fault(vp, X86_TRAP_GP, 0)
    if status == L2_DONE:
        found.mxcsr_mask = MXCSR_MAY
        vp.extended = found
    return status


cdef int move_mxcsr(l0_vp *vp, const l2_insn *insn, bint load) noexcept nogil:
    cdef u64 value = vp.extended.mxcsr
    cdef int status = check_sse(vp)

    if status:
        return status
    if not load:
        return write_memory(vp, insn.segment, insn.offset, 4, value)
    status = read_memory(vp, insn.segment, insn.offset, 4, &value)
    if status == L2_DONE and value & ~<u64>MXCSR_MAY:
        return fault(vp, X86_TRAP_GP, 0)
    if status == L2_DONE:
        vp.extended.mxcsr = <u32>value
    return status


# 0f ae with memory, but CLFLUSH.
cdef int extended_memory(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7

    if insn.operand_prefix or insn.repeat or operation > 5:
        return undefined(vp)
    if operation == 2 or operation == 3:
        return move_mxcsr(vp, insn, operation == 2)
    if operation >= 4 and not vp.vmcs.f.guest_cr4 & X86_CR4_OSXSAVE:
        return undefined(vp)
    if vp.vmcs.f.guest_cr0 & X86_CR0_TS or (
            operation < 2 and vp.vmcs.f.guest_cr0 & X86_CR0_EM):
        return fault(vp, X86_TRAP_NM, 0)
    if operation < 2:
        return fxrstor(vp, insn) if operation else fxsave(vp, insn)
    return xrstor(vp, insn) if operation == 5 else xsave(vp, insn)


cdef int xgetbv(l0_vp *vp) noexcept nogil:
    if <u32>vp.regs[GPR_RCX]:
        return fault(vp, X86_TRAP_GP, 0)
    vp.regs[GPR_RAX] = vp.extended.xcr0 & <u64>0xffffffff
    vp.regs[GPR_RDX] = vp.extended.xcr0 >> 32
    return L2_DONE


# SDM 2C XSETBV: x87 is always there; SSE as well is all that there is.
cdef int xsetbv(l0_vp *vp) noexcept nogil:
    cdef u64 value = vp.regs[GPR_RDX] << 32 | vp.regs[GPR_RAX] & <u64>0xffffffff

    if <u32>vp.regs[GPR_RCX] or value & ~<u64>(XCR0_X87 | XCR0_SSE) or not value & XCR0_X87:
        return fault(vp, X86_TRAP_GP, 0)
    vp.extended.xcr0 = value
    return L2_DONE
