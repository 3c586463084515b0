# SPDX-License-Identifier: GPL-2.0-only
# Save and restore of a virtual processor between two instructions, of L1 or of L2.

cdef enum:
    INTERRUPT_PENDING = 0x100


# What is on its way counts instructions of L2 on this processor: saved, from now on.
cdef void save_alarms(const l0_vp *vp, l0_saved *saved) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions
    cdef u32 i

    saved.nr_alarms = vp.nr_alarms
    for i in range(vp.nr_alarms):
        saved.alarm[i].what = vp.alarm[i].what
        saved.alarm[i].at = vp.alarm[i].at - now if vp.alarm[i].at > now else 0


cdef void restore_alarms(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef u32 i

    vp.nr_alarms = <u32>saved.nr_alarms
    for i in range(vp.nr_alarms):
        vp.alarm[i].what = saved.alarm[i].what
        vp.alarm[i].at = saved.alarm[i].at + vp.counters.l2_instructions


cdef bint alarms_valid(const l0_saved *saved) noexcept nogil:
    cdef u32 i, timers = 0

    if saved.nr_alarms > <u32>L0_MAX_ALARMS + 1:
        return False
    for i in range(<u32>saved.nr_alarms):
        if saved.alarm[i].what == <u32>L0_ALARM_TIMERS:
            timers += 1
        elif saved.alarm[i].what != <u32>L0_ALARM_NMI and \
                saved.alarm[i].what & ~<u32>0xff != INTERRUPT_PENDING:
            return False
    return timers <= 1 and saved.nr_alarms - timers <= <u32>L0_MAX_ALARMS


cdef void save_stopped(const l0_vp *vp, l0_saved *saved) noexcept nogil:
    saved.stopped = vp.guest_state == L2_STOPPED
    if not saved.stopped:
        return
    saved.enlightened = vp.vmcs == &vp.evmcs_cache
    saved.trap_pending = vp.trap_pending
    saved.monitoring = vp.monitoring
    saved.spent = vp.counters.l2_instructions - vp.entered_at
    if saved.enlightened:
        saved.evmcs_cache = vp.evmcs_cache


# The copy of an eVMCS has what L2 has changed; at the next entry everything is read again.
cdef void restore_stopped(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    vp.guest_state = L2_STOPPED if saved.stopped else L2_NOT_RUNNING
    if not saved.stopped:
        return
    if saved.enlightened:
        vp.evmcs_cache = saved.evmcs_cache
    vp.vmcs = &vp.evmcs_cache if saved.enlightened else &vp.current_vmcs
    vp.regs = vp.gpr
    vp.trap_pending = <u8>saved.trap_pending
    vp.monitoring = <u8>saved.monitoring
    vp.entered_at = vp.counters.l2_instructions - saved.spent
    vp.vectoring = 0
    vp.entry_is_repeat = 0


# L2 stands in a state that a processor can be in; what an entry loads, it has loaded.
cdef bint guest_sound(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef l0_vmcs v = saved.evmcs_cache if saved.enlightened else saved.current_vmcs
    cdef u32 sticky = 0

    v.f.vm_entry_controls = VM_ENTRY_IA32E_MODE if saved.efer & EFER_LMA else 0
    v.f.vm_entry_intr_info_field &= 0x7fffffff
    return l0_check_rows[guest_state_refusal(vp, &v, CLEAN_ALL, &sticky)].end != <u32>END_GUEST


cdef const char *check_stopped(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    if saved.stopped > 1 or saved.enlightened > 1 or saved.trap_pending > 1 or \
            saved.monitoring > 1:
        return "a flag has no such value"
    if not saved.stopped:
        return NULL
    if not saved.in_vmx or L0_SAVED_NONE == (
            saved.active_evmcs if saved.enlightened else saved.current_vmptr):
        return "L2 is stopped without a VMCS"
    if not guest_sound(vp, saved):
        return "L2 is stopped in no state of a processor"
    return NULL


cdef void vp_save(l0_vp *vp, l0_saved *saved) noexcept nogil:
    cdef l0_partition *partition = vp.partition

    memset(saved, 0, sizeof(l0_saved))
    saved.magic = L0_SAVED_MAGIC
    saved.size = sizeof(l0_saved)
    saved.vmcs_revision = partition.profile.vmcs_revision
    saved.index = vp.cpu.index
    saved.cpl = vp.cpu.cpl
    memcpy(saved.irr, vp.cpu.irr, sizeof(saved.irr))
    saved.intr = irq_first(&vp.cpu) != 0
    saved.profile = l0_profile_digest(&partition.profile)
    saved.nmi = vp.cpu.nmi
    saved.in_vmx = vp.in_vmx
    saved.mov_ss_shadow = vp.mov_ss_shadow
    saved.rip = vp.cpu.rip
    saved.rsp = vp.cpu.rsp
    saved.rflags = vp.cpu.rflags
    saved.cr0 = vp.cpu.cr0
    saved.cr2 = vp.cpu.cr2
    saved.cr3 = vp.cpu.cr3
    saved.cr4 = vp.cpu.cr4
    saved.dr7 = vp.cpu.dr7
    saved.idtr_base = vp.cpu.idtr_base
    saved.gdtr_base = vp.cpu.gdtr_base
    saved.tr_base = vp.cpu.tr_base
    saved.vmxon_ptr = vp.vmxon_ptr
    saved.current_vmptr = vp.current_vmptr
    saved.active_evmcs = vp.active_evmcs
    saved.efer = vp.efer
    saved.assist_msr = vp.assist_msr
    saved.random_state = vp.random_state
    saved.guest_os_id = partition.guest_os_id
    saved.hypercall_msr = partition.hypercall_msr
    saved.reference_msr = partition.clock.reference_msr
    saved.reenlightenment = partition.clock.reenlightenment
    saved.emulation_control = partition.clock.emulation_control
    saved.emulation_status = partition.clock.emulation_status
    memcpy(saved.crash, partition.crash, sizeof(saved.crash))
    saved.invariant_tsc = partition.invariant_tsc
    memcpy(saved.regs, vp.gpr, sizeof(saved.regs))
    saved.extended = vp.extended
    saved.synic = vp.synic
    memcpy(saved.msr, vp.msr, NR_SLOTS * sizeof(l0_msr_value))
    saved.current_vmcs = vp.current_vmcs
    memcpy(saved.overlaid, vp.overlaid, sizeof(saved.overlaid))
    memcpy(saved.dr, vp.cpu.dr, sizeof(saved.dr))
    saved.dr6 = vp.cpu.dr6
    saved.cr8 = vp.cpu.cr8
    saved.guest_random = vp.guest_random
    save_alarms(vp, saved)
    save_timers(vp, saved)
    save_loop(vp, saved)
    save_stopped(vp, saved)
    saved.checksum = l0_saved_checksum(saved)


cdef const char *check_header(const l0_vp *vp, const l0_saved *saved) noexcept nogil:
    if saved.magic != L0_SAVED_MAGIC or saved.size != sizeof(l0_saved):
        return "it is no saved processor of this version"
    if saved.checksum != l0_saved_checksum(saved):
        return "it is damaged"
    if saved.vmcs_revision != vp.partition.profile.vmcs_revision:
        return "its VMCS revision is another one"
    if saved.profile != l0_profile_digest(&vp.partition.profile):
        return "its profile is another one"
    if saved.index != vp.cpu.index:
        return "it is of another processor"
    return NULL


# May a processor be in VMX operation with these three pointers?
cdef const char *check_pointers(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    if not saved.in_vmx:
        if saved.vmxon_ptr & saved.current_vmptr & saved.active_evmcs != L0_SAVED_NONE:
            return "it has VMX pointers outside VMX operation"
        return NULL
    if not page_address_valid(vp, saved.vmxon_ptr):
        return "its VMXON pointer is none"
    if saved.current_vmptr != L0_SAVED_NONE and (
            not page_address_valid(vp, saved.current_vmptr) or
            saved.current_vmptr == saved.vmxon_ptr):
        return "its VMCS pointer is none"
    return NULL


# SDM 1 10.2.3, 13.3: no reserved bit, which L2 could not have loaded and the host cannot.
cdef bint extended_sound(const l0_extended *e) noexcept nogil:
    return not e.mxcsr & ~<u32>MXCSR_MAY and e.mxcsr_mask == <u32>MXCSR_MAY and \
        e.xcr0 & ~<u64>XCR0_SSE == XCR0_X87


cdef const char *check_registers(const l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef u32 slot

    if saved.cpl > 3 or saved.in_vmx > 1 or saved.mov_ss_shadow > 1 or saved.nmi > 1:
        return "a flag has no such value"
    if saved.intr != (saved.irr[0] | saved.irr[1] | saved.irr[2] | saved.irr[3] != 0):
        return "its pending interrupt is none"
    if not alarms_valid(saved):
        return "the events on their way are none"
    if not extended_sound(&saved.extended):
        return "its x87 and SSE state is none"
    if reenlightenment_refusal(vp.partition, saved.reenlightenment):
        return "its re-enlightenment interrupt has no target"
    for slot in range(<u32>NR_SLOTS):
        if saved.msr[slot].index != vp.msr[slot].index:
            return "its MSRs are others"
    return NULL


cdef void restore_partition(l0_partition *partition, const l0_saved *saved) noexcept nogil:
    partition.guest_os_id = saved.guest_os_id
    partition.hypercall_msr = saved.hypercall_msr
    partition.clock.reference_msr = saved.reference_msr
    partition.clock.reenlightenment = saved.reenlightenment
    partition.clock.emulation_control = saved.emulation_control & 1
    partition.clock.emulation_status = saved.emulation_status & 1
    memcpy(partition.crash, saved.crash, sizeof(partition.crash))
    partition.invariant_tsc = saved.invariant_tsc & 1


# R73: the eVMCS stays active, and everything of it is read again at the next entry.
cdef void restore_vmcs(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef const hv_enlightened_vmcs *page

    enlightened_release(vp)
    memset(&vp.evmcs_cache, 0, sizeof(vp.evmcs_cache))
    vp.current_vmcs = saved.current_vmcs
    vp.vmxon_ptr = saved.vmxon_ptr
    vp.current_vmptr = saved.current_vmptr
    vp.active_evmcs = saved.active_evmcs
    settle_fields(vp)
    vp.vmcs = &vp.current_vmcs
    if vp.active_evmcs == L0_SAVED_NONE:
        return
    vp.vmcs = &vp.evmcs_cache
    page = <const hv_enlightened_vmcs *>phys_page(vp.cpu.mem, vp.active_evmcs)
    if page != NULL:
        vp.evmcs_cache.f.revision_id = page.revision_id
        vp.evmcs_cache.f.vm_instruction_error = page.vm_instruction_error


cdef const char *check_saved(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef const char *wrong = check_header(vp, saved)

    if wrong == NULL:
        wrong = check_pointers(vp, saved)
    if wrong == NULL:
        wrong = check_registers(vp, saved)
    if wrong == NULL:
        wrong = check_stopped(vp, saved)
    return wrong


# NULL, or what is wrong with it; then nothing has changed.
cdef const char *vp_restore(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef const char *wrong = check_saved(vp, saved)

    if wrong != NULL:
        return wrong
    # an instruction that stands at a device begins anew, and what L2 had before is not for this one
    bus_forget(vp)
    vp.root.apic.virtual_work = 0
    restore_vmcs(vp, saved)
    restore_partition(vp.partition, saved)
    vp.in_vmx = saved.in_vmx
    vp.mov_ss_shadow = saved.mov_ss_shadow
    vp.cpu.cpl = saved.cpl
    memcpy(vp.cpu.irr, saved.irr, sizeof(saved.irr))
    irq_settle(&vp.cpu)
    vp.cpu.nmi = saved.nmi
    vp.cpu.rip = saved.rip
    vp.cpu.rsp = saved.rsp
    vp.cpu.rflags = saved.rflags
    vp.cpu.cr0 = saved.cr0
    vp.cpu.cr2 = saved.cr2
    vp.cpu.cr3 = saved.cr3
    vp.cpu.cr4 = saved.cr4
    vp.cpu.dr7 = saved.dr7
    vp.cpu.idtr_base = saved.idtr_base
    vp.cpu.gdtr_base = saved.gdtr_base
    vp.cpu.tr_base = saved.tr_base
    vp.efer = saved.efer
    vp.assist_msr = saved.assist_msr
    # any state but 0 will do for the generator
    vp.random_state = saved.random_state if saved.random_state else <u64>1
    memcpy(vp.gpr, saved.regs, sizeof(saved.regs))
    vp.extended = saved.extended
    vp.synic = saved.synic
    memcpy(vp.msr, saved.msr, NR_SLOTS * sizeof(l0_msr_value))
    memcpy(vp.overlaid, saved.overlaid, sizeof(vp.overlaid))
    memcpy(vp.cpu.dr, saved.dr, sizeof(saved.dr))
    vp.cpu.dr6 = saved.dr6
    vp.cpu.cr8 = saved.cr8 & 15
    vp.guest_random = saved.guest_random
    restore_alarms(vp, saved)
    restore_timers(vp, saved)
    restore_loop(vp, saved)
    restore_stopped(vp, saved)
    vp.host_loaded = 0
    guest_flush_tlb(vp)
    if vp.watch != NULL:
        vp.watch.plain = L0_NO_VMCS
    return NULL
