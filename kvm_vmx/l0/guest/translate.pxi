# SPDX-License-Identifier: GPL-2.0-only
# From linear addresses of L2 to memory: its page tables, then the EPT, behind a small TLB.

cdef enum:
    # vp.fault.vector where the walk has made a VM exit instead
    NO_VECTOR = 0x100

cdef extern from *:
    bint swap_64 "__sync_bool_compare_and_swap" (u64 *place, u64 old, u64 value) nogil
    bint swap_32 "__sync_bool_compare_and_swap" (u32 *place, u32 old, u32 value) nogil

cdef enum:
    PAGE_PRESENT = 1
    PAGE_WRITABLE = 2
    PAGE_USER = 4
    PAGE_ACCESSED = 0x20
    PAGE_DIRTY = 0x40
    PAGE_LARGE = 0x80

    ERROR_PRESENT = 1
    ERROR_WRITE = 2
    ERROR_USER = 4
    ERROR_RESERVED = 8
    ERROR_FETCH = 16

    ANY_READ = L2_READ | L2_READ << L2_USER
    ANY_WRITE = L2_WRITE | L2_WRITE << L2_USER
    ANY_FETCH = L2_FETCH | L2_FETCH << L2_USER
    ANY_USER = 7 << L2_USER

    # besides an l2_status: another processor has changed an entry since it was read
    WALK_AGAIN = 3

# The shape of the page tables in force.
cdef struct paging:
    int levels
    int bits            # of the linear address that a level consumes
    u32 entry_size
    u64 root
    u64 reserved        # in every entry


cdef inline void write_exit(l0_vmcs *v, u32 reason, u32 length, u64 qualification) noexcept nogil:
    v.f.vm_exit_reason = reason
    v.f.vm_exit_intr_info = 0
    v.f.vm_exit_intr_error_code = 0
    v.f.idt_vectoring_info_field = 0
    v.f.idt_vectoring_error_code = 0
    v.f.vm_exit_instruction_len = length
    v.f.vmx_instruction_info = 0
    v.f.exit_qualification = qualification
    v.f.guest_linear_address = 0
    v.f.guest_physical_address = 0


# The same in line. Whoever calls it need not leave: L1 sees none of it before an exit, and the
# exit that comes writes all of it again.
cdef inline void note_exit(l0_vp *vp, u32 reason, u32 length, u64 qualification) noexcept nogil:
    write_exit(vp.vmcs, reason, length, qualification)
    vp.fault.vector = NO_VECTOR


cdef inline u32 fetch_right(const l0_vp *vp) noexcept nogil:
    return L2_FETCH << L2_USER if vp.guest_cpl == 3 else L2_FETCH


cdef inline u8 *translate(l0_vp *vp, u64 linear, u32 right) noexcept nogil:
    # The page that holds linear; NULL where it faults: vp.fault has a vector, or the VMCS says why
    # it leaves.
    cdef l2_tlb_entry *entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    if likely(entry.tag & (~<u64>0xfff | right) == linear & ~<u64>0xfff | right):
        return entry.host
    return walk(vp, linear, right)


cdef inline void translations_current(l0_vp *vp) noexcept nogil:
    # Entries made under another EPT, CR3, VPID or mode are not for this entry.
    cdef const l0_vmcs *v = vp.vmcs
    cdef u64 differs = (
        vp.tlb_context[0] ^ v.f.ept_pointer | vp.tlb_context[1] ^ v.f.guest_cr3 |
        vp.tlb_context[2] ^ (<u64>v.f.virtual_processor_id << 32 | v.f.secondary_vm_exec_control) |
        vp.tlb_context[3] ^ (v.f.guest_cr0 | v.f.guest_cr4 << 32) |
        vp.tlb_context[4] ^ vp.efer |
        ~<u64>v.f.secondary_vm_exec_control & SECONDARY_EXEC_ENABLE_VPID)

    if not likely(differs == 0):
        new_context(vp)

cdef u64 ADDRESS = <u64>0x000ffffffffff000
cdef u64 NO_EXECUTE = <u64>1 << 63


# An exit of a given kind with nothing else in it yet.
cdef void vm_exit_with(l0_vp *vp, u32 reason, u32 length, u64 qualification) noexcept nogil:
    note_exit(vp, reason, length, qualification)


cdef void flush_translations(l0_vp *vp) noexcept nogil:
    vp.row_kept = 0
    memset(vp.tlb, 0, sizeof(vp.tlb))


cdef void flush_guest_physical(l0_vp *vp) noexcept nogil:
    vp.row_kept = 0
    memset(vp.physical_tlb, 0, sizeof(vp.physical_tlb))
    if vp.watch != NULL:
        vp.watch.kept = vp.watch.aside = 0


cdef void flush_address(l0_vp *vp, u64 linear) noexcept nogil:
    vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)].tag = 0


cdef void new_context(l0_vp *vp) noexcept nogil:
    cdef const l0_vmcs *v = vp.vmcs

    flush_translations(vp)
    if vp.tlb_context[0] != v.f.ept_pointer:
        flush_guest_physical(vp)
    vp.tlb_context[0] = v.f.ept_pointer
    vp.tlb_context[1] = v.f.guest_cr3
    vp.tlb_context[2] = <u64>v.f.virtual_processor_id << 32 | v.f.secondary_vm_exec_control
    vp.tlb_context[3] = v.f.guest_cr0 | v.f.guest_cr4 << 32
    vp.tlb_context[4] = vp.efer


cdef void shape(l0_vp *vp, paging *p) noexcept nogil:
    cdef u64 cr3 = vp.vmcs.f.guest_cr3

    p.bits = 9
    p.entry_size = 8
    p.reserved = vp.partition.caps.address_reserved & ADDRESS
    if not vp.efer & EFER_NX:
        p.reserved |= NO_EXECUTE
    p.root = cr3 & ADDRESS
    if long_mode(vp):
        p.levels = 4
    elif vp.vmcs.f.guest_cr4 & X86_CR4_PAE:
        # the PDPTE takes the place of CR3
        p.levels = 2
        p.reserved |= <u64>0x7ff << 52
    else:
        p.levels = 2
        p.bits = 10
        p.entry_size = 4
        p.reserved = 0
        p.root = cr3 & <u64>0xfffff000


cdef int page_fault(l0_vp *vp, u64 linear, u32 right, u32 error) noexcept nogil:
    if right & ANY_WRITE:
        error |= ERROR_WRITE
    if right & ANY_USER:
        error |= ERROR_USER
    if right & ANY_FETCH and (vp.vmcs.f.guest_cr4 & X86_CR4_SMEP or (
            vp.efer & EFER_NX and vp.vmcs.f.guest_cr4 & X86_CR4_PAE)):
        error |= ERROR_FETCH
    fault(vp, X86_TRAP_PF, error)
    vp.fault.payload = linear
    return L2_FAULTS


cdef bint pdpte_valid(const l0_vp *vp, u64 pdpte) noexcept nogil:
    return not pdpte & 1 or not pdpte & (vp.partition.caps.address_reserved | 0x1e6)


# The four PDPTEs of PAE paging, from memory: 0, or how that fails.
cdef int load_pdptes(l0_vp *vp, u64 cr3) noexcept nogil:
    cdef const u64 *table = <const u64 *>guest_memory(
        vp, cr3 & <u64>0xffffffe0, 0, L2_READ, NO_LINEAR)
    cdef int i

    if table == NULL:
        return L2_LEAVES
    for i in range(4):
        if not pdpte_valid(vp, table[i]):
            return fault(vp, X86_TRAP_GP, 0)
    vp.vmcs.f.guest_pdptr0 = table[0]
    vp.vmcs.f.guest_pdptr1 = table[1]
    vp.vmcs.f.guest_pdptr2 = table[2]
    vp.vmcs.f.guest_pdptr3 = table[3]
    return L2_DONE


# With EPT the VMCS holds the PDPTEs; without, they are read from memory.
cdef int pae_root(l0_vp *vp, u64 linear, u32 right, paging *p) noexcept nogil:
    cdef u64 pdpte
    cdef u32 number = linear >> 30 & 3
    cdef const u64 *table

    if secondary_controls(vp.vmcs) & SECONDARY_EXEC_ENABLE_EPT:
        pdpte = (&vp.vmcs.f.guest_pdptr0)[number]
    else:
        table = <const u64 *>guest_memory(
            vp, vp.vmcs.f.guest_cr3 & <u64>0xffffffe0, linear, L2_READ, GUEST_TABLE)
        pdpte = table[number]
    if not pdpte & PAGE_PRESENT:
        return page_fault(vp, linear, right, 0)
    p.root = pdpte & ADDRESS
    return L2_DONE


cdef bint is_leaf(l0_vp *vp, const paging *p, u64 entry, int level) noexcept nogil:
    if level == 0:
        return True
    if not entry & PAGE_LARGE or level == 3:
        return False
    return p.entry_size == 8 or vp.vmcs.f.guest_cr4 & X86_CR4_PSE != 0


cdef bint reserved_bits(
        const l0_vp *vp, const paging *p, u64 entry, int level, bint leaf) noexcept nogil:
    if entry & p.reserved:
        return True
    if p.entry_size == 4:
        # a 4-MByte page: bits 20:13 are address bits 39:32, bit 21 is reserved
        return leaf and level == 1 and entry & (1 << 21) != 0
    if leaf and level > 0:
        return entry & ((<u64>1 << (12 + 9 * level)) - 1) & ~<u64>0x1fff != 0
    return level == 3 and entry & PAGE_LARGE != 0


cdef u64 leaf_address(const paging *p, u64 entry, u64 linear, int level) noexcept nogil:
    cdef u64 inside = (<u64>1 << (12 + p.bits * level)) - 1
    cdef u64 frame = entry & ADDRESS & ~inside

    if p.entry_size == 4:
        frame = entry & <u64>0xfffff000 & ~inside
        if level == 1:
            frame |= (entry >> 13 & 0xff) << 32
    return frame | linear & inside


# May a page with these accumulated rights be accessed so?
cdef bint allowed(l0_vp *vp, u64 rights, u32 right) noexcept nogil:
    cdef u64 cr4 = vp.vmcs.f.guest_cr4

    if right & ANY_USER:
        if not rights & PAGE_USER or (right & ANY_WRITE and not rights & PAGE_WRITABLE):
            return False
    else:
        if right & ANY_WRITE and not rights & PAGE_WRITABLE and vp.vmcs.f.guest_cr0 & X86_CR0_WP:
            return False
        if rights & PAGE_USER and right & ANY_FETCH and cr4 & X86_CR4_SMEP:
            return False
        if rights & PAGE_USER and not right & ANY_FETCH and cr4 & X86_CR4_SMAP and (
                vp.vectoring or vp.guest_cpl == 3 or not vp.vmcs.f.guest_rflags & X86_EFLAGS_AC):
            return False
    return not (right & ANY_FETCH and rights & NO_EXECUTE)


cdef u64 read_entry(const u8 *slot, const paging *p) noexcept nogil:
    if p.entry_size == 8:
        return (<const volatile u64 *>slot)[0]
    return (<const volatile u32 *>slot)[0]


# Set flags in an entry that is still as it was read.
cdef int mark(l0_vp *vp, u64 gpa, u64 entry, const paging *p, u64 linear, u64 flags) noexcept nogil:
    cdef u8 *slot

    if entry & flags == flags:
        return L2_DONE
    slot = guest_memory(vp, gpa, linear, L2_WRITE, GUEST_TABLE)
    if slot == NULL:
        return L2_LEAVES
    if is_open_bus(slot - (gpa & 4095)):
        return L2_DONE
    if p.entry_size == 8:
        return L2_DONE if swap_64(<u64 *>slot, entry, entry | flags) else WALK_AGAIN
    return L2_DONE if swap_32(<u32 *>slot, <u32>entry, <u32>(entry | flags)) else WALK_AGAIN


# The accessed flags on the way, and the dirty flag of a page that is written.
cdef int mark_used(l0_vp *vp, const u64 *where, const u64 *entry, int last, const paging *p,
                   u64 linear, bint written) noexcept nogil:
    cdef int level, status

    for level in range(p.levels - 1, last - 1, -1):
        status = mark(vp, where[level], entry[level], p, linear,
                      PAGE_ACCESSED | (PAGE_DIRTY if level == last and written else 0))
        if status:
            return status
    return L2_DONE


cdef int walk_once(l0_vp *vp, u64 linear, u32 right, u64 *gpa, bint *is_user) noexcept nogil:
    cdef paging p
    cdef u64 entry = 0, place, rights = PAGE_WRITABLE | PAGE_USER
    cdef u64 where[4]
    cdef u64 found[4]
    cdef u8 *slot
    cdef int level, status
    cdef bint leaf = False

    shape(vp, &p)
    if p.levels == 2 and p.bits == 9 and pae_root(vp, linear, right, &p):
        return L2_FAULTS
    place = p.root
    level = p.levels
    while not leaf:
        level -= 1
        place |= (linear >> (12 + p.bits * level) & ((1 << p.bits) - 1)) * p.entry_size
        where[level] = place
        slot = guest_memory(vp, place, linear, L2_READ, GUEST_TABLE)
        if slot == NULL:
            return L2_LEAVES
        entry = found[level] = read_entry(slot, &p)
        if not entry & PAGE_PRESENT:
            return page_fault(vp, linear, right, 0)
        leaf = is_leaf(vp, &p, entry, level)
        if reserved_bits(vp, &p, entry, level, leaf):
            return page_fault(vp, linear, right, ERROR_PRESENT | ERROR_RESERVED)
        rights = rights & entry & (PAGE_WRITABLE | PAGE_USER) | (rights | entry) & NO_EXECUTE
        place = entry & (ADDRESS if p.entry_size == 8 else <u64>0xfffff000)
    if not allowed(vp, rights, right):
        return page_fault(vp, linear, right, ERROR_PRESENT)
    status = mark_used(vp, where, found, level, &p, linear, right & ANY_WRITE != 0)
    if status:
        return status
    gpa[0] = leaf_address(&p, entry, linear, level)
    is_user[0] = rights & PAGE_USER != 0
    return L2_DONE


cdef int page_walk(l0_vp *vp, u64 linear, u32 right, u64 *gpa, bint *is_user) noexcept nogil:
    cdef int status = WALK_AGAIN

    while status == WALK_AGAIN:
        status = walk_once(vp, linear, right, gpa, is_user)
    return status


cdef u8 *walk(l0_vp *vp, u64 linear, u32 right) noexcept nogil:
    cdef l2_tlb_entry *tlb = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]
    cdef u64 gpa = linear
    cdef u8 *host
    cdef bint is_user = False
    cdef u32 kind = L2_WRITE if right & ANY_WRITE else L2_FETCH if right & ANY_FETCH else L2_READ

    vp.fault.vector = NO_VECTOR
    if vp.code_bits == 64 and not is_canonical(linear):
        fault(vp, X86_TRAP_GP, 0)
        return NULL
    if vp.vmcs.f.guest_cr0 >> 31 & 1:
        if page_walk(vp, linear, right, &gpa, &is_user):
            return NULL
    host = guest_memory(vp, gpa, linear, kind, OPERAND)
    if host == NULL:
        return NULL
    host -= linear & 4095
    if kind == L2_FETCH and is_open_bus(host) and vp.root.bus.is_virtual:
        apic_access_exit(vp, linear, ACCESS_FETCH)
        return NULL
    if is_open_bus(host) or (
            is_user and not right & ANY_USER and vp.vmcs.f.guest_cr4 & X86_CR4_SMAP):
        # whether a supervisor may access a user's page depends on more than the page
        return host
    if tlb.tag & ~<u64>0xfff == linear & ~<u64>0xfff and tlb.host == host:
        tlb.tag |= right
    else:
        tlb.tag = linear & ~<u64>0xfff | right
        tlb.host = host
    return host
