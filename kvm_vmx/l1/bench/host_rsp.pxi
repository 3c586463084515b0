# SPDX-License-Identifier: GPL-2.0-only
# Loops around the three ways to note RSP for the exit: n notes, or n entries by trap.
cdef extern from "kvm_vmx/l1/bench/host_rsp.h" nogil:
    ctypedef struct vm_entry "struct vm_entry":
        ulong *regs
        ulong *host_rsp
        ulong evmcs_rsp
        u8 launched
        u8 fail
        u32 fault
    bint insn_by_trap()
    void note_test(ulong *host_rsp, ulong evmcs_rsp)
    void note_test_again(ulong *host_rsp, ulong evmcs_rsp)
    void note_key(ulong *host_rsp, ulong evmcs_rsp)
    void note_poke(ulong *host_rsp, ulong evmcs_rsp)
    u32 bench_enter_test(vm_entry *entry) noexcept
    u32 bench_enter_test_again(vm_entry *entry) noexcept
    u32 bench_enter_key(vm_entry *entry) noexcept
    u32 bench_enter_poke(vm_entry *entry) noexcept
    const ulong return_test
    const ulong return_test_again
    const ulong return_key
    const ulong return_poke
    const u64 *__start_host_rsp_poke
    const u64 *__stop_host_rsp_poke
    const u8 *poked_off
    const u8 *poked_on
    enum:
        HOST_RSP_SIZE


cdef void bench_poke() noexcept nogil:
    # The poked sites as the key is now: what static_branch_enable() does for its own.
    cdef const u8 *text = poked_on if enable_evmcs_is_on() else poked_off
    cdef const u64 *site = __start_host_rsp_poke

    while site < __stop_host_rsp_poke:
        if memcmp(<void *>site[0], text, HOST_RSP_SIZE):
            BUG_ON(text_poke(<void *>site[0], text, HOST_RSP_SIZE) != 0)
        site += 1


# RSP has moved each time, under eVMCS: by call a VMWRITE here would be an opcode that nobody takes.
cdef bench_loop bench_rsp_test(ulong n) noexcept nogil:
    cdef ulong host_rsp, evmcs_rsp

    if not enable_evmcs_is_on():
        return
    while n:
        host_rsp = 0
        note_test(&host_rsp, <ulong>&evmcs_rsp)
        n -= 1


cdef bench_loop bench_rsp_test_again(ulong n) noexcept nogil:
    cdef ulong host_rsp, evmcs_rsp

    if not enable_evmcs_is_on():
        return
    while n:
        host_rsp = 0
        note_test_again(&host_rsp, <ulong>&evmcs_rsp)
        n -= 1


cdef bench_loop bench_rsp_key(ulong n) noexcept nogil:
    cdef ulong host_rsp, evmcs_rsp

    if not enable_evmcs_is_on():
        return
    while n:
        host_rsp = 0
        note_key(&host_rsp, <ulong>&evmcs_rsp)
        n -= 1


cdef bench_loop bench_rsp_poke(ulong n) noexcept nogil:
    cdef ulong host_rsp, evmcs_rsp

    bench_poke()
    if not enable_evmcs_is_on():
        return
    while n:
        host_rsp = 0
        note_poke(&host_rsp, <ulong>&evmcs_rsp)
        n -= 1


cdef void bench_entries(ulong n, bint moved, u32 (*enter)(vm_entry *) noexcept nogil,
                        ulong rip) noexcept nogil:
    # n times VMRESUME until L2's next exit, as vmx_vcpu_run() has it; RSP moves each time, or
    # once. The VMCS gets back the host state that it had.
    cdef ulong old_rip, old_rsp, host_rsp = 0
    cdef ulong regs[NR_VCPU_REGS]
    cdef vm_entry entry

    if not insn_by_trap():
        return
    bench_poke()
    memset(regs, 0, sizeof(regs))
    memset(&entry, 0, sizeof(entry))
    entry.regs = regs
    entry.host_rsp = &host_rsp
    entry.launched = 1
    old_rip = vmcs_readl(HOST_RIP)
    old_rsp = vmcs_readl(HOST_RSP)
    vmcs_writel(HOST_RIP, rip)
    # its clean bit goes, so that what the entry stores beside it is read this once
    vmcs_writel(HOST_RSP, old_rsp)
    if enable_evmcs_is_on():
        entry.evmcs_rsp = <ulong>&current_evmcs.host_rsp
    while n:
        if moved:
            host_rsp = 0
        BUG_ON(enter(&entry) != 0)
        if enable_evmcs_is_on():
            evmcs_clean_fields_or(HV_VMX_ENLIGHTENED_CLEAN_FIELD_ALL)
        n -= 1
    vmcs_writel(HOST_RIP, old_rip)
    vmcs_writel(HOST_RSP, old_rsp)


cdef void bench_entry_test(ulong n, ulong moved) noexcept nogil:
    bench_entries(n, moved, bench_enter_test, return_test)


cdef void bench_entry_test_again(ulong n, ulong moved) noexcept nogil:
    bench_entries(n, moved, bench_enter_test_again, return_test_again)


cdef void bench_entry_key(ulong n, ulong moved) noexcept nogil:
    bench_entries(n, moved, bench_enter_key, return_key)


cdef void bench_entry_poke(ulong n, ulong moved) noexcept nogil:
    bench_entries(n, moved, bench_enter_poke, return_poke)
