# SPDX-License-Identifier: GPL-2.0-only
# From linear addresses of L2 to memory: its page tables, then the EPT, behind a small TLB.
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.state cimport *
from libc.string cimport memset

cdef enum:
    PAGE_PRESENT = 1
    PAGE_LARGE = 0x80
    EPT_READ = 1
    EPT_WRITE = 2
    EPT_EXEC = 4

    ACCESS_READ = 0
    ACCESS_FETCH = 2

    PF_VECTOR = 14
    PF_PRESENT = 1
    PF_FETCH = 16

    FAULT_EPT = 1
    FAULT_PAGE = 2

cdef u64 ADDRESS = <u64>0x000ffffffffff000


cdef void flush_translations(l0_vp *vp) noexcept nogil:
    memset(vp.tlb, 0, sizeof(vp.tlb))


cdef void translations_current(l0_vp *vp) noexcept nogil:
    # Entries made under another EPT, CR3, VPID or mode are not for this entry.
    cdef u64 eptp = vp.vmcs.f.ept_pointer
    cdef u64 cr3 = vp.vmcs.f.guest_cr3
    cdef u64 vpid = vp.vmcs.f.virtual_processor_id
    cdef u64 mode = vp.vmcs.f.guest_cr0 ^ vp.vmcs.f.guest_cr4 << 32 ^ <u64>vp.vmcs.f.secondary_vm_exec_control << 8

    if vp.tlb_context[0] != eptp or vp.tlb_context[1] != cr3 or \
            vp.tlb_context[2] != vpid or vp.tlb_context[3] != mode:
        flush_translations(vp)
        vp.tlb_context[0] = eptp
        vp.tlb_context[1] = cr3
        vp.tlb_context[2] = vpid
        vp.tlb_context[3] = mode


cdef void ept_exit(l0_vp *vp, u32 reason, u64 gpa, u64 linear, u64 qualification) noexcept nogil:
    memset(&vp.exit, 0, sizeof(vp.exit))
    vp.exit.reason = reason
    vp.exit.qualification = qualification
    vp.exit.guest_physical_address = gpa
    vp.exit.guest_linear_address = linear


cdef bint misconfigured(u64 entry, int level) noexcept nogil:
    cdef u64 rights = entry & 7

    if rights == EPT_WRITE or rights == (EPT_WRITE | EPT_EXEC):
        return True
    if level > 0 and not entry & PAGE_LARGE:
        return entry & 0x78 != 0
    # a leaf: its memory type must exist
    return entry >> 3 & 7 == 2 or entry >> 3 & 7 == 3 or entry >> 3 & 7 == 7


cdef u8 *ept_walk(l0_vp *vp, u64 gpa, u64 linear, u32 access, bint final) noexcept nogil:
    # The host address of an L2 GPA, or NULL with the exit filled in. access is a bit number.
    cdef u64 table, entry, rights = 7
    cdef u64 *slot
    cdef u8 *page
    cdef int level
    cdef u64 qualification

    if not vp.vmcs.f.cpu_based_vm_exec_control & <u32>CPU_BASED_ACTIVATE_SECONDARY_CONTROLS or \
            not vp.vmcs.f.secondary_vm_exec_control & SECONDARY_EXEC_ENABLE_EPT:
        page = phys_ptr(vp.cpu.mem, gpa, 1)
        if page == NULL:
            ept_exit(vp, EXIT_REASON_TRIPLE_FAULT, 0, 0, 0)
        return page
    table = vp.vmcs.f.ept_pointer & ADDRESS
    qualification = <u64>1 << access | 1 << 7 | (<u64>final << 8)
    for level in range(3, -1, -1):
        slot = <u64 *>phys_ptr(vp.cpu.mem, table | (gpa >> (12 + 9 * level) & 511) << 3, 8)
        entry = slot[0] if slot != NULL else 0
        rights &= entry & 7
        if not entry & 7 or not rights >> access & 1:
            ept_exit(vp, EXIT_REASON_EPT_VIOLATION, gpa, linear, qualification | rights << 3)
            return NULL
        if misconfigured(entry, level):
            ept_exit(vp, EXIT_REASON_EPT_MISCONFIG, gpa, linear, 0)
            return NULL
        if level == 0 or (level < 3 and entry & PAGE_LARGE):
            gpa = entry & ADDRESS & ~((<u64>1 << (12 + 9 * level)) - 1) | \
                gpa & ((<u64>1 << (12 + 9 * level)) - 1)
            break
        table = entry & ADDRESS
    page = phys_ptr(vp.cpu.mem, gpa, 1)
    if page == NULL:
        # the EPT names memory that is not there
        ept_exit(vp, EXIT_REASON_EPT_MISCONFIG, gpa, linear, 0)
    return page


cdef void page_fault(l0_vp *vp, u64 linear, u32 error) noexcept nogil:
    # Intercepted, or without a handler: no gate of an IDT is read.
    memset(&vp.exit, 0, sizeof(vp.exit))
    if vp.vmcs.f.exception_bitmap >> PF_VECTOR & 1:
        vp.exit.reason = EXIT_REASON_EXCEPTION_NMI
        vp.exit.qualification = linear
        vp.exit.intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_HARD_EXCEPTION | \
            INTR_INFO_DELIVER_CODE_MASK | PF_VECTOR
        vp.exit.intr_error_code = error
    else:
        vp.exit.reason = EXIT_REASON_TRIPLE_FAULT


cdef const u8 *walk_for_fetch(l0_vp *vp, u64 linear) noexcept nogil:
    cdef u64 table = vp.vmcs.f.guest_cr3 & ADDRESS
    cdef u64 gpa = linear, entry
    cdef u64 *slot
    cdef u8 *host
    cdef int level
    cdef l2_tlb_entry *tlb = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    for level in range(3, -1, -1):
        slot = <u64 *>ept_walk(vp, table | (linear >> (12 + 9 * level) & 511) << 3, linear,
                               ACCESS_READ, False)
        if slot == NULL:
            return NULL
        entry = slot[0]
        if not entry & PAGE_PRESENT:
            page_fault(vp, linear, PF_FETCH)
            return NULL
        if level == 0 or (level < 3 and entry & PAGE_LARGE):
            gpa = entry & ADDRESS & ~((<u64>1 << (12 + 9 * level)) - 1) | \
                linear & ((<u64>1 << (12 + 9 * level)) - 1)
            break
        table = entry & ADDRESS
    host = ept_walk(vp, gpa & ~<u64>4095, linear, ACCESS_FETCH, True)
    if host == NULL:
        return NULL
    tlb.tag = linear >> 12
    tlb.host = host
    return host
