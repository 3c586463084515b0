# SPDX-License-Identifier: GPL-2.0-only
# Hyper-V's hypercalls: the control word in RCX, where the parameters are, the result in RAX.

# A hypercall by its parameters, wherever they came from.
cdef struct call_t:
    u64 control
    u32 code
    bint fast
    bint from_l2
    u32 variable            # quadwords of variable header
    u32 count, start        # repetitions, and the first of them
    u64 done                # repetitions done, for the result
    u64 word[512]           # header, variable header and list as the caller has them

cdef enum:
    # bytes of input in XMM0 to XMM5
    XMM_PARAMETERS = 96
    CALL_SPIN_WAIT = 0x8
    CALL_SEND_IPI = 0xb
    CALL_SEND_IPI_EX = 0x15
    CALL_POST_MESSAGE = 0x5c
    CALL_SIGNAL_EVENT = 0x5d
    CALL_QUERY_CAPABILITIES = 0x8001
    CALL_LAST_EXTENDED = 0x8041
    # leaf 0x40000003 EBX
    POST_MESSAGES = 1 << 4
    SIGNAL_EVENTS = 1 << 5
    ENABLE_EXTENDED_CALLS = 1 << 20

    # RDX and R8, and XMM0 to XMM5
    FAST_BYTES = 16
    FAST_XMM_BYTES = 112

    # what a call is like
    REPEATED = 1
    VARIABLE = 2
    NO_SUCH_CALL = 0xffff


# Bits of the control word that must be 0: 63:60, 47:44, 30:27 (R94).
cdef u64 call_reserved_bits() noexcept nogil:
    return <u64>0xf000f00078000000


# Bytes of the fixed header, and the kind of the call.
cdef u32 header_of(u32 code, u32 *kind) noexcept nogil:
    kind[0] = 0
    if code == HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE:
        return 24
    if code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST:
        kind[0] = REPEATED
        return 24
    if code == HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX:
        kind[0] = VARIABLE
        return 32
    if code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX:
        kind[0] = VARIABLE | REPEATED
        return 32
    if code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE:
        return 16
    if code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_LIST:
        kind[0] = REPEATED
        return 16
    if code == CALL_SPIN_WAIT or code == CALL_SIGNAL_EVENT:
        return 8
    if code == CALL_SEND_IPI:
        return 16
    if code == CALL_SEND_IPI_EX:
        kind[0] = VARIABLE
        return 24
    # a message is not looked at where nobody is there to take it
    if code == CALL_POST_MESSAGE or CALL_QUERY_CAPABILITIES <= code <= CALL_LAST_EXTENDED:
        return 0
    return NO_SUCH_CALL


# Leaf 0x40000004 EBX says after how many spins to call; 0 and all ones: never.
cdef bint spin_wait_announced(const l0_vp *vp) noexcept nogil:
    cdef const l0_cpuid_leaf *leaf = cpuid_leaf(
        &vp.partition.profile, HYPERV_CPUID_ENLIGHTMENT_INFO)

    return leaf != NULL and leaf.ebx != 0 and leaf.ebx != <u32>0xffffffff


# Is the call announced? The flushes and the interrupts by hints, whose extended forms take both.
cdef bint announced(const l0_vp *vp, u32 code) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 wanted = HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED

    if code == CALL_SPIN_WAIT:
        return spin_wait_announced(vp)
    if code == CALL_POST_MESSAGE:
        return caps.features_ebx & POST_MESSAGES != 0
    if code == CALL_SIGNAL_EVENT:
        return caps.features_ebx & SIGNAL_EVENTS != 0
    if code == CALL_SEND_IPI or code == CALL_SEND_IPI_EX:
        wanted = HV_X64_CLUSTER_IPI_RECOMMENDED
    if code == HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX or \
            code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX or code == CALL_SEND_IPI_EX:
        wanted |= HV_X64_EX_PROCESSOR_MASKS_RECOMMENDED
    return caps.hints & wanted == wanted


# 0, or the check of a call that the profile does not offer.
cdef u32 offer_refusal(const l0_vp *vp, u32 code) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef bint enforce = vp.partition.profile.enforce_cpuid

    if code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE or \
            code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_LIST:
        if not caps.nested & HV_X64_NESTED_GUEST_MAPPING_FLUSH:
            return CHECK_call_unoffered
        return 0 if vp.in_vmx else CHECK_call_vmx_off
    if code >= CALL_QUERY_CAPABILITIES and not caps.features_ebx & ENABLE_EXTENDED_CALLS:
        return CHECK_call_denied if enforce else CHECK_call_extended_code
    if enforce and code < CALL_QUERY_CAPABILITIES and not announced(vp, code):
        return CHECK_call_denied
    return 0


# R95: does the control word's rest fit the call? The check that says no, with detail, or 0.
cdef u32 word_refusal(const l0_vp *vp, const call_t *call, u32 kind, u64 *detail) noexcept nogil:
    detail[0] = call.variable
    if not kind & VARIABLE and call.variable:
        return CHECK_call_variable
    detail[0] = call.start
    if not kind & REPEATED:
        return CHECK_call_simple if call.count or call.start else 0
    if call.count == 0:
        return CHECK_call_count
    if call.start >= call.count:
        return CHECK_call_start
    return CHECK_call_continued if call.start and vp.partition.profile.refuse_rep_start else 0


# What the control word is refused for, if it is.
cdef u32 control_refusal(
        const l0_vp *vp, const call_t *call, u32 kind, bint known, u64 *detail) noexcept nogil:
    cdef u32 why = offer_refusal(vp, call.code) if known else CHECK_call_code

    # R98: of several errors, denial is the one to report
    if why != CHECK_call_denied and call.control & call_reserved_bits():
        detail[0] = call.control & call_reserved_bits()
        return CHECK_call_reserved
    return why if why else word_refusal(vp, call, kind, detail)


# The call ends with the status of the check that refuses it.
cdef u64 refuse_call(l0_vp *vp, const call_t *call, u32 check, u64 detail) noexcept nogil:
    note_denial(vp, check, call.control, call.code, detail)
    return l0_row_of(check).error


# R96, R97: the parameters, from the registers or from one page of memory.
cdef u64 fetch_input(l0_vp *vp, call_t *call, const u64 *regs, u32 length) noexcept nogil:
    cdef u64 gpa = regs[GPR_RDX]
    cdef const u8 *memory

    if length == 0:
        return HV_STATUS_SUCCESS
    if call.fast:
        call.word[0] = gpa
        call.word[1] = regs[GPR_R8]
        memcpy(call.word + 2, vp.extended.xmm, XMM_PARAMETERS)
        return HV_STATUS_SUCCESS if length <= FAST_XMM_BYTES \
            else refuse_call(vp, call, CHECK_call_fast_length, length)
    if gpa & 7:
        return refuse_call(vp, call, CHECK_call_alignment, gpa)
    if gpa >> 12 != (gpa + length - 1) >> 12:
        return refuse_call(vp, call, CHECK_call_page, gpa)
    if call.from_l2:
        memory = l2_memory(vp, gpa)
    else:
        memory = phys_ptr(vp.cpu.mem, gpa, length)
    if memory == NULL:
        return refuse_call(vp, call, CHECK_call_memory, gpa)
    memcpy(call.word, memory, length)
    return HV_STATUS_SUCCESS


# The capabilities of extended hypercalls: none is here, and the first of these calls says so.
cdef u64 extended_call(l0_vp *vp, const call_t *call, const u64 *regs) noexcept nogil:
    cdef u64 *output

    if call.fast:
        return refuse_call(vp, call, CHECK_call_extended_fast, 0)
    if call.code != CALL_QUERY_CAPABILITIES:
        return refuse_call(vp, call, CHECK_call_extended_code, 0)
    if regs[GPR_R8] & 7:
        return refuse_call(vp, call, CHECK_call_output_alignment, regs[GPR_R8])
    output = <u64 *>phys_ptr(vp.cpu.mem, regs[GPR_R8], 8)
    if output == NULL:
        return refuse_call(vp, call, CHECK_call_output_memory, regs[GPR_R8])
    output[0] = 0
    return HV_STATUS_SUCCESS


cdef u64 perform(l0_vp *vp, call_t *call, const u64 *regs) noexcept nogil:
    if call.code == CALL_SPIN_WAIT:
        return HV_STATUS_SUCCESS
    if call.code >= CALL_QUERY_CAPABILITIES:
        return extended_call(vp, call, regs)
    if call.code == CALL_SEND_IPI or call.code == CALL_SEND_IPI_EX:
        return send_interrupts(vp, call, call.code == CALL_SEND_IPI_EX)
    if call.code == CALL_POST_MESSAGE:
        return post_message(vp, call, regs[GPR_RDX])
    if call.code == CALL_SIGNAL_EVENT:
        return signal_event(vp, call)
    if call.code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE or \
            call.code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_LIST:
        return call_flush_guest_physical(vp, call)
    return flush_virtual(vp, call)


# Do the hypercall that the registers ask for: INSN_OK with the result, or the fault.
cdef insn_t hypercall(l0_vp *vp, u64 *regs, bint from_l2, u64 *result) noexcept nogil:
    cdef u64 control = regs[GPR_RCX], status, detail = 0
    cdef u32 kind, length, why
    cdef call_t call

    call.control = control
    call.code = control & 0xffff
    call.fast = control >> 16 & 1
    call.from_l2 = from_l2
    call.variable = control >> 17 & 0x3ff
    call.count = control >> 32 & 0xfff
    call.start = control >> 48 & 0xfff
    call.done = 0
    length = header_of(call.code, &kind)
    why = control_refusal(vp, &call, kind, length != NO_SUCH_CALL, &detail)
    if why:
        status = refuse_call(vp, &call, why, detail)
    else:
        length += 8 * (call.variable + call.count)
        if call.fast and length > FAST_BYTES and \
                not vp.partition.caps.features_edx & HV_X64_HYPERCALL_PARAMS_XMM_AVAILABLE:
            return deny(vp, CHECK_call_no_xmm, control, call.code, length)
        status = fetch_input(vp, &call, regs, length)
    if status == HV_STATUS_SUCCESS:
        status = perform(vp, &call, regs)
    result[0] = status | call.done << 32
    return INSN_OK


cdef insn_t l0_vmcall(virt_cpu *cpu, u64 *regs) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef u64 control = regs[GPR_RCX]

    vp.counters.vmcall += 1
    # R92, and without an identity there is no hypercall interface yet
    if cpu.cpl:
        return deny(vp, CHECK_call_privilege, control, control & 0xffff, cpu.cpl)
    if not cpu.cr0 & X86_CR0_PE:
        return deny(vp, CHECK_call_real_mode, control, control & 0xffff, 0)
    if vp.partition.guest_os_id == 0:
        return deny(vp, CHECK_call_no_identity, control, control & 0xffff, 0)
    return hypercall(vp, regs, False, &regs[GPR_RAX])
