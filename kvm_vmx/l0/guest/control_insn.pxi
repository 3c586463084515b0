# SPDX-License-Identifier: GPL-2.0-only
# Control and debug registers of L2, behind masks, shadows and target values.

cdef enum:
    LOW_WORD = 15
    ACCESS_FROM = 1 << 4
    ACCESS_CLTS = 2 << 4
    ACCESS_LMSW = 3 << 4
    LMSW_MEMORY = 1 << 6
    # RTM is not offered
    DR6_MAY = DR6_VOLATILE & ~DR6_RTM


cdef int refuse(l0_vp *vp) noexcept nogil:
    return fault(vp, X86_TRAP_GP, 0)


# What L2 reads: the shadow where L1 owns the bit.
cdef u64 seen(u64 value, u64 mask, u64 shadow) noexcept nogil:
    return value & ~mask | shadow & mask


cdef bint cr0_allowed(l0_vp *vp, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u64 must = caps.cr0_must

    if is_root(vp):
        must = caps.cr0_must if vp.in_vmx else 0
    elif secondary_controls(vp.vmcs) & SECONDARY_EXEC_UNRESTRICTED_GUEST:
        must &= ~(X86_CR0_PG | X86_CR0_PE)
    if value >> 32 or value & must != must or value & ~caps.cr0_may:
        return False
    if value & X86_CR0_PG and not value & X86_CR0_PE:
        return False
    # NW without CD
    return value >> 29 & 3 != 1


# Paging goes on or off: long mode with it, where EFER.LME asks for that.
cdef int switch_paging(l0_vp *vp, u64 value) noexcept nogil:
    if value & X86_CR0_PG:
        if vp.efer & EFER_LME:
            if not vp.vmcs.f.guest_cr4 & X86_CR4_PAE or vp.vmcs.f.guest_cs_ar_bytes & VMX_AR_L_MASK:
                return refuse(vp)
            vp.efer |= EFER_LMA
        elif vp.vmcs.f.guest_cr4 & X86_CR4_PAE:
            return load_pdptes(vp, vp.vmcs.f.guest_cr3)
        return L2_DONE
    if vp.code_bits == 64 or vp.vmcs.f.guest_cr4 & X86_CR4_PCIDE:
        return refuse(vp)
    vp.efer &= ~<u64>EFER_LMA
    return L2_DONE


cdef int write_cr0(l0_vp *vp, u64 value) noexcept nogil:
    # what L1 owns keeps its value
    cdef u64 mask = vp.vmcs.f.cr0_guest_host_mask
    cdef int status

    value = (value & ~mask | vp.vmcs.f.guest_cr0 & mask) | X86_CR0_ET
    if not cr0_allowed(vp, value):
        return refuse(vp)
    if (value ^ vp.vmcs.f.guest_cr0) & X86_CR0_PG:
        status = switch_paging(vp, value)
        if status:
            return status
    vp.vmcs.f.guest_cr0 = value
    flush_translations(vp)
    translations_current(vp)
    return L2_DONE


cdef int write_cr3(l0_vp *vp, u64 value) noexcept nogil:
    cdef int status

    if vp.vmcs.f.guest_cr4 & X86_CR4_PCIDE:
        # bit 63: keep the translations
        value &= ~(<u64>1 << 63)
    if value & vp.partition.caps.address_reserved:
        return refuse(vp)
    if vp.vmcs.f.guest_cr0 & X86_CR0_PG and vp.vmcs.f.guest_cr4 & X86_CR4_PAE and not long_mode(vp):
        status = load_pdptes(vp, value)
        if status:
            return status
    vp.vmcs.f.guest_cr3 = value
    flush_translations(vp)
    translations_current(vp)
    return L2_DONE


cdef int write_cr4(l0_vp *vp, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u64 mask = vp.vmcs.f.cr4_guest_host_mask
    cdef u64 old = vp.vmcs.f.guest_cr4
    cdef u64 must = 0 if is_root(vp) and not vp.in_vmx else caps.cr4_must
    cdef int status

    value = value & ~mask | old & mask
    if value & must != must or value & ~caps.cr4_may:
        return refuse(vp)
    if long_mode(vp) and not value & X86_CR4_PAE:
        return refuse(vp)
    if value & ~old & X86_CR4_PCIDE and (not long_mode(vp) or vp.vmcs.f.guest_cr3 & 0xfff):
        return refuse(vp)
    if vp.vmcs.f.guest_cr0 & X86_CR0_PG and value & X86_CR4_PAE and not long_mode(vp) and \
            value != old:
        status = load_pdptes(vp, vp.vmcs.f.guest_cr3)
        if status:
            return status
    vp.vmcs.f.guest_cr4 = value
    flush_translations(vp)
    translations_current(vp)
    return L2_DONE


cdef bint is_target(const l0_vp *vp, u64 value) noexcept nogil:
    # the four values follow each other in the VMCS
    cdef u32 count = vp.vmcs.f.cr3_target_count, i

    for i in range(count if count < 4 else 4):
        if (&vp.vmcs.f.cr3_target_value0)[i] == value:
            return True
    return False


cdef bint write_intercepted(const l0_vp *vp, u32 cr, u64 value) noexcept nogil:
    cdef u32 controls = vp.vmcs.f.cpu_based_vm_exec_control

    if cr == 0:
        return (value ^ vp.vmcs.f.cr0_read_shadow) & vp.vmcs.f.cr0_guest_host_mask != 0
    if cr == 3:
        return controls & CPU_BASED_CR3_LOAD_EXITING and not is_target(vp, value)
    if cr == 4:
        return (value ^ vp.vmcs.f.cr4_read_shadow) & vp.vmcs.f.cr4_guest_host_mask != 0
    return cr == 8 and controls & CPU_BASED_CR8_LOAD_EXITING != 0


cdef int write_control(l0_vp *vp, const l2_insn *insn, u64 value) noexcept nogil:
    cdef u32 cr = insn.reg

    if write_intercepted(vp, cr, value):
        return leave_insn(vp, EXIT_REASON_CR_ACCESS, insn, cr | <u64>insn.rm << 8)
    if cr == 0:
        return write_cr0(vp, value)
    if cr == 3:
        return write_cr3(vp, value)
    if cr == 4:
        return write_cr4(vp, value)
    if cr == 8:
        return refuse(vp) if value >> 4 else write_priority(vp, value << 4)
    vp.cpu.cr2 = value
    return L2_DONE


cdef int read_control(l0_vp *vp, const l2_insn *insn, u64 *value) noexcept nogil:
    cdef u32 controls = vp.vmcs.f.cpu_based_vm_exec_control
    cdef u32 cr = insn.reg

    if (cr == 3 and controls & CPU_BASED_CR3_STORE_EXITING) or \
            (cr == 8 and controls & CPU_BASED_CR8_STORE_EXITING):
        return leave_insn(vp, EXIT_REASON_CR_ACCESS, insn, cr | ACCESS_FROM | <u64>insn.rm << 8)
    if cr == 0:
        value[0] = seen(vp.vmcs.f.guest_cr0, vp.vmcs.f.cr0_guest_host_mask,
                        vp.vmcs.f.cr0_read_shadow)
    elif cr == 2:
        value[0] = vp.cpu.cr2
    elif cr == 3:
        value[0] = vp.vmcs.f.guest_cr3
    elif cr == 4:
        value[0] = seen(vp.vmcs.f.guest_cr4, vp.vmcs.f.cr4_guest_host_mask,
                        vp.vmcs.f.cr4_read_shadow)
    else:
        value[0] = read_priority(vp) >> 4
    return L2_DONE


cdef inline u32 natural_size(const l0_vp *vp) noexcept nogil:
    return 8 if vp.code_bits == 64 else 4


cdef int mov_control(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 cr = insn.reg, size = natural_size(vp)
    cdef u64 value = 0
    cdef int status

    if cr != 0 and cr != 2 and cr != 3 and cr != 4 and cr != 8:
        return fault(vp, X86_TRAP_UD, 0)
    if vp.guest_cpl:
        return refuse(vp)
    if insn.opcode & 2:
        return write_control(vp, insn, gpr(vp, insn.rm)[0] & size_mask(size))
    status = read_control(vp, insn, &value)
    if status == L2_DONE:
        store(gpr(vp, insn.rm), value, size, 0)
    return status


# CLTS leaves where L1 owns CR0.TS and shows it as set.
cdef int clear_task_switched(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.guest_cpl:
        return refuse(vp)
    if vp.vmcs.f.cr0_guest_host_mask & X86_CR0_TS:
        if vp.vmcs.f.cr0_read_shadow & X86_CR0_TS:
            return leave_insn(vp, EXIT_REASON_CR_ACCESS, insn, ACCESS_CLTS)
        return L2_DONE
    vp.vmcs.f.guest_cr0 &= ~<u64>X86_CR0_TS
    translations_current(vp)
    return L2_DONE


# LMSW writes PE MP EM TS, and cannot clear PE.
cdef int load_machine_status(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 source = 0, linear = 0, watched, qualification
    cdef int status

    if vp.guest_cpl:
        return refuse(vp)
    status = read_rm(vp, insn, 2, &source)
    if status:
        return status
    watched = vp.vmcs.f.cr0_guest_host_mask & LOW_WORD
    if not source & X86_CR0_PE:
        watched &= ~<u64>X86_CR0_PE
    if (source ^ vp.vmcs.f.cr0_read_shadow) & watched:
        qualification = ACCESS_LMSW | source << 16
        if insn.is_memory:
            qualification |= LMSW_MEMORY
            linear_address(vp, insn.segment, insn.offset, 2, False, &linear)
        leave_insn(vp, EXIT_REASON_CR_ACCESS, insn, qualification)
        vp.vmcs.f.guest_linear_address = linear
        return L2_LEAVES
    source = source & LOW_WORD | vp.vmcs.f.guest_cr0 & X86_CR0_PE
    return write_cr0(vp, vp.vmcs.f.guest_cr0 & ~<u64>LOW_WORD | source)


cdef int store_machine_status(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return write_rm(vp, insn, 2 if insn.is_memory else insn.size, seen(
        vp.vmcs.f.guest_cr0, vp.vmcs.f.cr0_guest_host_mask, vp.vmcs.f.cr0_read_shadow))


cdef int write_debug(l0_vp *vp, u32 dr, u64 value) noexcept nogil:
    if dr < 4:
        vp.cpu.dr[dr] = value
        return L2_DONE
    if value >> 32:
        return refuse(vp)
    if dr & 1:
        vp.cpu.dr7 = value & <u32>DR7_VOLATILE | DR7_FIXED_1
    else:
        vp.cpu.dr6 = value & DR6_MAY | <u32>DR6_INIT
    return L2_DONE


cdef int mov_debug(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 dr = insn.reg, size = natural_size(vp)
    cdef bint is_read = not insn.opcode & 2
    cdef u64 value

    if dr > 7:
        return fault(vp, X86_TRAP_UD, 0)
    # alone among the exits, this one comes before the privilege check and before #UD
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MOV_DR_EXITING:
        return leave_insn(vp, EXIT_REASON_DR_ACCESS, insn, dr | <u64>insn.rm << 8 |
                          (TYPE_MOV_FROM_DR if is_read else TYPE_MOV_TO_DR))
    if (dr == 4 or dr == 5) and vp.vmcs.f.guest_cr4 & X86_CR4_DE:
        return fault(vp, X86_TRAP_UD, 0)
    if vp.guest_cpl:
        return refuse(vp)
    if vp.cpu.dr7 & DR7_GD:
        fault(vp, X86_TRAP_DB, 0)
        vp.fault.payload = DR6_BD
        return L2_FAULTS
    if not is_read:
        return write_debug(vp, dr, gpr(vp, insn.rm)[0] & size_mask(size))
    value = vp.cpu.dr[dr] if dr < 4 else vp.cpu.dr7 if dr & 1 else vp.cpu.dr6
    store(gpr(vp, insn.rm), value, size, 0)
    return L2_DONE
