# SPDX-License-Identifier: GPL-2.0-only
# Loops to count and to time: n accesses each. bench_NAME is the port, bench_c_NAME is C.
cdef extern from "kvm_vmx/l1/bench/accessors.h" nogil:
    void bench_use(ulong value)
    void bench_half_line()
    void bench_add_chain(ulong x)
    void bench_raw_store(hv_enlightened_vmcs *evmcs, u64 value)
    void bench_test_key()
    void bench_test_flag()
    u16 c_vmcs_read16(ulong field)
    u32 c_vmcs_read32(ulong field)
    u64 c_vmcs_read64(ulong field)
    void c_vmcs_write16(ulong field, u16 value)
    void c_vmcs_write32(ulong field, u32 value)
    void c_vmcs_write64(ulong field, u64 value)
    void c_vmcs_clear_bits(ulong field, u32 mask)
    void c_vmcs_set_bits(ulong field, u32 mask)


cdef bench_loop bench_write16(ulong n) noexcept nogil:
    while n:
        vmcs_write16(GUEST_CS_SELECTOR, <u16>n)
        n -= 1


cdef bench_loop bench_c_write16(ulong n) noexcept nogil:
    while n:
        c_vmcs_write16(GUEST_CS_SELECTOR, <u16>n)
        n -= 1


cdef bench_loop bench_write32(ulong n) noexcept nogil:
    while n:
        vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, <u32>n)
        n -= 1


cdef bench_loop bench_c_write32(ulong n) noexcept nogil:
    while n:
        c_vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, <u32>n)
        n -= 1


cdef bench_loop bench_write64(ulong n) noexcept nogil:
    while n:
        vmcs_write64(TSC_OFFSET, n)
        n -= 1


cdef bench_loop bench_c_write64(ulong n) noexcept nogil:
    while n:
        c_vmcs_write64(TSC_OFFSET, n)
        n -= 1


# A natural-width field with a clean group, and one without: GUEST_RIP is always read.
cdef bench_loop bench_writel(ulong n) noexcept nogil:
    while n:
        vmcs_writel(GUEST_RSP, n)
        n -= 1


cdef bench_loop bench_c_writel(ulong n) noexcept nogil:
    while n:
        c_vmcs_write64(GUEST_RSP, n)
        n -= 1


cdef bench_loop bench_write_rip(ulong n) noexcept nogil:
    while n:
        vmcs_writel(GUEST_RIP, n)
        n -= 1


cdef bench_loop bench_c_write_rip(ulong n) noexcept nogil:
    while n:
        c_vmcs_write64(GUEST_RIP, n)
        n -= 1


cdef bench_loop bench_clear_bits(ulong n) noexcept nogil:
    while n:
        vmcs_clear_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_HLT_EXITING)
        n -= 1


cdef bench_loop bench_c_clear_bits(ulong n) noexcept nogil:
    while n:
        c_vmcs_clear_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_HLT_EXITING)
        n -= 1


cdef bench_loop bench_set_bits(ulong n) noexcept nogil:
    while n:
        vmcs_set_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_HLT_EXITING)
        n -= 1


cdef bench_loop bench_c_set_bits(ulong n) noexcept nogil:
    while n:
        c_vmcs_set_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_HLT_EXITING)
        n -= 1


cdef bench_loop bench_read16(ulong n) noexcept nogil:
    while n:
        bench_use(vmcs_read16(GUEST_CS_SELECTOR))
        n -= 1


cdef bench_loop bench_c_read16(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read16(GUEST_CS_SELECTOR))
        n -= 1


cdef bench_loop bench_read32(ulong n) noexcept nogil:
    while n:
        bench_use(vmcs_read32(VM_EXIT_REASON))
        n -= 1


cdef bench_loop bench_c_read32(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read32(VM_EXIT_REASON))
        n -= 1


cdef bench_loop bench_read64(ulong n) noexcept nogil:
    while n:
        bench_use(vmcs_read64(TSC_OFFSET))
        n -= 1


cdef bench_loop bench_c_read64(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read64(TSC_OFFSET))
        n -= 1


cdef bench_loop bench_readl(ulong n) noexcept nogil:
    while n:
        bench_use(vmcs_readl(GUEST_RIP))
        n -= 1


cdef bench_loop bench_c_readl(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read64(GUEST_RIP))
        n -= 1


# The physical limit, a second copy of it (A/A), and a third that stands elsewhere in its line.
cdef bench_loop bench_store(ulong n) noexcept nogil:
    cdef hv_enlightened_vmcs *evmcs = current_evmcs

    while n:
        bench_raw_store(evmcs, n)
        n -= 1


cdef bench_loop bench_store_again(ulong n) noexcept nogil:
    cdef hv_enlightened_vmcs *evmcs = current_evmcs

    while n:
        bench_raw_store(evmcs, n)
        n -= 1


cdef bench_loop bench_store_moved(ulong n) noexcept nogil:
    cdef hv_enlightened_vmcs *evmcs = current_evmcs

    bench_half_line()
    while n:
        bench_raw_store(evmcs, n)
        n -= 1


# The same store behind the static key, and behind a flag in memory.
cdef bench_loop bench_store_key(ulong n) noexcept nogil:
    cdef hv_enlightened_vmcs *evmcs = current_evmcs

    while n:
        bench_test_key()
        bench_raw_store(evmcs, n)
        n -= 1


cdef bench_loop bench_store_flag(ulong n) noexcept nogil:
    cdef hv_enlightened_vmcs *evmcs = current_evmcs

    while n:
        bench_test_flag()
        bench_raw_store(evmcs, n)
        n -= 1


# The C controls once more, elsewhere: how far apart two copies of one loop are.
cdef bench_loop bench_again_write16(ulong n) noexcept nogil:
    while n:
        c_vmcs_write16(GUEST_CS_SELECTOR, <u16>n)
        n -= 1


cdef bench_loop bench_again_write32(ulong n) noexcept nogil:
    while n:
        c_vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, <u32>n)
        n -= 1


cdef bench_loop bench_again_write64(ulong n) noexcept nogil:
    while n:
        c_vmcs_write64(TSC_OFFSET, n)
        n -= 1


cdef bench_loop bench_again_writel(ulong n) noexcept nogil:
    while n:
        c_vmcs_write64(GUEST_RSP, n)
        n -= 1


cdef bench_loop bench_again_write_rip(ulong n) noexcept nogil:
    while n:
        c_vmcs_write64(GUEST_RIP, n)
        n -= 1


cdef bench_loop bench_again_clear_bits(ulong n) noexcept nogil:
    while n:
        c_vmcs_clear_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_HLT_EXITING)
        n -= 1


cdef bench_loop bench_again_set_bits(ulong n) noexcept nogil:
    while n:
        c_vmcs_set_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_HLT_EXITING)
        n -= 1


cdef bench_loop bench_again_read16(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read16(GUEST_CS_SELECTOR))
        n -= 1


cdef bench_loop bench_again_read32(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read32(VM_EXIT_REASON))
        n -= 1


cdef bench_loop bench_again_read64(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read64(TSC_OFFSET))
        n -= 1


cdef bench_loop bench_again_readl(ulong n) noexcept nogil:
    while n:
        bench_use(c_vmcs_read64(GUEST_RIP))
        n -= 1


cdef bench_loop bench_chain(ulong n) noexcept nogil:
    cdef ulong x = 0

    while n:
        bench_add_chain(x)
        n -= 1


cdef int bench_set_key(bint on) noexcept nogil:
    if on:
        static_branch_enable(&enable_evmcs)
    else:
        static_branch_disable(&enable_evmcs)
    return text_last_error()


cdef int bench_flip_key(ulong n) noexcept nogil:
    # The key off and on, or on and off, n times: it stands as it stood.
    cdef bint was = static_key_count(&enable_evmcs.key) > 0
    cdef int ret = 0

    while n and ret == 0:
        ret = bench_set_key(not was) or bench_set_key(was)
        n -= 1
    return ret
