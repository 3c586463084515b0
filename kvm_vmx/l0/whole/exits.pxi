# SPDX-License-Identifier: GPL-2.0-only
# What L1's code leaves to L0: CPUID, MSRs, VMX instructions, hypercalls. Each does its work as for
# any other L1; here are its operands, and what becomes of its outcome.

cdef enum:
    DESCRIPTOR_BYTES = 16

# How such an instruction ended, besides an l2_status: L2 runs, or has run.
cdef enum:
    ROOT_ENTERED = 4


cdef int root_outcome(l0_vp *vp, insn_t status) noexcept nogil:
    if status & INSN_FAULT:
        return fault(vp, status >> 16 & 0xff, status & 0xffff)
    vp.root_vmcs.f.guest_rflags = vp.root_vmcs.f.guest_rflags & ~<u64>INSN_STATUS_FLAGS | \
        vp.cpu.rflags & INSN_STATUS_FLAGS
    return L2_DONE


cdef u32 natural_bytes(const l0_vp *vp) noexcept nogil:
    return 8 if vp.code_bits == 64 else 4


cdef int pointer_operand(l0_vp *vp, u64 *value) noexcept nogil:
    return read_memory(vp, vp.root_insn.segment, vp.root_insn.offset, 8, value)


# Where the privilege check comes first, it is the instruction's own.
cdef bint refuses_early(const l0_vp *vp) noexcept nogil:
    return not vp.in_vmx or vp.cpu.cpl != 0


cdef int root_pointer_insn(l0_vp *vp, u32 reason) noexcept nogil:
    cdef u64 pointer = 0
    cdef int status = L2_DONE

    if not refuses_early(vp) or (reason == EXIT_REASON_VMON and not vp.cpu.cpl):
        status = pointer_operand(vp, &pointer)
    if status:
        return status
    if reason == EXIT_REASON_VMON:
        return root_outcome(vp, vp.cpu.ops.vmxon(&vp.cpu, pointer))
    if reason == EXIT_REASON_VMCLEAR:
        return root_outcome(vp, vp.cpu.ops.vmclear(&vp.cpu, pointer))
    return root_outcome(vp, vp.cpu.ops.vmptrld(&vp.cpu, pointer))


cdef int root_vmptrst(l0_vp *vp) noexcept nogil:
    cdef u64 pointer = 0
    cdef insn_t done = vp.cpu.ops.vmptrst(&vp.cpu, &pointer)
    cdef int status

    if done == INSN_OK:
        status = write_memory(vp, vp.root_insn.segment, vp.root_insn.offset, 8, pointer)
        if status:
            return status
    return root_outcome(vp, done)


cdef int root_vmread(l0_vp *vp) noexcept nogil:
    cdef const l2_insn *insn = &vp.root_insn
    cdef u32 size = natural_bytes(vp)
    cdef u64 value = 0
    cdef insn_t done = vp.cpu.ops.vmread(
        &vp.cpu, gpr(vp, insn.reg)[0] & size_mask(size), &value)
    cdef int status = L2_DONE

    if done == INSN_OK:
        if insn.is_memory:
            status = write_memory(vp, insn.segment, insn.offset, size, value)
        else:
            gpr(vp, insn.rm)[0] = value & size_mask(size)
    return status if status else root_outcome(vp, done)


cdef int root_vmwrite(l0_vp *vp) noexcept nogil:
    cdef const l2_insn *insn = &vp.root_insn
    cdef u32 size = natural_bytes(vp)
    cdef u64 value = 0
    cdef int status = L2_DONE

    if not insn.is_memory:
        value = gpr(vp, insn.rm)[0] & size_mask(size)
    elif not refuses_early(vp):
        status = read_memory(vp, insn.segment, insn.offset, size, &value)
    if status:
        return status
    return root_outcome(vp, vp.cpu.ops.vmwrite(
        &vp.cpu, gpr(vp, insn.reg)[0] & size_mask(size), value))


cdef int root_invalidate(l0_vp *vp, bint ept) noexcept nogil:
    cdef const l2_insn *insn = &vp.root_insn
    cdef u64 first = 0, second = 0
    cdef u64 kind = gpr(vp, insn.reg)[0] & size_mask(natural_bytes(vp))
    cdef int status = L2_DONE

    if not refuses_early(vp):
        status = read_memory(vp, insn.segment, insn.offset, 8, &first)
        if status == L2_DONE:
            status = read_memory(vp, insn.segment, insn.offset + 8, 8, &second)
    if status:
        return status
    if ept:
        return root_outcome(vp, vp.cpu.ops.invept(&vp.cpu, kind, first, second))
    return root_outcome(vp, vp.cpu.ops.invvpid(&vp.cpu, kind, first, second))


# VMLAUNCH and VMRESUME. RIP moves on where the entry fails; else the exit says where L1 goes on.
cdef int root_enter(l0_vp *vp, bint launch) noexcept nogil:
    cdef insn_t status

    root_leaves(vp)
    vp.guest_state = L2_NOT_RUNNING
    vp.entry_is_repeat = 0
    status = vp.cpu.ops.vmentry(&vp.cpu, vp.gpr, launch)
    if vp.guest_state == L2_STOPPED:
        return ROOT_ENTERED
    if status == INSN_OK:
        root_from_host(vp)
        return ROOT_ENTERED
    root_is_current(vp)
    return root_outcome(vp, status)


cdef int root_cpuid(l0_vp *vp) noexcept nogil:
    cdef u32 eax = <u32>vp.gpr[GPR_RAX], ebx = 0, ecx = <u32>vp.gpr[GPR_RCX], edx = 0

    vp.cpu.ops.cpuid(&vp.cpu, &eax, &ebx, &ecx, &edx)
    vp.gpr[GPR_RAX] = eax
    vp.gpr[GPR_RBX] = ebx
    vp.gpr[GPR_RCX] = ecx
    vp.gpr[GPR_RDX] = edx
    return L2_DONE


cdef int root_msr(l0_vp *vp, bint is_write) noexcept nogil:
    cdef u32 msr = <u32>vp.gpr[GPR_RCX]
    cdef u64 value = vp.gpr[GPR_RDX] << 32 | vp.gpr[GPR_RAX] & <u64>0xffffffff
    cdef insn_t status

    if is_write:
        status = vp.cpu.ops.wrmsr(&vp.cpu, msr, value)
        vp.groups_to_check |= HOST_CHECKS
        return root_outcome(vp, status)
    status = vp.cpu.ops.rdmsr(&vp.cpu, msr, &value)
    if status == INSN_OK:
        answer(vp, value)
    return root_outcome(vp, status)


cdef int root_vmx_insn(l0_vp *vp, u32 reason) noexcept nogil:
    if reason == EXIT_REASON_VMREAD:
        return root_vmread(vp)
    if reason == EXIT_REASON_VMWRITE:
        return root_vmwrite(vp)
    if reason == EXIT_REASON_VMLAUNCH or reason == EXIT_REASON_VMRESUME:
        return root_enter(vp, reason == EXIT_REASON_VMLAUNCH)
    if reason == EXIT_REASON_VMPTRST:
        return root_vmptrst(vp)
    if reason == EXIT_REASON_VMOFF:
        return root_outcome(vp, vp.cpu.ops.vmxoff(&vp.cpu))
    if reason == EXIT_REASON_INVEPT or reason == EXIT_REASON_INVVPID:
        return root_invalidate(vp, reason == EXIT_REASON_INVEPT)
    return root_pointer_insn(vp, reason)


cdef int root_insn(l0_vp *vp, u32 reason) noexcept nogil:
    if reason == EXIT_REASON_CPUID:
        return root_cpuid(vp)
    if reason == EXIT_REASON_MSR_READ or reason == EXIT_REASON_MSR_WRITE:
        return root_msr(vp, reason == EXIT_REASON_MSR_WRITE)
    if reason == EXIT_REASON_VMCALL:
        return root_outcome(vp, vp.cpu.ops.vmcall(&vp.cpu, vp.gpr))
    if reason == EXIT_REASON_XSETBV:
        return xsetbv(vp)
    if reason == EXIT_REASON_INVD:
        return L2_DONE
    return root_vmx_insn(vp, reason)


cdef bint is_done_here(u32 reason) noexcept nogil:
    return (reason == EXIT_REASON_CPUID or reason == EXIT_REASON_INVD or
            EXIT_REASON_VMCALL <= reason <= EXIT_REASON_VMON or
            reason == EXIT_REASON_MSR_READ or reason == EXIT_REASON_MSR_WRITE or
            reason == EXIT_REASON_INVEPT or reason == EXIT_REASON_INVVPID or
            reason == EXIT_REASON_XSETBV)


# The instruction has done its work: on to the next.
cdef void root_skip(l0_vp *vp, bint stepping) noexcept nogil:
    cdef l0_vmcs *r = &vp.root_vmcs

    r.f.guest_rip += r.f.vm_exit_instruction_len
    if vp.code_bits != 64:
        r.f.guest_rip &= <u64>0xffffffff
    r.f.guest_interruptibility_info &= ~<u32>SHADOW
    if stepping:
        r.f.guest_pending_dbg_exceptions |= SINGLE_STEP


# L1 has left its code for L0, which does what it asks; False where nobody can.
cdef bint root_exit(l0_vp *vp) noexcept nogil:
    cdef u32 reason = vp.root_vmcs.f.vm_exit_reason
    cdef bint stepping = vp.root_vmcs.f.guest_rflags & X86_EFLAGS_TF != 0
    cdef int status

    if not is_done_here(reason):
        return False
    root_to_processor(vp)
    status = root_insn(vp, reason)
    if status == L2_DONE:
        root_skip(vp, stepping)
    elif status == L2_FAULTS:
        return raise_fault(vp)
    return True
