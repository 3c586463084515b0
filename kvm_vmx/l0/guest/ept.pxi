# SPDX-License-Identifier: GPL-2.0-only
# From guest-physical addresses of L2 to memory: EPT violations and misconfigurations.

# What an access to guest-physical memory is for: the walk of a linear address, its operand, or
# neither (the PDPTEs that MOV to CR3 loads).
cdef enum:
    GUEST_TABLE = 0
    OPERAND = 1
    NO_LINEAR = 2

cdef enum:
    EPT_READ = 1
    EPT_WRITE = 2
    EPT_EXECUTE = 4
    EPT_LARGE = 0x80
    LINEAR_VALID = 1 << 7
    NMI_UNBLOCKED = 1 << 12
    LOG_ENTRIES = 512


# What a bus answers where nothing is: reads all ones, forgets what is written.
cdef u8 open_bus[4096]


# The page that stands for memory that is not there.
cdef bint is_open_bus(const u8 *page) noexcept nogil:
    return page == open_bus


cdef u8 *memory_of(l0_vp *vp, u64 address) noexcept nogil:
    cdef u8 *host = phys_page(vp.cpu.mem, address)

    if host == NULL:
        vp.root.bus.page = address & ~<u64>0xfff
        vp.root.bus.is_virtual = 0
        memset(open_bus, 0xff, sizeof(open_bus))
        host = open_bus
    return host + (address & 4095)


# Likewise, of an address that L2 can reach: the APIC-access page is no memory, whatever is there.
cdef u8 *memory_of_l2(l0_vp *vp, u64 address) noexcept nogil:
    if is_apic_access(vp, address):
        vp.root.bus.is_virtual = 1
        return open_bus + (address & 4095)
    return memory_of(vp, address)


# A place of the TLB has a translation: what was stale there is no more.
cdef inline void place_filled(l0_watch *watch, u32 place) noexcept nogil:
    watch.kept |= <u64>1 << place
    watch.aside &= ~(<u64>1 << place)
    watch.steps_known = 0


# SDM 3C 28.3.3.1: a violation ends what is cached of the address that caused it.
cdef void violation_ends(l0_vp *vp, u64 gpa, u64 linear, u64 qualification) noexcept nogil:
    cdef u32 place = (gpa >> 12) & (L2_TLB_ENTRIES - 1)

    if not (vp.physical_tlb[place].tag ^ gpa) >> 12:
        vp.physical_tlb[place].tag = 0
    if vp.watch != NULL and not (vp.watch.stale[place].tag ^ gpa) >> 12:
        vp.watch.aside &= ~(<u64>1 << place)
    if qualification & EPT_VIOLATION_GVA_TRANSLATED and \
            not (vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)].tag ^ linear) >> 12:
        flush_address(vp, linear)


cdef u8 *ept_exit(l0_vp *vp, u32 reason, u64 gpa, u64 linear, u64 qualification) noexcept nogil:
    vm_exit_with(vp, reason, 0, qualification)
    vp.vmcs.f.guest_physical_address = gpa
    vp.vmcs.f.guest_linear_address = linear
    if not vp.vectoring:
        # the instruction will be tried again
        vp.vmcs.f.guest_rflags |= X86_EFLAGS_RF
    if reason == EXIT_REASON_EPT_VIOLATION:
        violation_ends(vp, gpa, linear, qualification)
        if vp.unblocked_nmi:
            vp.vmcs.f.exit_qualification |= NMI_UNBLOCKED
    return NULL


cdef u64 reserved_of(const l0_vp *vp, u64 entry, int level) noexcept nogil:
    # bits that must be 0 in a present entry of a level, 3 at the root
    cdef u64 reserved = vp.partition.caps.address_reserved & ADDRESS
    cdef u64 features = vp.partition.caps.ept_vpid

    if level == 3:
        return reserved | 0xf8
    if level == 0:
        return reserved
    if not entry & EPT_LARGE:
        return reserved | 0x78
    if not features & (VMX_EPT_2MB_PAGE_BIT if level == 1 else VMX_EPT_1GB_PAGE_BIT):
        return reserved | EPT_LARGE
    return reserved | ((<u64>1 << (12 + 9 * level)) - 1) & ~<u64>0xfff


cdef bint misconfigured(const l0_vp *vp, u64 entry, int level) noexcept nogil:
    cdef u64 rights = entry & 7
    cdef u64 kind = entry >> 3 & 7

    if rights == EPT_WRITE or rights == (EPT_WRITE | EPT_EXECUTE):
        return True
    if rights == EPT_EXECUTE and not vp.partition.caps.ept_vpid & VMX_EPT_EXECUTE_ONLY_BIT:
        return True
    if entry & reserved_of(vp, entry, level):
        return True
    # a leaf: its memory type must exist
    return (level == 0 or (level < 3 and entry & EPT_LARGE)) and \
        (kind == 2 or kind == 3 or kind == 7)


# Set the accessed flags on the way and the dirty flag, of entries that are still as they were.
cdef bint ept_mark_used(u64 **slot, const u64 *entry, int last, bint written) noexcept nogil:
    cdef u64 flags
    cdef int level

    for level in range(3, last - 1, -1):
        flags = VMX_EPT_ACCESS_BIT
        if level == last and written:
            flags |= VMX_EPT_DIRTY_BIT
        if entry[level] & flags != flags and not swap_64(
                slot[level], entry[level], entry[level] | flags):
            return False
    return True


# SDM 28.2.6: does a walk set a dirty flag that L1 wants to have logged?
cdef inline bint is_logged(const l0_vp *vp, u64 entry, u64 need) noexcept nogil:
    return secondary_controls(vp.vmcs) & SECONDARY_EXEC_ENABLE_PML != 0 and \
        need & EPT_WRITE and not entry & VMX_EPT_DIRTY_BIT


cdef void log_page(l0_vp *vp, u64 gpa) noexcept nogil:
    cdef u64 *log = <u64 *>memory_of(vp, vp.vmcs.pml_address & ADDRESS)

    log[vp.vmcs.guest_pml_index] = gpa & ~<u64>0xfff
    vp.vmcs.guest_pml_index -= 1


# One walk; changed where another processor has changed an entry since it was read.
cdef u8 *ept_walk_once(l0_vp *vp, u64 gpa, u64 linear, u64 need, u64 qualification,
                   bint *changed) noexcept nogil:
    cdef u64 table = vp.vmcs.f.ept_pointer & ADDRESS
    cdef u64 flags = vp.vmcs.f.ept_pointer & VMX_EPTP_AD_ENABLE_BIT
    cdef u64 rights = 7, inside = 0
    cdef u64 entry[4]
    cdef u64 *slot[4]
    cdef bint logged
    cdef int level

    changed[0] = False
    if gpa >> 48:
        return ept_exit(vp, EXIT_REASON_EPT_VIOLATION, gpa, linear, qualification)
    for level in range(3, -1, -1):
        slot[level] = <u64 *>memory_of(vp, table | (gpa >> (12 + 9 * level) & 511) << 3)
        entry[level] = (<const volatile u64 *>slot[level])[0]
        rights &= entry[level] & 7
        if not entry[level] & 7:
            return ept_exit(vp, EXIT_REASON_EPT_VIOLATION, gpa, linear, qualification)
        if misconfigured(vp, entry[level], level):
            return ept_exit(vp, EXIT_REASON_EPT_MISCONFIG, gpa, linear, 0)
        table = entry[level] & ADDRESS
        if level == 0 or (level < 3 and entry[level] & EPT_LARGE):
            inside = (<u64>1 << (12 + 9 * level)) - 1
            break
    if rights & need != need:
        return ept_exit(
            vp, EXIT_REASON_EPT_VIOLATION, gpa, linear, qualification | rights << 3)
    logged = flags and is_logged(vp, entry[level], need)
    if unlikely(logged) and vp.vmcs.guest_pml_index >= LOG_ENTRIES:
        return ept_exit(vp, EXIT_REASON_PML_FULL, gpa, linear, 0)
    if flags and not ept_mark_used(slot, entry, level, need & EPT_WRITE != 0):
        changed[0] = True
        return NULL
    if unlikely(logged):
        log_page(vp, gpa)
    return remember(vp, gpa, need, memory_of_l2(vp, table & ~inside | gpa & inside))


cdef u8 *walk_ept(l0_vp *vp, u64 gpa, u64 linear, u64 need, u64 qualification) noexcept nogil:
    cdef bint changed = True
    cdef u8 *host = NULL

    while changed:
        host = ept_walk_once(vp, gpa, linear, need, qualification, &changed)
    return host


# Keep the rights that a walk has granted.
cdef u8 *remember(l0_vp *vp, u64 gpa, u64 need, u8 *host) noexcept nogil:
    cdef l2_tlb_entry *entry = &vp.physical_tlb[(gpa >> 12) & (L2_TLB_ENTRIES - 1)]
    cdef u8 *page = host - (gpa & 4095)

    if is_open_bus(page):
        return host
    if entry.tag & ~<u64>0xfff != gpa & ~<u64>0xfff or entry.host != page:
        entry.tag = gpa & ~<u64>0xfff
        entry.host = page
    entry.tag |= need
    if vp.watch != NULL:
        place_filled(vp.watch, (gpa >> 12) & (L2_TLB_ENTRIES - 1))
    return host


# The host address of an L2 GPA, or NULL with the exit filled in. kind: L2_READ, _WRITE, _FETCH.
cdef u8 *guest_memory(l0_vp *vp, u64 gpa, u64 linear, u32 kind, u32 purpose) noexcept nogil:
    # of the enumeration, read, write and fetch are the bits of the qualification as well
    cdef u64 need = kind
    cdef const l2_tlb_entry *entry
    cdef u8 *stale

    if not secondary_controls(vp.vmcs) & SECONDARY_EXEC_ENABLE_EPT:
        # the walk's own accesses are physical ones, which SDM 30.4.6 leaves alone
        return memory_of_l2(vp, gpa) if purpose == OPERAND else memory_of(vp, gpa)
    if purpose != OPERAND and (
            kind == L2_WRITE or vp.vmcs.f.ept_pointer & VMX_EPTP_AD_ENABLE_BIT):
        # SDM 3C 28.2.1, table 28-7: a flag of a paging structure is set by a locked read and
        # write; with accessed and dirty flags for EPT every access to one counts as that
        need |= EPT_READ | EPT_WRITE
    entry = &vp.physical_tlb[(gpa >> 12) & (L2_TLB_ENTRIES - 1)]
    if entry.tag & (~<u64>0xfff | need) == gpa & ~<u64>0xfff | need:
        return entry.host + (gpa & 4095)
    if vp.watch != NULL and vp.watch.aside:
        stale = stale_page(vp, gpa, need)
        if stale != NULL:
            return stale + (gpa & 4095)
    if purpose == OPERAND:
        return walk_ept(vp, gpa, linear, need, need | LINEAR_VALID | EPT_VIOLATION_GVA_TRANSLATED)
    return not_virtual(vp, gpa, walk_ept(vp, gpa, 0 if purpose == NO_LINEAR else linear, need,
                                         need if purpose == NO_LINEAR else need | LINEAR_VALID))
