# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/hyperv/hv_init.c
from kvm_vmx.abi.asm cimport HYPERV_REENLIGHTENMENT_VECTOR, hv_vmcall, rdmsrl, wrmsrl
from kvm_vmx.abi.hyperv_tlfs cimport (
    HV_FEATURE_FREQUENCY_MSRS_AVAILABLE, HV_HYPERCALL_RESULT_MASK, HV_LINUX_VENDOR_ID, HV_X64_ENLIGHTENED_VMCS_RECOMMENDED,
    HV_X64_ACCESS_FREQUENCY_MSRS, HV_X64_ACCESS_REENLIGHTENMENT,
    HV_X64_MSR_GUEST_OS_ID, HV_X64_MSR_HYPERCALL, HV_X64_MSR_HYPERCALL_AVAILABLE,
    HV_X64_MSR_REENLIGHTENMENT_CONTROL, HV_X64_MSR_REFERENCE_TSC,
    HV_X64_MSR_TSC_EMULATION_CONTROL, HV_X64_MSR_TSC_EMULATION_STATUS,
    HV_X64_MSR_VP_ASSIST_PAGE, HV_X64_MSR_VP_ASSIST_PAGE_ADDRESS_SHIFT,
    HV_X64_MSR_VP_ASSIST_PAGE_ENABLE, HV_X64_MSR_VP_INDEX, HV_X64_MSR_VP_INDEX_AVAILABLE,
    HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE, hv_guest_mapping_flush,
    hv_reenlightenment_control, hv_tsc_emulation_control, hv_tsc_emulation_status,
    hv_x64_msr_hypercall_contents)
from kvm_vmx.abi.hyperv_tlfs cimport hv_vp_assist_page as hv_vp_assist_page_t
from kvm_vmx.abi.linux cimport (
    BUG_ON, GFP_KERNEL, NO_PAGE_ADDRESS, __pa, check_canonical, local_irq_restore, local_irq_save,
    page_address, pr_warn, vmalloc_to_pfn)
from kvm_vmx.abi.types cimport ENOTSUPP, u32, u64, ulong, unlikely, wmb
from kvm_vmx.abi.virt_cpu cimport INSN_OK
from kvm_vmx.l1.linux.cpu cimport (
    CPUHP_AP_ONLINE_DYN, cpu_online_any_but, cpuhp_remove_state, cpuhp_setup_state, nr_cpu_ids,
    num_possible_cpus)
from kvm_vmx.l1.linux.cpu cimport debug_smp_processor_id as smp_processor_id
from kvm_vmx.l1.linux.mm cimport (
    __vmalloc, alloc_page, free_page, kcalloc, kfree, kmalloc_array, vfree_pages)
from kvm_vmx.l1.mshyperv cimport ms_hyperv, x86_hyper_type_ms_hyperv

from libc.string cimport memset

cdef extern from *:
    """
    #define trace_hyperv_nested_flush_guest_mapping(as, ret) ((void)0)
    """
    void trace_hyperv_nested_flush_guest_mapping(u64 as_, int ret) noexcept nogil

cdef extern from "asm/percpu.h" nogil:
    void *hyperv_pcpu_input_arg
    void **per_cpu_ptr(void *var, int cpu)
    void **this_cpu_ptr(void *var)

cdef enum:
    VP_INVAL = 0xffffffff
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

    global hv_max_vp_index
    input_arg = <void **>this_cpu_ptr(hyperv_pcpu_input_arg)
    # The address of no page is not NULL: it leads nowhere (erratum: input_page).
    input_arg[0] = page_address(alloc_page(GFP_KERNEL))

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


cdef void (*hv_reenlightenment_cb)() noexcept nogil


# C~ the work: the work runs at once
cdef void hv_reenlightenment_notify() noexcept nogil:
    cdef hv_tsc_emulation_status emu_status

    rdmsrl(HV_X64_MSR_TSC_EMULATION_STATUS, <u64 *>&emu_status)

    # whoever's TSC is not emulated has nothing to catch up with
    if hv_reenlightenment_cb and emu_status.inprogress:
        hv_reenlightenment_cb()


cdef void hyperv_stop_tsc_emulation() noexcept nogil:
    # C- freq: nothing here needs the frequency
    cdef hv_tsc_emulation_status emu_status

    rdmsrl(HV_X64_MSR_TSC_EMULATION_STATUS, <u64 *>&emu_status)
    emu_status.inprogress = 0
    wrmsrl(HV_X64_MSR_TSC_EMULATION_STATUS, (<u64 *>&emu_status)[0])
    # C- the TSC's frequency: nothing here needs the frequency


cdef inline bint hv_reenlightenment_available() noexcept nogil:
    return ms_hyperv.features & HV_X64_ACCESS_FREQUENCY_MSRS and \
        ms_hyperv.misc_features & HV_FEATURE_FREQUENCY_MSRS_AVAILABLE and \
        ms_hyperv.features & HV_X64_ACCESS_REENLIGHTENMENT


# C~ the registers, the work: the work runs at once
cdef void hyperv_reenlightenment_intr() noexcept nogil:
    hv_reenlightenment_notify()


cdef void set_hv_tscchange_cb(void (*cb)() noexcept nogil) noexcept nogil:
    global hv_reenlightenment_cb
    cdef hv_reenlightenment_control re_ctrl
    # The thread may go on on another CPU before this is used (erratum: preemptible_target).
    # C~ re_ctrl: spelled out, as its members further down
    cdef int cpu = smp_processor_id()
    cdef hv_tsc_emulation_control emu_ctrl
    # C- emu_ctrl: its members are set further down

    if not hv_reenlightenment_available():
        pr_warn("Hyper-V: reenlightenment support is unavailable\n")
        return

    hv_reenlightenment_cb = cb

    wmb()

    # Where hyperv_init() has given up there is no table to look into (erratum: no_vp_index).
    # C+ a table that is not there is a null pointer that the kernel follows; the members
    BUG_ON(hv_vp_index == NULL)
    memset(&re_ctrl, 0, sizeof(re_ctrl))
    re_ctrl.vector = HYPERV_REENLIGHTENMENT_VECTOR
    re_ctrl.enabled = 1
    re_ctrl.target_vp = hv_vp_index[cpu]
    memset(&emu_ctrl, 0, sizeof(emu_ctrl))
    emu_ctrl.enabled = 1
    wrmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, (<u64 *>&re_ctrl)[0])
    wrmsrl(HV_X64_MSR_TSC_EMULATION_CONTROL, (<u64 *>&emu_ctrl)[0])


cdef void clear_hv_tscchange_cb() noexcept nogil:
    global hv_reenlightenment_cb
    cdef hv_reenlightenment_control re_ctrl

    if not hv_reenlightenment_available():
        return

    rdmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, <u64 *>&re_ctrl)
    re_ctrl.enabled = 0
    wrmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, (<u64 *>&re_ctrl)[0])

    hv_reenlightenment_cb = NULL


cdef int hv_cpu_die(unsigned int cpu) noexcept nogil:
    cdef hv_reenlightenment_control re_ctrl
    cdef unsigned int new_cpu
    cdef ulong flags
    cdef void **input_arg
    cdef void *input_pg = NULL

    local_irq_save(flags)
    input_arg = <void **>this_cpu_ptr(hyperv_pcpu_input_arg)
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

    rdmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, <u64 *>&re_ctrl)
    if re_ctrl.target_vp == hv_vp_index[cpu]:
        # another one that stays, if there is any
        new_cpu = cpu_online_any_but(cpu)

        # C+ where none stays the kernel reads behind its table
        if <int>new_cpu < nr_cpu_ids():
            re_ctrl.target_vp = hv_vp_index[new_cpu]
            wrmsrl(HV_X64_MSR_REENLIGHTENMENT_CONTROL, (<u64 *>&re_ctrl)[0])

    return 0


cdef void hyperv_init() noexcept nogil:
    cdef u64 guest_id, required_msrs
    cdef hv_x64_msr_hypercall_contents hypercall_msr
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

    # C- 2 statements: alloc_percpu(): hyperv_pcpu_input_arg has its place in asm/percpu.h
    hv_vp_index = <u32 *>kmalloc_array(num_possible_cpus(), sizeof(hv_vp_index[0]),
                                       GFP_KERNEL)
    if not hv_vp_index:
        return

    for i in range(num_possible_cpus()):
        hv_vp_index[i] = <u32>VP_INVAL

    hv_vp_assist_page = <hv_vp_assist_page_t **>kcalloc(
        num_possible_cpus(), sizeof(hv_vp_assist_page[0]), GFP_KERNEL)
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
        hyperv_init_remove_cpuhp_state(cpuhp)
        return

    rdmsrl(HV_X64_MSR_HYPERCALL, &hypercall_msr.as_uint64)
    hypercall_msr.enable = 1
    hypercall_msr.guest_physical_address = vmalloc_to_pfn(hv_hypercall_pg)
    # Nothing writes these again after a suspend (erratum: resume_msrs).
    wrmsrl(HV_X64_MSR_HYPERCALL, hypercall_msr.as_uint64)
    # C- the APIC, the clock sources: no APIC in the kernel; out of scope, clocks and timers
    return


cdef void hyperv_cleanup() noexcept nogil:
    cdef hv_x64_msr_hypercall_contents hypercall_msr

    # Hyper-V disables the hypercall page with the identity.
    wrmsrl(HV_X64_MSR_GUEST_OS_ID, 0)

    hypercall_msr.as_uint64 = 0
    wrmsrl(HV_X64_MSR_HYPERCALL, hypercall_msr.as_uint64)

    hypercall_msr.as_uint64 = 0
    wrmsrl(HV_X64_MSR_REFERENCE_TSC, hypercall_msr.as_uint64)


cdef void hyperv_init_remove_cpuhp_state(int cpuhp) noexcept nogil:
    cpuhp_remove_state(cpuhp)
    hyperv_init_free_vp_assist_page()


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
    cdef hv_guest_mapping_flush **flush_pcpu
    cdef hv_guest_mapping_flush *flush
    cdef u64 status
    cdef ulong flags
    cdef int ret = -ENOTSUPP

    if not hv_hypercall_pg:
        return hyperv_flush_guest_mapping_fault(as_, ret)

    local_irq_save(flags)

    flush_pcpu = <hv_guest_mapping_flush **>this_cpu_ptr(hyperv_pcpu_input_arg)

    flush = flush_pcpu[0]

    if unlikely(not flush):
        local_irq_restore(flags)
        return hyperv_flush_guest_mapping_fault(as_, ret)

    # C+ what a store does where there is no page (erratum: input_page)
    check_canonical(<ulong>flush)
    flush.address_space = as_
    flush.flags = 0

    status = hv_do_hypercall(HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE, flush, NULL)
    local_irq_restore(flags)

    if not (status & HV_HYPERCALL_RESULT_MASK):
        ret = 0

    return hyperv_flush_guest_mapping_fault(as_, ret)


cdef int hyperv_flush_guest_mapping_fault(u64 as_, int ret) noexcept nogil:
    trace_hyperv_nested_flush_guest_mapping(as_, ret)
    return ret
