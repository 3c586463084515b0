# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/hyperv/hv_init.c
from kvm_vmx.abi.asm cimport HYPERV_REENLIGHTENMENT_VECTOR, hv_vmcall, rdmsrl, wrmsrl
from kvm_vmx.abi.hyperv_tlfs cimport (
    HV_FEATURE_FREQUENCY_MSRS_AVAILABLE, HV_HYPERCALL_RESULT_MASK, HV_LINUX_VENDOR_ID, HV_X64_ENLIGHTENED_VMCS_RECOMMENDED,
    HV_X64_ACCESS_FREQUENCY_MSRS, HV_X64_ACCESS_REENLIGHTENMENT,
    HV_X64_MSR_GUEST_OS_ID, HV_X64_MSR_HYPERCALL, HV_X64_MSR_HYPERCALL_AVAILABLE,
    HV_X64_MSR_HYPERCALL_ENABLE, HV_X64_MSR_HYPERCALL_PAGE_ADDRESS_SHIFT,
    HV_X64_MSR_REENLIGHTENMENT_CONTROL, HV_X64_MSR_REFERENCE_TSC,
    HV_X64_MSR_TSC_EMULATION_CONTROL, HV_X64_MSR_TSC_EMULATION_STATUS,
    HV_X64_MSR_VP_ASSIST_PAGE, HV_X64_MSR_VP_ASSIST_PAGE_ADDRESS_SHIFT,
    HV_X64_MSR_VP_ASSIST_PAGE_ENABLE, HV_X64_MSR_VP_INDEX, HV_X64_MSR_VP_INDEX_AVAILABLE,
    HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE)
from kvm_vmx.abi.hyperv_tlfs cimport hv_vp_assist_page as hv_vp_assist_page_t
from kvm_vmx.abi.linux cimport (
    BUG_ON, GFP_KERNEL, NO_PAGE_ADDRESS, __pa, check_canonical, local_irq_restore, local_irq_save,
    page_address, page_t, pr_warn, vmalloc_to_pfn)
from kvm_vmx.abi.types cimport ENOTSUPP, smp_wmb, u32, u64, ulong, unlikely
from kvm_vmx.abi.virt_cpu cimport INSN_OK
from kvm_vmx.l1.linux.cpu cimport (
    CPUHP_AP_ONLINE_DYN, cpu_online, cpuhp_remove_state, cpuhp_setup_state, num_possible_cpus)
from kvm_vmx.l1.linux.cpu cimport debug_smp_processor_id as smp_processor_id
from kvm_vmx.l1.linux.mm cimport (
    __vmalloc, alloc_page, free_page, kcalloc, kfree, kmalloc, vfree_pages)
from kvm_vmx.l1.mshyperv cimport hv_handler, ms_hyperv, x86_hyper_type_ms_hyperv

cdef extern from "asm/percpu.h" nogil:
    void *hyperv_pcpu_input_arg
    void **per_cpu_ptr(void *var, int cpu)
    void **this_cpu_ptr(void *var)

cdef enum:
    VP_INVAL = 0xffffffff
    RE_CTRL_ENABLED = 1 << 16
    TSC_EMULATION_INPROGRESS = 1
    LINUX_VERSION_CODE = 4 << 16 | 19 << 8


cdef u64 generate_guest_id(u64 d_info1, u64 kernel_version, u64 d_info2) noexcept nogil:
    cdef u64 guest_id = 0

    guest_id = <u64>HV_LINUX_VENDOR_ID << 48
    guest_id |= d_info1 << 48
    guest_id |= kernel_version << 16
    guest_id |= d_info2

    return guest_id


cdef int hv_cpu_init(unsigned int cpu) noexcept nogil:
    cdef u64 msr_vp_index
    cdef hv_vp_assist_page_t **hvp = &hv_vp_assist_page[smp_processor_id()]
    cdef void **input_arg
    cdef u64 val

    # C~ the cast, page_address(alloc_page()): void ** already; a statement each
    cdef page_t *pg

    global hv_max_vp_index
    input_arg = this_cpu_ptr(hyperv_pcpu_input_arg)
    # The address of no page is not NULL: it leads nowhere (erratum: input_page).
    pg = alloc_page(GFP_KERNEL)
    input_arg[0] = page_address(pg)

    rdmsrl(HV_X64_MSR_VP_INDEX, &msr_vp_index)

    hv_vp_index[smp_processor_id()] = <u32>msr_vp_index

    if msr_vp_index > hv_max_vp_index:
        hv_max_vp_index = <u32>msr_vp_index

    if not hv_vp_assist_page:
        return 0

    # Whatever the page held before, Hyper-V finds in it (erratum: assist_not_zeroed).
    if not hvp[0]:
        hvp[0] = <hv_vp_assist_page_t *>__vmalloc(4096, GFP_KERNEL)

    # A CPU without memory for its page goes without, and nobody is told.
    if hvp[0]:
        val = vmalloc_to_pfn(hvp[0])
        val = (val << HV_X64_MSR_VP_ASSIST_PAGE_ADDRESS_SHIFT) | \
            HV_X64_MSR_VP_ASSIST_PAGE_ENABLE

        wrmsrl(HV_X64_MSR_VP_ASSIST_PAGE, val)

    return 0


cdef hv_handler hv_reenlightenment_cb


# C~ the work, emu_status: the work runs at once; the MSR as a number
cdef void hv_reenlightenment_notify() noexcept nogil:
    cdef u64 emu_status

    rdmsrl(HV_X64_MSR_TSC_EMULATION_STATUS, &emu_status)

    # whoever's TSC is not emulated has nothing to catch up with
    if hv_reenlightenment_cb and emu_status & TSC_EMULATION_INPROGRESS:
        hv_reenlightenment_cb()


cdef void hyperv_stop_tsc_emulation() noexcept nogil:
    # C~ emu_status, freq: the MSR as a number; nothing here needs the frequency
    cdef u64 emu_status

    rdmsrl(HV_X64_MSR_TSC_EMULATION_STATUS, &emu_status)
    emu_status &= ~<u64>TSC_EMULATION_INPROGRESS
    wrmsrl(HV_X64_MSR_TSC_EMULATION_STATUS, emu_status)


cdef inline bint hv_reenlightenment_available() noexcept nogil:
    return ms_hyperv.features & HV_X64_ACCESS_FREQUENCY_MSRS and \
        ms_hyperv.misc_features & HV_FEATURE_FREQUENCY_MSRS_AVAILABLE and \
        ms_hyperv.features & HV_X64_ACCESS_REENLIGHTENMENT


# C~ the registers, the work: the work runs at once
cdef void hyperv_reenlightenment_intr() noexcept nogil:
    hv_reenlightenment_notify()


# C~ cb: its type
cdef void set_hv_tscchange_cb(hv_handler cb) noexcept nogil:
    global hv_reenlightenment_cb
    # C~ re_ctrl, emu_ctrl: the MSR as a number
    cdef u64 re_ctrl, emu_ctrl = 1
    # The thread may go on on another CPU before this is used (erratum: preemptible_target).
    cdef int cpu = smp_processor_id()

    if not hv_reenlightenment_available():
        pr_warn("Hyper-V: reenlightenment support is unavailable\n")
        return

    hv_reenlightenment_cb = cb

    # C~ wmb(), re_ctrl, emu_ctrl: its other name; the MSR as a number
    smp_wmb()

    # Where hyperv_init() has given up there is no table to look into (erratum: no_vp_index).
    BUG_ON(hv_vp_index == NULL)
    re_ctrl = <u64>HYPERV_REENLIGHTENMENT_VECTOR | RE_CTRL_ENABLED | \
        <u64>hv_vp_index[cpu] << 32
    wrmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, re_ctrl)
    wrmsrl(HV_X64_MSR_TSC_EMULATION_CONTROL, emu_ctrl)


cdef void clear_hv_tscchange_cb() noexcept nogil:
    global hv_reenlightenment_cb
    # C~ re_ctrl: the MSR as a number
    cdef u64 re_ctrl

    if not hv_reenlightenment_available():
        return

    # C~ re_ctrl: the MSR as a number
    rdmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, &re_ctrl)
    re_ctrl &= ~<u64>RE_CTRL_ENABLED
    wrmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, re_ctrl)

    hv_reenlightenment_cb = NULL


cdef int hv_cpu_die(unsigned int cpu) noexcept nogil:
    # C~ re_ctrl, new_cpu: the MSR as a number; its type
    cdef u64 re_ctrl
    cdef int new_cpu
    cdef ulong flags
    cdef void **input_arg
    cdef void *input_pg = NULL

    local_irq_save(flags)
    # C~ the cast: void ** already
    input_arg = this_cpu_ptr(hyperv_pcpu_input_arg)
    input_pg = input_arg[0]
    input_arg[0] = NULL
    local_irq_restore(flags)
    # C+ the struct page of an address that is none: the kernel faults on it
    check_canonical(<ulong>input_pg)
    free_page(<ulong>input_pg)

    if hv_vp_assist_page and hv_vp_assist_page[cpu]:
        wrmsrl(HV_X64_MSR_VP_ASSIST_PAGE, 0)

    if hv_reenlightenment_cb == NULL:
        return 0

    # C~ re_ctrl, the mask: the MSR as a number; spelled out
    rdmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, &re_ctrl)
    if re_ctrl >> 32 == hv_vp_index[cpu]:
        # another one that stays, if there is any
        for new_cpu in range(num_possible_cpus()):
            if cpu_online(new_cpu) and new_cpu != <int>cpu:
                re_ctrl = re_ctrl & <u64>0xffffffff | <u64>hv_vp_index[new_cpu] << 32
                wrmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, re_ctrl)
                break

    return 0


cdef void hyperv_init() noexcept nogil:
    cdef u64 guest_id, required_msrs
    # C~ the union: the MSR as a number
    cdef u64 hypercall_msr
    cdef int cpuhp, i

    # C~ x86_hyper_type: there is this hypervisor or none; the data is fresh at each boot
    global hv_vp_assist_page, hv_vp_index, hv_max_vp_index, hv_hypercall_pg, hv_reenlightenment_cb
    hv_reenlightenment_cb = NULL
    hv_vp_assist_page = NULL
    hv_vp_index = NULL
    hv_max_vp_index = 0
    hv_hypercall_pg = NULL

    if not x86_hyper_type_ms_hyperv:
        return

    # both are indispensable
    required_msrs = HV_X64_MSR_HYPERCALL_AVAILABLE | \
        HV_X64_MSR_VP_INDEX_AVAILABLE

    if (ms_hyperv.features & required_msrs) != required_msrs:
        return

    # C- alloc_percpu(), kmalloc_array(): hyperv_pcpu_input_arg has its place in asm/percpu.h
    # C+ what kmalloc_array() computes
    hv_vp_index = <u32 *>kmalloc(num_possible_cpus() * sizeof(u32), GFP_KERNEL)
    if not hv_vp_index:
        return

    for i in range(num_possible_cpus()):
        hv_vp_index[i] = <u32>VP_INVAL

    # C~ sizeof(*hv_vp_assist_page): the type by name
    hv_vp_assist_page = <hv_vp_assist_page_t **>kcalloc(
        num_possible_cpus(), sizeof(hv_vp_assist_page_t *), GFP_KERNEL)
    if not hv_vp_assist_page:
        ms_hyperv.hints &= ~<u32>HV_X64_ENLIGHTENED_VMCS_RECOMMENDED
        hyperv_init_free_vp_index()
        return

    cpuhp = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, hv_cpu_init, hv_cpu_die)
    if cpuhp < 0:
        hyperv_init_free_vp_assist_page()
        return

    # Who is speaking comes first: without it Hyper-V enables no hypercall page.
    guest_id = generate_guest_id(0, LINUX_VERSION_CODE, 0)
    wrmsrl(HV_X64_MSR_GUEST_OS_ID, guest_id)

    hv_hypercall_pg = __vmalloc(4096, GFP_KERNEL)
    if hv_hypercall_pg == NULL:
        wrmsrl(HV_X64_MSR_GUEST_OS_ID, 0)
        # C~ goto remove_cpuhp_state, the union, the APIC, the clock sources: what the label does
        # stands here; no APIC, no clock
        cpuhp_remove_state(CPUHP_AP_ONLINE_DYN)
        hyperv_init_free_vp_assist_page()
        return

    rdmsrl(HV_X64_MSR_HYPERCALL, &hypercall_msr)
    hypercall_msr = (hypercall_msr & 0xfff) | HV_X64_MSR_HYPERCALL_ENABLE | \
        (vmalloc_to_pfn(hv_hypercall_pg) << HV_X64_MSR_HYPERCALL_PAGE_ADDRESS_SHIFT)
    # Nothing writes these again after a suspend (erratum: resume_msrs).
    wrmsrl(HV_X64_MSR_HYPERCALL, hypercall_msr)


cdef void hyperv_cleanup() noexcept nogil:
    # C~ the union: the MSR as a number
    cdef u64 hypercall_msr

    # Hyper-V disables the hypercall page with the identity.
    wrmsrl(HV_X64_MSR_GUEST_OS_ID, 0)

    # C~ the union: the MSR as a number
    hypercall_msr = 0
    wrmsrl(HV_X64_MSR_HYPERCALL, hypercall_msr)

    hypercall_msr = 0
    wrmsrl(HV_X64_MSR_REFERENCE_TSC, hypercall_msr)


cdef void hyperv_init_free_vp_assist_page() noexcept nogil:
    global hv_vp_assist_page
    kfree(hv_vp_assist_page)
    hv_vp_assist_page = NULL
    hyperv_init_free_vp_index()


cdef void hyperv_init_free_vp_index() noexcept nogil:
    global hv_vp_index
    kfree(hv_vp_index)
    hv_vp_index = NULL


cdef void hyperv_shutdown() noexcept nogil:
    # C+ the machine is switched off: what a power cycle would forget is given back here
    cdef int i

    if hv_hypercall_pg:
        for i in range(num_possible_cpus()):
            if per_cpu_ptr(hyperv_pcpu_input_arg, i)[0] == NO_PAGE_ADDRESS:
                per_cpu_ptr(hyperv_pcpu_input_arg, i)[0] = NULL
        cpuhp_remove_state(CPUHP_AP_ONLINE_DYN)
        vfree_pages(hv_hypercall_pg)
    if hv_vp_assist_page:
        for i in range(num_possible_cpus()):
            vfree_pages(hv_vp_assist_page[i])
        hyperv_init_free_vp_assist_page()


# C: arch/x86/include/asm/mshyperv.h
# C~ the call of the hypercall page: registers go to the virtual processor, which executes VMCALL
cdef u64 hv_do_hypercall(u64 control, void *input, void *output) noexcept nogil:
    cdef u64 status

    if not hv_hypercall_pg:
        return <u64>0xffffffffffffffff
    if hv_vmcall(control, __pa(input) if input else 0, __pa(output) if output else 0,
                 &status) != INSN_OK:
        return <u64>0xffffffffffffffff
    return status


# C: arch/x86/hyperv/nested.c
cdef int hyperv_flush_guest_mapping(u64 as_) noexcept nogil:
    # C~ the structure of the input: two u64, by index
    cdef u64 *flush
    cdef u64 status
    cdef ulong flags
    cdef int ret = -ENOTSUPP

    if not hv_hypercall_pg:
        # C- goto fault: the label returns
        # C+ what the label does
        return ret

    local_irq_save(flags)

    # C~ flush_pcpu: used once
    flush = <u64 *>this_cpu_ptr(hyperv_pcpu_input_arg)[0]

    if unlikely(not flush):
        local_irq_restore(flags)
        # C~ goto fault, the input: the label returns; by index below
        return ret

    # C+ what a store does where there is no page (erratum: input_page), and the input by index
    check_canonical(<ulong>flush)
    flush[0] = as_
    flush[1] = 0

    status = hv_do_hypercall(HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE, flush, NULL)
    local_irq_restore(flags)

    if not (status & HV_HYPERCALL_RESULT_MASK):
        ret = 0

    # C- fault, the tracepoint: nothing jumps to it; no tracing
    return ret
