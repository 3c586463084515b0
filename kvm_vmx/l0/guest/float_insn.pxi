# SPDX-License-Identifier: GPL-2.0-only
# SSE and SSE2 of L2 with floating point: arithmetic, comparisons, conversions.

cdef extern from "kvm_vmx/l0/guest/float.h" nogil:
    enum:
        FLOAT_FLAGS
        FLOAT_MASKS
        FLOAT_UNDERFLOW
        FLOAT_UNDERFLOW_MASK
        FLOAT_FLUSH
    bint float_packed(u32 opcode, u32 form, xmm_value *place, const xmm_value *source, u32 choice,
                      u32 *csr)
    bint float_tiny(u32 opcode, u32 form, const xmm_value *result)
    void float_from_integer(u32 form, u32 wide, xmm_value *place, u64 value, u32 *csr)
    u64 float_to_integer(u32 truncates, u32 form, u32 wide, const xmm_value *source, u32 *csr)
    u64 float_compare(u32 opcode, u32 wide, const xmm_value *first, const xmm_value *second,
                      u32 *csr)

cdef enum:
    FORM_PS = 0
    FORM_PD = 1
    FORM_SS = 2
    FORM_SD = 3
    # before the result is known: invalid, denormal, division by zero
    BEFORE_RESULT = 7


cdef inline u32 form_of(const l2_insn *insn) noexcept nogil:
    if insn.repeat:
        return FORM_SS if insn.repeat == PREFIX_SS else FORM_SD
    return FORM_PD if insn.operand_prefix else FORM_PS


cdef inline bint is_float(u32 opcode) noexcept nogil:
    return 0x2a <= opcode <= 0x2f and opcode != 0x2b or 0x51 <= opcode <= 0x53 or \
        0x58 <= opcode <= 0x5f or opcode == 0xc2 or opcode == 0xe6


# The bytes of the second operand; what is narrower than a register need not be aligned.
cdef u32 float_operand(u32 opcode, u32 form) noexcept nogil:
    if opcode == 0x5a and form == FORM_PS or opcode == 0xe6 and form == FORM_SS:
        return 8
    if opcode == 0x5b or opcode == 0xe6:
        return XMM_BYTES
    return 4 if form == FORM_SS else 8 if form == FORM_SD else XMM_BYTES


# Masked, an underflow is a result that is tiny and inexact, and FZ counts; unmasked, one that is
# tiny. SDM 1 4.9.1.5, 10.2.3.3.
cdef inline bint underflow_masked(const l0_vp *vp) noexcept nogil:
    return vp.extended.mxcsr & <u32>FLOAT_UNDERFLOW_MASK != 0


# MXCSR for the host: L2's rounding, no flag set, everything masked.
cdef inline u32 float_begin(const l0_vp *vp) noexcept nogil:
    cdef u32 csr = vp.extended.mxcsr & MXCSR_MAY & ~<u32>FLOAT_FLAGS | FLOAT_MASKS

    return csr if underflow_masked(vp) else csr & ~<u32>FLOAT_FLUSH


# SDM 1 11.5: what L2 does not mask raises #XM, and of those before the result alone the flags.
cdef int float_end(l0_vp *vp, u32 csr) noexcept nogil:
    cdef u32 raised = csr & FLOAT_FLAGS
    cdef u32 unmasked = raised & ~(vp.extended.mxcsr >> 7)

    if unmasked & BEFORE_RESULT:
        raised &= BEFORE_RESULT
    vp.extended.mxcsr |= raised
    if not unmasked:
        return L2_DONE
    if not vp.vmcs.f.guest_cr4 & X86_CR4_OSXMMEXCPT:
        return undefined(vp)
    return fault(vp, X86_TRAP_XF, 0)


cdef int convert_integer(l0_vp *vp, const l2_insn *insn, u32 form) noexcept nogil:
    cdef u32 csr = float_begin(vp), size = 8 if insn.rex & 8 else 4
    cdef xmm_value result = xmm(vp, insn.reg)[0], source
    cdef u64 value = 0
    cdef int status

    if form < FORM_SS:
        # to and from MMX registers, which are not offered
        return undefined(vp)
    if insn.opcode == 0x2a:
        status = read_rm(vp, insn, size, &value)
        if status:
            return status
        float_from_integer(form, size == 8, &result, value, &csr)
    else:
        status = read_xmm(vp, insn, 4 if form == FORM_SS else 8, False, &source)
        if status:
            return status
        value = float_to_integer(insn.opcode == 0x2c, form, size == 8, &source, &csr)
    status = float_end(vp, csr)
    if status == L2_DONE and insn.opcode == 0x2a:
        xmm(vp, insn.reg)[0] = result
    elif status == L2_DONE:
        gpr(vp, insn.reg)[0] = value
    return status


cdef int compare_scalar(l0_vp *vp, const l2_insn *insn, u32 form) noexcept nogil:
    cdef u32 csr = float_begin(vp)
    cdef xmm_value source
    cdef u64 flags
    cdef int status

    if form > FORM_PD:
        return undefined(vp)
    status = read_xmm(vp, insn, 8 if form == FORM_PD else 4, False, &source)
    if status:
        return status
    flags = float_compare(insn.opcode, form == FORM_PD, xmm(vp, insn.reg), &source, &csr)
    status = float_end(vp, csr)
    if status == L2_DONE:
        set_status(vp, flags, INSN_STATUS_FLAGS)
    return status


cdef int float_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode, form = form_of(insn), csr = float_begin(vp), size
    cdef xmm_value source, result = xmm(vp, insn.reg)[0]
    cdef int status

    if opcode == 0x2e or opcode == 0x2f:
        return compare_scalar(vp, insn, form)
    if opcode < 0x30:
        return convert_integer(vp, insn, form)
    source.q[0] = source.q[1] = 0
    # is there such a form? Only then is its operand read
    if not float_packed(opcode, form, &result, &source, 0, &csr):
        return undefined(vp)
    size = float_operand(opcode, form)
    status = read_xmm(vp, insn, size, size == XMM_BYTES, &source)
    if status:
        return status
    result = xmm(vp, insn.reg)[0]
    csr = float_begin(vp)
    float_packed(opcode, form, &result, &source, <u32>insn.immediate, &csr)
    if not underflow_masked(vp) and float_tiny(opcode, form, &result):
        csr |= FLOAT_UNDERFLOW
    status = float_end(vp, csr)
    if status == L2_DONE:
        xmm(vp, insn.reg)[0] = result
    return status
