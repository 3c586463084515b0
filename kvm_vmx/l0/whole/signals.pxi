# SPDX-License-Identifier: GPL-2.0-only
# INIT and SIPI of a processor that runs L1, and what it is after them.

cdef enum:
    EXIT_INIT = 3
    EXIT_STARTUP = 4
    CR0_AFTER_RESET = 0x60000010
    REAL_CODE = 0x9b
    REAL_DATA = 0x93


# An exception that whoever runs L1 wants: as if the next instruction raised it, or injected.
cdef bint take_queued(l0_vp *vp) noexcept nogil:
    cdef u32 info = vp.root.queued

    vp.root.queued = 0
    fault(vp, info & INTR_INFO_VECTOR_MASK, vp.root.queued_error)
    vp.unblocked_nmi = 0
    if vp.root.queued_past:
        return deliver(vp, info, vp.root.queued_error, 0)
    return raise_event(vp, info, 0)


# The state of a processor that waits for SIPI.
cdef void root_reset(l0_vp *vp) noexcept nogil:
    cdef l0_vmcs *r = &vp.root_vmcs
    cdef u32 number

    for number in range(6):
        host_segment(vp, number, 0, 0, 0xffff, REAL_DATA)
        (&r.f.guest_es_ar_bytes)[number] = REAL_CODE if number == SEG_CS else REAL_DATA
    host_segment(vp, SEG_LDTR, 0, 0, 0xffff, VMX_AR_UNUSABLE_MASK)
    host_segment(vp, SEG_TR, 0, 0, 0xffff, BUSY_TASK)
    r.f.guest_gdtr_base = r.f.guest_idtr_base = 0
    r.f.guest_gdtr_limit = r.f.guest_idtr_limit = 0xffff
    r.f.guest_cr0 = CR0_AFTER_RESET
    r.f.guest_cr3 = r.f.guest_cr4 = 0
    r.f.guest_rflags = 2
    r.f.guest_rip = r.f.guest_rsp = 0
    r.f.guest_interruptibility_info = 0
    r.f.guest_pending_dbg_exceptions = 0
    r.f.guest_activity_state = GUEST_ACTIVITY_WAIT_SIPI
    vp.efer = 0
    vp.cpu.cr8 = 0
    vp.cpu.dr7 = 0x400
    memset(vp.gpr, 0, sizeof(vp.gpr))
    memset(vp.cpu.irr, 0, sizeof(vp.cpu.irr))
    apic_reset(vp)
    flush_translations(vp)
    mode_changed(vp)


cdef void root_startup(l0_vp *vp) noexcept nogil:
    cdef u32 vector = vp.root.apic.sipi_vector

    vp.root_vmcs.f.guest_cs_selector = <u16>(vector << 8)
    vp.root_vmcs.f.guest_cs_base = vector << 12
    vp.root_vmcs.f.guest_rip = 0
    vp.root_vmcs.f.guest_activity_state = GUEST_ACTIVITY_ACTIVE
    flush_translations(vp)


# SDM 26.3: VMX root operation holds an INIT back, and drops a SIPI. False where L2 leaves.
cdef bint take_signals(l0_vp *vp) noexcept nogil:
    cdef bint waits = vp.vmcs.f.guest_activity_state == GUEST_ACTIVITY_WAIT_SIPI
    cdef u8 startup, vector

    # an L2 that waits for a SIPI takes no INIT, which hides no SIPI either
    if vp.root.apic.init_waits and (is_root(vp) or not waits):
        if not is_root(vp):
            vp.root.apic.init_waits = 0
            vm_exit_with(vp, EXIT_INIT, 0, 0)
            return False
        if vp.in_vmx:
            return True
        startup = vp.root.apic.sipi_waits
        vector = vp.root.apic.sipi_vector
        root_reset(vp)
        # one that has come behind the INIT
        vp.root.apic.sipi_waits = startup
        vp.root.apic.sipi_vector = vector
        waits = True
    if vp.root.apic.sipi_waits:
        vp.root.apic.sipi_waits = 0
        if waits and not is_root(vp):
            vm_exit_with(vp, EXIT_STARTUP, 0, vp.root.apic.sipi_vector)
            return False
        if waits:
            root_startup(vp)
    return True
