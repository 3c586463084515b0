# SPDX-License-Identifier: GPL-2.0-only
# A reset of the partition: its processors begin anew, its memory and what L0 has seen stay.

cdef extern from *:
    """
    /* what of a processor is its own state, between what it is and what L0 has noted of it */
    #define forget_state(vp) memset(&(vp)->in_vmx, 0, \
        offsetof(struct l0_vp, lints) - offsetof(struct l0_vp, in_vmx))
    """
    void forget_state(l0_vp *vp) nogil


# TLFS 7.8.2: an overlay goes with its MSR, and the page beneath is seen again.
cdef void vp_restart(l0_vp *vp) noexcept nogil:
    cdef virt_cpu fresh

    if vp.partition.profile.assist_overlay and \
            vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        write_assist_page(vp, 0)
    memset(&fresh, 0, sizeof(virt_cpu))
    fresh.ops, fresh.mem, fresh.index = vp.cpu.ops, vp.cpu.mem, vp.cpu.index
    vp.cpu = fresh
    forget_state(vp)
    bus_forget(vp)
    vp.root.apic.virtual_work = 0
    vp_reset(vp)


# What L1 has told of its crash, and the reference time, are the partition's for as long as it is.
cdef void partition_reset(l0_partition *partition) noexcept nogil:
    cdef u32 n

    for n in range(partition.nr_vps):
        vp_restart(&partition.vp[n])
    partition.guest_os_id = 0
    partition.hypercall_msr = 0
    partition.invariant_tsc = 0
    partition.clock.reference_msr = 0
    partition.clock.reenlightenment = 0
    partition.clock.emulation_control = 0
    partition.clock.emulation_status = 0
