# SPDX-License-Identifier: GPL-2.0-only
# The APIC that L1 gives L2: what of the APIC-access page and of its MSRs is the virtual-APIC page.

cdef enum:
    MSR_X2APIC_TPR = 0x808
    MSR_X2APIC_END = 0x80b
    MSR_X2APIC_SELF = 0x83f
    # offsets in the virtual-APIC page
    VIRTUAL_TPR = 0x80
    VIRTUAL_PPR = 0xa0
    VIRTUAL_END = 0xb0
    VIRTUAL_ISR = 0x100
    VIRTUAL_IRR = 0x200
    VIRTUAL_ICR = 0x300
    VIRTUAL_ICR_HIGH = 0x310
    VIRTUAL_SELF = 0x3f0
    # what an access is, in bits 15:12 of the qualification
    ACCESS_READ = 0
    ACCESS_WRITE = 1
    ACCESS_FETCH = 2
    ACCESS_DELIVERY = 3
    ACCESS_PHYSICAL_DELIVERY = 10
    ACCESS_PHYSICAL = 15
    # a self-IPI: bits of the command that must be 0, and the shorthand
    COMMAND_NOT_SELF = 0xfff3b700
    COMMAND_SELF = 1 << 18
    # as a bit of groups_to_check: look again at every entry
    EACH_ENTRY = 1 << 16

# Registers by their offset / 16, a bit each. SDM 30.4.2, 30.4.3: with APIC-register virtualization
# these are read, and these are written; without, so much of it as delivers interrupts.
cdef u64 READABLE = <u64>0x41ff01ffffffe90c
cdef u64 WRITABLE = <u64>0x41ff01000000e904
cdef u64 WRITABLE_DELIVERY = <u64>1 << 0x30 | 1 << 0x0b | 1 << 0x08
cdef u64 TPR_ALONE = 1 << 8


cdef inline bint has_control(const l0_vmcs *v, u32 secondary) noexcept nogil:
    return secondary_controls(v) & secondary != 0


cdef inline bint has_tpr_shadow(const l0_vmcs *v) noexcept nogil:
    return v.f.cpu_based_vm_exec_control & CPU_BASED_TPR_SHADOW != 0


cdef inline bint is_apic_access(const l0_vp *vp, u64 address) noexcept nogil:
    return has_control(vp.vmcs, SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES) and \
        not (address ^ vp.vmcs.apic_access_addr) >> 12


# Where L1 has named no memory, there is what a bus answers.
cdef u8 *virtual_page(l0_vp *vp) noexcept nogil:
    return memory_of(vp, vp.vmcs.f.virtual_apic_page_addr & ADDRESS)


cdef u32 *virtual_register(l0_vp *vp, u32 offset) noexcept nogil:
    return <u32 *>(virtual_page(vp) + offset)


# The task priority that the virtual-APIC page holds; NULL: the processor's own counts.
cdef u32 *priority_word(l0_vp *vp) noexcept nogil:
    cdef u8 *page

    if not has_tpr_shadow(vp.vmcs):
        return NULL
    page = phys_page(vp.cpu.mem, vp.vmcs.f.virtual_apic_page_addr)
    return <u32 *>(page + VIRTUAL_TPR) if page != NULL else NULL


# SDM 28.2.1, table 28-6. Like a fault: the instruction will be tried again.
cdef int apic_access_exit(l0_vp *vp, u64 address, u32 kind) noexcept nogil:
    cdef u32 length = 0

    if kind < ACCESS_FETCH:
        if vp.vectoring:
            kind = ACCESS_DELIVERY
        else:
            length = <u32>(vp.next_rip - vp.vmcs.f.guest_rip) & 15
    vp.root.apic.virtual_work &= ~<u32>VIRTUAL_WRITTEN
    vm_exit_with(vp, EXIT_REASON_APIC_ACCESS, length, kind << 12 | address & 0xfff)
    if not vp.vectoring:
        vp.vmcs.f.guest_rflags |= X86_EFLAGS_RF
    return L2_LEAVES


# SDM 30.4.6.1: a guest-physical access that belongs to no linear one is never virtualized.
cdef u8 *not_virtual(l0_vp *vp, u64 gpa, u8 *host) noexcept nogil:
    if host == NULL or not is_open_bus(host - (gpa & 4095)) or not vp.root.bus.is_virtual:
        return host
    apic_access_exit(vp, gpa, ACCESS_PHYSICAL_DELIVERY if vp.vectoring else ACCESS_PHYSICAL)
    return NULL


# No wider than a register, within it, and before any other write of the same instruction.
cdef bint fits_register(const l0_vp *vp, u64 offset, u32 size) noexcept nogil:
    return has_tpr_shadow(vp.vmcs) and (offset & 15) + size <= 4


cdef bint read_is_virtual(const l0_vp *vp, u64 offset, u32 size) noexcept nogil:
    cdef u64 virtual = READABLE if has_control(
        vp.vmcs, SECONDARY_EXEC_APIC_REGISTER_VIRT) else TPR_ALONE

    return fits_register(vp, offset, size) and offset < 0x400 and virtual >> (offset >> 4) & 1 and \
        not vp.root.apic.virtual_work & VIRTUAL_WRITTEN


cdef bint write_is_virtual(const l0_vp *vp, u64 offset, u32 size) noexcept nogil:
    cdef const l0_apic *apic = &vp.root.apic
    cdef u64 virtual = TPR_ALONE

    if has_control(vp.vmcs, SECONDARY_EXEC_APIC_REGISTER_VIRT):
        virtual = WRITABLE
    elif has_control(vp.vmcs, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY):
        virtual = WRITABLE_DELIVERY
    if apic.virtual_work & VIRTUAL_WRITTEN and (
            apic.written != offset or apic.written_size != size):
        return False
    return fits_register(vp, offset, size) and offset < 0x400 and virtual >> (offset >> 4) & 1


cdef int read_virtual_apic(l0_vp *vp, u64 linear, u32 size, u64 *value) noexcept nogil:
    cdef u64 offset = linear & 0xfff

    if vp.vectoring or not read_is_virtual(vp, offset, size):
        return apic_access_exit(vp, linear, ACCESS_READ)
    value[0] = 0
    memcpy(value, virtual_page(vp) + offset, size)
    return L2_DONE


# A register has been written: what comes of that comes behind the instruction.
cdef void note_written(l0_vp *vp, u64 offset, u32 size) noexcept nogil:
    vp.root.apic.written = <u16>offset
    vp.root.apic.written_size = <u8>size
    vp.root.apic.virtual_work |= VIRTUAL_WRITTEN
    vp.boundary_work = 1


cdef int write_virtual_apic(l0_vp *vp, u64 linear, u32 size, u64 value) noexcept nogil:
    cdef u64 offset = linear & 0xfff

    if vp.vectoring or not write_is_virtual(vp, offset, size):
        return apic_access_exit(vp, linear, ACCESS_WRITE)
    memcpy(virtual_page(vp) + offset, &value, size)
    note_written(vp, offset, size)
    return L2_DONE


# SDM 30.5: of MSRs 0x800 to 0x8ff, with APIC-register virtualization all, else the priority.
cdef bint is_virtual_read(const l0_vp *vp, u32 msr) noexcept nogil:
    return msr >> 8 == 8 and \
        has_control(vp.vmcs, SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE) and (
            msr == MSR_X2APIC_TPR or has_control(vp.vmcs, SECONDARY_EXEC_APIC_REGISTER_VIRT))


cdef u64 read_virtual_msr(l0_vp *vp, u32 msr) noexcept nogil:
    if msr == MSR_X2APIC_TPR and priority_word(vp) == NULL:
        return read_priority(vp)
    return (<u64 *>virtual_register(vp, (msr & 0xff) << 4))[0]


cdef bint is_virtual_write(const l0_vp *vp, u32 msr) noexcept nogil:
    if msr >> 8 != 8 or not has_control(vp.vmcs, SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE):
        return False
    return msr == MSR_X2APIC_TPR or (
        (msr == MSR_X2APIC_END or msr == MSR_X2APIC_SELF) and
        has_control(vp.vmcs, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY))


cdef void write_virtual_msr(l0_vp *vp, u32 offset, u64 value) noexcept nogil:
    (<u64 *>virtual_register(vp, offset))[0] = value
    note_written(vp, offset, 4)


cdef bint is_self_command(u32 command) noexcept nogil:
    return command & COMMAND_NOT_SELF == 0 and command & 3 << 18 == COMMAND_SELF and \
        command >> 4 & 15 != 0


# SDM 30.4.3.2: the processor does what the written register stands for, or L1 has to. False
# where L2 leaves.
cdef bint finish_apic_write(l0_vp *vp) noexcept nogil:
    cdef u32 offset = vp.root.apic.written & 0xff0
    cdef u32 *word = virtual_register(vp, offset)

    vp.root.apic.virtual_work &= ~<u32>VIRTUAL_WRITTEN
    if offset == VIRTUAL_TPR:
        word[0] &= 0xff
        return virtualize_priority(vp)
    if offset == VIRTUAL_ICR_HIGH:
        word[0] &= <u32>0xff000000
        return True
    if has_control(vp.vmcs, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY):
        if offset == VIRTUAL_END:
            word[0] = 0
            return virtualize_end(vp)
        if (offset == VIRTUAL_ICR and is_self_command(word[0])) or (
                offset == VIRTUAL_SELF and word[0] >> 4 & 15):
            virtualize_self(vp, word[0] & 0xff)
            return True
    vm_exit_with(vp, EXIT_REASON_APIC_WRITE, 0, vp.root.apic.written)
    return False


# Translations of another APIC-access page are not for this VMCS; what its next entry, and each
# one behind it, has to look at.
cdef u32 virtual_apic_checked(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef u64 place = 0
    cdef bint delivers = has_control(v, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)

    if has_control(v, SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES):
        place = v.apic_access_addr | 1
    if place != vp.apic_access:
        vp.apic_access = place
        guest_flush_tlb(vp)
    if not delivers and not (place and has_tpr_shadow(v) and v.f.tpr_threshold):
        return 0
    vp.entry_is_repeat = 0
    vp.root.apic.virtual_work = VIRTUAL_ENTRY
    return EACH_ENTRY if delivers else 0
