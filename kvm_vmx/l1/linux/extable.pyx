# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/mm/extable.c: where an instruction that faulted goes on, and how the
# kernel dies where it cannot.
from kvm_vmx.abi.types cimport ENOSPC, u32, u64, ulong

cdef extern from "asm/insn_form.h" nogil:
    ctypedef struct exception_table_entry "struct exception_table_entry":
        u64 insn
        u64 fixup

cdef extern from "linux/bug.h" nogil:
    void BUG_MSG(const char *fmt, ...)

cdef extern from "asm/virt_cpu.h" nogil:
    u32 INSN_FAULT_VECTOR(u32 status)

cdef enum:
    MAX_TABLES = 32

cdef struct exception_table:
    const exception_table_entry *start
    const exception_table_entry *end

cdef exception_table tables[MAX_TABLES]
cdef int nr_tables = 0


cdef int extable_add(ulong start, ulong end) noexcept nogil:
    # Whatever traps while the table grows has its own entry already.
    global nr_tables
    if nr_tables == MAX_TABLES:
        return -ENOSPC
    tables[nr_tables].start = <const exception_table_entry *>start
    tables[nr_tables].end = <const exception_table_entry *>end
    nr_tables += 1
    return 0


cdef ulong fixup_exception(ulong ip) noexcept nogil:
    cdef const exception_table_entry *entry
    cdef int i

    for i in range(nr_tables):
        entry = tables[i].start
        while entry < tables[i].end:
            if entry.insn == ip:
                return entry.fixup
            entry += 1
    return 0


cdef void die(ulong ip, u32 status) noexcept nogil:
    BUG_MSG("exception: vector %u at %lx", INSN_FAULT_VECTOR(status), ip)


cdef void stale_exit(ulong rip, ulong rsp) noexcept nogil:
    BUG_MSG("VM exit to a stale host state: RIP %lx RSP %lx", rip, rsp)
