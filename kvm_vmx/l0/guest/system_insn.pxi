# SPDX-License-Identifier: GPL-2.0-only
# System instructions of L2: those that L1 may intercept, by control or always.

cdef enum:
    INVPCID_LAST = 3


# An instruction of level 0 that leaves where a control says so, and does nothing where not.
cdef int privileged(l0_vp *vp, const l2_insn *insn, u32 reason, bint leaves) noexcept nogil:
    if vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    return leave_insn(vp, reason, insn, 0) if leaves else L2_DONE


cdef int halt(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef int status = privileged(
        vp, insn, EXIT_REASON_HLT,
        vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_HLT_EXITING != 0)

    if status == L2_DONE:
        vp.vmcs.f.guest_activity_state = GUEST_ACTIVITY_HLT
        vp.boundary_work = 1
    return status


# A VMX instruction exists only in protected mode, and not in compatibility code.
cdef bint nesting_exists(l0_vp *vp) noexcept nogil:
    return not plain_segments(vp) and (not long_mode(vp) or vp.code_bits == 64)


cdef int leave_nested(l0_vp *vp, const l2_insn *insn, u32 reason) noexcept nogil:
    if not nesting_exists(vp):
        return undefined(vp)
    return leave_insn(vp, reason, insn, 0)


cdef int leave_nested_operand(l0_vp *vp, const l2_insn *insn, u32 reason, u32 extra) \
        noexcept nogil:
    if not nesting_exists(vp):
        return undefined(vp)
    return leave_with_operand(vp, reason, insn, extra)


cdef int extended_control(l0_vp *vp, const l2_insn *insn, bint is_write) noexcept nogil:
    if not vp.vmcs.f.guest_cr4 & X86_CR4_OSXSAVE:
        return undefined(vp)
    if is_write:
        return privileged(vp, insn, EXIT_REASON_XSETBV, True)
    return xgetbv(vp)


cdef int swap_gs(l0_vp *vp) noexcept nogil:
    cdef u64 base = vp.vmcs.f.guest_gs_base

    if vp.code_bits != 64:
        return undefined(vp)
    if vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    vp.vmcs.f.guest_gs_base = vp.msr[SLOT_KERNEL_GS_BASE].value
    vp.msr[SLOT_KERNEL_GS_BASE].value = base
    return L2_DONE


cdef int vm_function(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if not secondary_controls(vp.vmcs) & SECONDARY_EXEC_ENABLE_VMFUNC:
        return undefined(vp)
    return leave_insn(vp, EXIT_REASON_VMFUNC, insn, 0)


# SDM 26.1.3: bit EAX of the bitmap, the last bit for 63 and above. Nothing else is here of SGX.
cdef int enclave(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 leaf = <u32>vp.regs[GPR_RAX]

    if vp.guest_cpl or not secondary_controls(vp.vmcs) & SECONDARY_EXEC_ENCLS_EXITING or \
            not vp.vmcs.encls_exiting_bitmap >> (leaf if leaf < 63 else 63) & 1:
        return undefined(vp)
    return leave_insn(vp, EXIT_REASON_ENCLS, insn, 0)


# VMCALL is L1's, but for the flushes that L1 lets L0 answer.
cdef int call_monitor(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef int how = direct_call(vp, insn.length)

    if how == CALL_EXITS:
        return leave_insn(vp, EXIT_REASON_VMCALL, insn, 0)
    if how == CALL_UNDEFINED:
        return undefined(vp)
    return L2_DONE if how == CALL_DONE else L2_LEAVES


# 0f 01 with a register form: instructions that the whole ModRM byte names.
cdef int group_01_registers(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 form = 0xc0 | (insn.reg & 7) << 3 | insn.rm & 7

    if insn.operand_prefix or insn.repeat:
        return undefined(vp)
    if form == 0xc1:
        return call_monitor(vp, insn)
    if form == 0xc2:
        return leave_nested(vp, insn, EXIT_REASON_VMLAUNCH)
    if form == 0xc3:
        return leave_nested(vp, insn, EXIT_REASON_VMRESUME)
    if form == 0xc4:
        return leave_nested(vp, insn, EXIT_REASON_VMOFF)
    if form == 0xc8:
        return monitor(vp, insn)
    if form == 0xc9:
        return mwait(vp, insn)
    if form == 0xca or form == 0xcb:
        return access_check_flag(vp, form == 0xcb)
    if form == 0xcf:
        return enclave(vp, insn)
    if form == 0xd0 or form == 0xd1:
        return extended_control(vp, insn, form == 0xd1)
    if form == 0xd4:
        return vm_function(vp, insn)
    if form == 0xf8:
        return swap_gs(vp)
    return rdtsc_insn(vp, insn, True) if form == 0xf9 else undefined(vp)


cdef int invalidate_page(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 linear = insn.offset

    if vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    if vp.code_bits != 64 or insn.segment >= SEG_FS:
        linear += segment_base(vp, insn.segment)
    if vp.code_bits != 64:
        linear &= <u64>0xffffffff
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_INVLPG_EXITING:
        return leave_insn(vp, EXIT_REASON_INVLPG, insn, linear)
    flush_address(vp, linear)
    return L2_DONE


cdef int group_01(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7

    if operation == 4:
        return store_machine_status(vp, insn)
    if operation == 6:
        return load_machine_status(vp, insn)
    if not insn.is_memory:
        return group_01_registers(vp, insn)
    if operation == 7:
        return invalidate_page(vp, insn)
    return undefined(vp) if operation == 5 else table_group_1(vp, insn)


# SDM 2A INVPCID: what its descriptor and its type may be. Every type forgets everything.
cdef int invalidate_process(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 process = 0, linear = 0
    cdef u64 kind = gpr(vp, insn.reg)[0] & size_mask(natural_size(vp))
    cdef int status = read_memory(vp, insn.segment, insn.offset, 8, &process)

    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset + 8, 8, &linear)
    if status:
        return status
    if kind > INVPCID_LAST or process >> 12 or (kind == 0 and not is_canonical(linear)) or (
            kind < 2 and process and not vp.vmcs.f.guest_cr4 & X86_CR4_PCIDE):
        return fault(vp, X86_TRAP_GP, 0)
    flush_translations(vp)
    return L2_DONE


cdef int invalidate_contexts(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # INVEPT, INVVPID and INVPCID
    cdef u32 extra = <u32>insn.reg << 28

    if not insn.is_memory:
        return undefined(vp)
    if insn.opcode == 0x80:
        return leave_nested_operand(vp, insn, EXIT_REASON_INVEPT, extra)
    if insn.opcode == 0x81:
        return leave_nested_operand(vp, insn, EXIT_REASON_INVVPID, extra)
    if not secondary_controls(vp.vmcs) & SECONDARY_EXEC_ENABLE_INVPCID:
        return undefined(vp)
    if vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_INVLPG_EXITING:
        return leave_with_operand(vp, EXIT_REASON_INVPCID, insn, extra)
    return invalidate_process(vp, insn)


cdef int random_number(l0_vp *vp, const l2_insn *insn, u32 reason, u32 control) noexcept nogil:
    if secondary_controls(vp.vmcs) & control:
        leave_insn(vp, reason, insn, 0)
        vp.vmcs.f.vmx_instruction_info = <u32>insn.rm << 3 | (insn.size >> 2) << 11
        return L2_LEAVES
    # xorshift64: the same numbers in every run
    vp.guest_random ^= vp.guest_random << 13
    vp.guest_random ^= vp.guest_random >> 7
    vp.guest_random ^= vp.guest_random << 17
    write_register(vp, insn, insn.rm, insn.size, vp.guest_random & size_mask(insn.size))
    vp.vmcs.f.guest_rflags = vp.vmcs.f.guest_rflags & ~<u64>INSN_STATUS_FLAGS | X86_EFLAGS_CF
    return L2_DONE


cdef int group_c7(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7

    if not insn.is_memory:
        if insn.repeat or operation < 6:
            return undefined(vp)
        if operation == 6:
            return random_number(vp, insn, EXIT_REASON_RDRAND, SECONDARY_EXEC_RDRAND_EXITING)
        return random_number(vp, insn, EXIT_REASON_RDSEED, SECONDARY_EXEC_RDSEED_EXITING)
    if operation == 1:
        return compare_exchange_pair(vp, insn)
    if operation == 7 and not insn.repeat and not insn.operand_prefix:
        return leave_nested_operand(vp, insn, EXIT_REASON_VMPTRST, 0)
    if operation != 6 or insn.repeat == 0xf2:
        return undefined(vp)
    if insn.repeat == 0xf3:
        if not vp.vmcs.f.guest_cr4 & X86_CR4_VMXE:
            return undefined(vp)
        return leave_nested_operand(vp, insn, EXIT_REASON_VMON, 0)
    if insn.operand_prefix:
        return leave_nested_operand(vp, insn, EXIT_REASON_VMCLEAR, 0)
    return leave_nested_operand(vp, insn, EXIT_REASON_VMPTRLD, 0)


# MOVZX and MOVSX
cdef int move_extended(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = 2 if insn.opcode & 1 else 1
    cdef u64 value = 0
    cdef int status = read_rm(vp, insn, size, &value)

    if status == L2_DONE:
        write_register(vp, insn, insn.reg, insn.size,
                       extend(value, size) if insn.opcode & 8 else value)
    return status


cdef int timestamps_and_msrs(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if insn.opcode == 0x30:
        return wrmsr_insn(vp, insn)
    if insn.opcode == 0x31:
        return rdtsc_insn(vp, insn, False)
    return rdmsr_insn(vp, insn) if insn.opcode == 0x32 else rdpmc_insn(vp, insn)


# The opcodes behind 0f, but the jumps.
cdef int execute_0f(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if insn.map == 2:
        return invalidate_contexts(vp, insn)
    if opcode == 0xa2:
        return leave_insn(vp, EXIT_REASON_CPUID, insn, 0)
    if opcode == 0x00:
        return table_group_0(vp, insn)
    if opcode == 0x01:
        return group_01(vp, insn)
    if opcode == 0x05:
        return fast_call(vp, insn)
    if opcode == 0x07:
        return fast_return(vp, insn)
    if opcode == 0x06:
        return clear_task_switched(vp, insn)
    if opcode == 0x08:
        return privileged(vp, insn, EXIT_REASON_INVD, True)
    if opcode == 0x09:
        return privileged(vp, insn, EXIT_REASON_WBINVD, secondary_controls(
            vp.vmcs) & SECONDARY_EXEC_WBINVD_EXITING != 0)
    if 0x20 <= opcode <= 0x23:
        return mov_debug(vp, insn) if opcode & 1 else mov_control(vp, insn)
    if 0x30 <= opcode <= 0x33:
        return timestamps_and_msrs(vp, insn)
    if opcode == 0x78 or opcode == 0x79:
        return read_write_vmcs(vp, insn)
    if opcode == 0xc7:
        return group_c7(vp, insn)
    if opcode == 0xb6 or opcode == 0xb7 or opcode == 0xbe or opcode == 0xbf:
        return move_extended(vp, insn)
    return undefined(vp) if opcode == 0x0b else compiled_0f(vp, insn)
