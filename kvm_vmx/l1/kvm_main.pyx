# SPDX-License-Identifier: GPL-2.0-only
# C: virt/kvm/kvm_main.c
from kvm_vmx.abi.linux cimport (
    BUG_ON, GFP_KERNEL, WARN_ON, __GFP_ZERO, get_cpu, pr_info, preempt_disable,
    preempt_enable, put_cpu, raw_spin_is_locked, spin_lock, spin_unlock, spinlock_t)
from kvm_vmx.abi.types cimport (
    EBUSY, EEXIST, EINVAL, ENOMEM, smp_mb, smp_mb__before_atomic, smp_wmb, u8, u64, ulong)
from kvm_vmx.l1.kvm_cache_regs cimport kvm_make_request
from kvm_vmx.l1.kvm_host cimport (
    EXITING_GUEST_MODE, IN_GUEST_MODE, KVM_MAX_VCPUS, KVM_REQ_TLB_FLUSH, KVM_REQUEST_WAIT,
    OUTSIDE_GUEST_MODE, kvm_run_t, kvm_t, kvm_vcpu_t)
from kvm_vmx.l1.linux.cpu cimport (
    CPUHP_AP_KVM_STARTING, MAX_CPUS, cpu_online, cpuhp_remove_state_nocalls,
    cpuhp_setup_state_nocalls, nr_cpu_ids, num_possible_cpus, on_each_cpu, smp_call_function_single)
from kvm_vmx.l1.linux.reboot cimport (
    NOTIFY_OK, notifier_block, register_reboot_notifier, register_syscore_ops, syscore_ops,
    unregister_reboot_notifier, unregister_syscore_ops)
from kvm_vmx.l1.linux.mm cimport (
    __get_free_page, free_page, kcalloc, kfree, kzalloc)
from kvm_vmx.l1.mmu cimport build_guest_memory, free_guest_memory
from kvm_vmx.l1.x86 cimport (
    kvm_arch_boot_data, kvm_arch_check_processor_compat, kvm_arch_exit, kvm_arch_flush_remote_tlb,
    kvm_arch_hardware_disable, kvm_arch_hardware_enable, kvm_arch_hardware_setup,
    kvm_arch_hardware_unsetup, kvm_arch_init, kvm_arch_init_vm, kvm_arch_vcpu_create,
    kvm_arch_vcpu_destroy, kvm_arch_vcpu_init, kvm_arch_vcpu_load, kvm_arch_vcpu_put,
    kvm_arch_vcpu_postcreate, kvm_arch_vcpu_setup, kvm_arch_vcpu_uninit, kvm_free_vcpus, kvm_x86_ops)
from libc.string cimport memset

cdef extern from "asm/percpu.h" nogil:
    int raw_smp_processor_id()

cdef extern from "linux/cpu.h" nogil:
    """
    /* all modules see it through vmlinux, and this one alone sets it */
    #define kvm_rebooting (((struct vmlinux *)this_cpu_read(vmlinux))->kvm_rebooting)
    """
    int kvm_rebooting

cdef extern from *:
    int cmpxchg "__sync_val_compare_and_swap"(int *ptr, int old, int new) noexcept nogil

cdef spinlock_t kvm_count_lock = 0
cdef u8 *cpus_hardware_enabled
cdef int hardware_enable_failed
cdef unsigned int kvm_vcpu_cache_size


cdef notifier_block kvm_reboot_notifier
cdef syscore_ops kvm_syscore_ops


# Whom the thread that runs as a CPU has to tell that its time slice is over, and when it is back.
cdef kvm_vcpu_t *preempt_notifiers[MAX_CPUS]


cdef void preempt_notifier_register(kvm_vcpu_t *vcpu) noexcept nogil:
    # C+ stands for the scheduler's list: a thread runs one vCPU at a time
    preempt_notifiers[raw_smp_processor_id()] = vcpu


cdef void preempt_notifier_unregister(kvm_vcpu_t *vcpu) noexcept nogil:
    # C+ stands for the scheduler's list: a thread runs one vCPU at a time
    preempt_notifiers[raw_smp_processor_id()] = NULL


cdef bint preempt_schedule() noexcept nogil:
    # C+ another thread takes its turn on this CPU, and has had it; whether there was whom to tell
    cdef int cpu = raw_smp_processor_id()
    cdef kvm_vcpu_t *vcpu = preempt_notifiers[cpu]

    if vcpu == NULL:
        return False
    kvm_sched_out(vcpu)
    kvm_sched_in(vcpu, cpu)
    return True


cdef void vcpu_load(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int cpu = get_cpu()

    preempt_notifier_register(vcpu)
    kvm_arch_vcpu_load(vcpu, cpu)
    put_cpu()


cdef void vcpu_put(kvm_vcpu_t *vcpu) noexcept nogil:
    preempt_disable()
    kvm_arch_vcpu_put(vcpu)
    preempt_notifier_unregister(vcpu)
    preempt_enable()


cdef int kvm_vcpu_exiting_guest_mode(kvm_vcpu_t *vcpu) noexcept nogil:
    # cmpxchg() is a full barrier itself
    smp_mb__before_atomic()
    return cmpxchg(&vcpu.mode, IN_GUEST_MODE, EXITING_GUEST_MODE)


cdef bint kvm_request_needs_ipi(kvm_vcpu_t *vcpu, unsigned int req) noexcept nogil:
    cdef int mode = kvm_vcpu_exiting_guest_mode(vcpu)

    # A vCPU that is on its way out may still use what it has read: it is waited for too.
    if req & KVM_REQUEST_WAIT:
        return mode != OUTSIDE_GUEST_MODE

    return mode == IN_GUEST_MODE


cdef void ack_flush(void *_completed) noexcept nogil:
    pass


# C~ kvm_make_vcpus_request_mask() and kvm_kick_many_cpus(): an IPI as each is found, not to a mask
# of CPUs at the end
cdef bint kvm_make_all_cpus_request(kvm_t *kvm, unsigned int req) noexcept nogil:
    cdef int i, cpu, me
    cdef kvm_vcpu_t *vcpu
    cdef bint called = False

    me = get_cpu()

    for i in range(kvm.online_vcpus):
        vcpu = kvm.vcpus[i]
        kvm_make_request(req, vcpu)
        cpu = vcpu.cpu

        if cpu != -1 and cpu != me and kvm_request_needs_ipi(vcpu, req):
            smp_call_function_single(cpu, ack_flush, NULL, 0)
            called = True

    put_cpu()

    return called


cdef void kvm_flush_remote_tlbs(kvm_t *kvm) noexcept nogil:
    # C- tlbs_dirty: no shadow page is synchronised lazily
    # C+ the order that the acquiring load gives
    smp_mb()
    if not kvm_arch_flush_remote_tlb(kvm) or kvm_make_all_cpus_request(kvm, KVM_REQ_TLB_FLUSH):
        # C~ the statistics, tlbs_dirty: a counter of the VM; no shadow page is synchronised lazily
        kvm.remote_tlb_flush += 1


# C+ stands for kvm_vcpu_cache: what no device and no guest can reach, since there are pointers in it
cdef void *kvm_vcpu_cache_zalloc() noexcept nogil:
    return kzalloc(kvm_vcpu_cache_size, GFP_KERNEL)


# C+ stands for kvm_vcpu_cache, likewise
cdef void kvm_vcpu_cache_free(void *vcpu) noexcept nogil:
    kfree(vcpu)


# C~ preemption notifiers, wait queues, spin-loop hints: a vCPU runs to its end on its thread
cdef int kvm_vcpu_init(kvm_vcpu_t *vcpu, kvm_t *kvm, unsigned int id) noexcept nogil:
    cdef int r

    vcpu.cpu = -1
    vcpu.kvm = kvm
    vcpu.vcpu_id = id

    vcpu.run = <kvm_run_t *>__get_free_page(GFP_KERNEL | __GFP_ZERO)
    if not vcpu.run:
        return -ENOMEM

    vcpu.preempted = False

    r = kvm_arch_vcpu_init(vcpu)
    if r < 0:
        free_page(<ulong>vcpu.run)
        return r
    return 0


cdef void kvm_vcpu_uninit(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- put_pid(): a vCPU is a thread of this process
    kvm_arch_vcpu_uninit(vcpu)
    free_page(<ulong>vcpu.run)


# C~ memory slots, SRCU, buses, MMU notifiers: the memory is all there from the start
cdef kvm_t *kvm_create_vm(u64 memory_size, int *err) noexcept nogil:
    cdef int r
    cdef kvm_t *kvm = kvm_x86_ops.vm_alloc()

    if not kvm:
        err[0] = -ENOMEM
        return NULL

    r = kvm_arch_init_vm(kvm)
    if not r:
        r = hardware_enable_all()
    if r:
        kvm_x86_ops.vm_free(kvm)
        err[0] = r
        return NULL

    r = build_guest_memory(kvm, memory_size)
    if r:
        hardware_disable_all()
        kvm_x86_ops.vm_free(kvm)
        err[0] = r
        return NULL

    return kvm


# C~ memory slots, SRCU, buses, MMU notifiers: there are the vCPUs and the memory to give back
cdef void kvm_destroy_vm(kvm_t *kvm) noexcept nogil:
    kvm_free_vcpus(kvm)
    free_guest_memory(kvm)
    kvm_x86_ops.vm_free(kvm)
    hardware_disable_all()


# C~ file descriptors, debugfs, the VM's mutex: a vCPU is handed to the caller, one at a time
cdef kvm_vcpu_t *kvm_vm_ioctl_create_vcpu(kvm_t *kvm, unsigned int id, int *err) noexcept nogil:
    cdef int r, i
    cdef kvm_vcpu_t *vcpu

    if id >= KVM_MAX_VCPUS:
        err[0] = -EINVAL
        return NULL

    if kvm.created_vcpus == KVM_MAX_VCPUS:
        err[0] = -EINVAL
        return NULL

    kvm.created_vcpus += 1

    vcpu = kvm_arch_vcpu_create(kvm, id, err)
    if not vcpu:
        kvm.created_vcpus -= 1
        return NULL

    r = kvm_arch_vcpu_setup(vcpu)
    if not r:
        for i in range(kvm.online_vcpus):
            if kvm.vcpus[i].vcpu_id == <int>id:
                r = -EEXIST
    if r:
        kvm_arch_vcpu_destroy(vcpu)
        kvm.created_vcpus -= 1
        err[0] = r
        return NULL

    # now that it is whole, it may be reached
    kvm.vcpus[kvm.online_vcpus] = vcpu
    smp_wmb()
    kvm.online_vcpus += 1
    kvm_arch_vcpu_postcreate(vcpu)
    return vcpu


cdef void hardware_enable_nolock(void *junk) noexcept nogil:
    cdef int cpu = raw_smp_processor_id()
    cdef int r

    global hardware_enable_failed
    if cpus_hardware_enabled[cpu]:
        return

    cpus_hardware_enabled[cpu] = 1

    r = kvm_arch_hardware_enable()

    if r:
        cpus_hardware_enabled[cpu] = 0
        hardware_enable_failed += 1
        pr_info("kvm: enabling virtualization on CPU%d failed\n", cpu)


cdef int kvm_starting_cpu(unsigned int cpu) noexcept nogil:
    spin_lock(&kvm_count_lock)
    if kvm_usage_count:
        hardware_enable_nolock(NULL)
    spin_unlock(&kvm_count_lock)
    return 0


cdef void hardware_disable_nolock(void *junk) noexcept nogil:
    cdef int cpu = raw_smp_processor_id()

    if not cpus_hardware_enabled[cpu]:
        return
    cpus_hardware_enabled[cpu] = 0
    kvm_arch_hardware_disable()


cdef int kvm_dying_cpu(unsigned int cpu) noexcept nogil:
    spin_lock(&kvm_count_lock)
    if kvm_usage_count:
        hardware_disable_nolock(NULL)
    spin_unlock(&kvm_count_lock)
    return 0


cdef void hardware_disable_all_nolock() noexcept nogil:
    global kvm_usage_count
    BUG_ON(not kvm_usage_count)

    kvm_usage_count -= 1
    if not kvm_usage_count:
        on_each_cpu(hardware_disable_nolock, NULL, 1)


cdef void hardware_disable_all() noexcept nogil:
    spin_lock(&kvm_count_lock)
    hardware_disable_all_nolock()
    spin_unlock(&kvm_count_lock)


cdef int hardware_enable_all() noexcept nogil:
    cdef int r = 0

    global kvm_usage_count, hardware_enable_failed
    spin_lock(&kvm_count_lock)

    kvm_usage_count += 1
    if kvm_usage_count == 1:
        hardware_enable_failed = 0
        on_each_cpu(hardware_enable_nolock, NULL, 1)

        if hardware_enable_failed:
            hardware_disable_all_nolock()
            r = -EBUSY

    spin_unlock(&kvm_count_lock)

    return r


cdef int kvm_reboot(notifier_block *notifier, ulong val, void *v) noexcept nogil:
    global kvm_rebooting
    pr_info("kvm: exiting hardware virtualization\n")
    kvm_rebooting = True
    on_each_cpu(hardware_disable_nolock, NULL, 1)
    return NOTIFY_OK


kvm_reboot_notifier.notifier_call = kvm_reboot
kvm_reboot_notifier.priority = 0


cdef int kvm_suspend() noexcept nogil:
    if kvm_usage_count:
        hardware_disable_nolock(NULL)
    return 0


cdef void kvm_resume() noexcept nogil:
    if kvm_usage_count:
        WARN_ON(raw_spin_is_locked(&kvm_count_lock))
        hardware_enable_nolock(NULL)


kvm_syscore_ops.suspend = kvm_suspend
kvm_syscore_ops.resume = kvm_resume


cdef void kvm_boot_data() noexcept nogil:
    # C+ kvm.ko as a boot finds it, whatever a machine that hit a BUG has left behind
    global kvm_count_lock, cpus_hardware_enabled, kvm_usage_count
    kvm_count_lock = 0
    cpus_hardware_enabled = NULL
    kvm_usage_count = 0
    memset(preempt_notifiers, 0, sizeof(preempt_notifiers))
    kvm_arch_boot_data()


# C~ the notifier: the vCPU itself
cdef void kvm_sched_in(kvm_vcpu_t *vcpu, int cpu) noexcept nogil:
    if vcpu.preempted:
        vcpu.preempted = False

    # C- kvm_arch_sched_in(): nothing grows the PLE window
    kvm_arch_vcpu_load(vcpu, cpu)


# C~ the notifier, the next thread, TASK_RUNNING: the vCPU itself; nothing here sleeps in between
cdef void kvm_sched_out(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.preempted = True
    kvm_arch_vcpu_put(vcpu)


# C~ caches, the character device, debugfs, VFIO: vCPUs are plain objects, and each label is a
# function of its own
cdef int kvm_init(void *opaque, unsigned int vcpu_size, unsigned int vcpu_align,
                  void *module) noexcept nogil:
    cdef int r
    cdef int cpu

    global cpus_hardware_enabled, kvm_vcpu_cache_size, kvm_usage_count
    r = kvm_arch_init(opaque)
    if r:
        return r

    cpus_hardware_enabled = <u8 *>kcalloc(num_possible_cpus(), 1, GFP_KERNEL)
    if not cpus_hardware_enabled:
        kvm_arch_exit()
        return -ENOMEM

    r = kvm_arch_hardware_setup()
    if r < 0:
        return kvm_init_out_free_0a(r)

    for cpu in range(nr_cpu_ids()):
        if not cpu_online(cpu):
            continue
        smp_call_function_single(cpu, kvm_arch_check_processor_compat, &r, 1)
        if r < 0:
            return kvm_init_out_free_1(r)

    r = cpuhp_setup_state_nocalls(CPUHP_AP_KVM_STARTING, kvm_starting_cpu, kvm_dying_cpu)
    if r:
        return kvm_init_out_free_1(r)
    register_reboot_notifier(&kvm_reboot_notifier)

    kvm_vcpu_cache_size = vcpu_size
    kvm_usage_count = 0

    register_syscore_ops(&kvm_syscore_ops)

    return 0


cdef int kvm_init_out_free_1(int r) noexcept nogil:
    kvm_arch_hardware_unsetup()
    return kvm_init_out_free_0a(r)


cdef int kvm_init_out_free_0a(int r) noexcept nogil:
    global cpus_hardware_enabled
    kfree(cpus_hardware_enabled)
    cpus_hardware_enabled = NULL
    kvm_arch_exit()
    return r


# C~ the character device, debugfs, VFIO: there is no user space behind a file
cdef void kvm_exit() noexcept nogil:
    global cpus_hardware_enabled
    unregister_syscore_ops(&kvm_syscore_ops)
    unregister_reboot_notifier(&kvm_reboot_notifier)
    cpuhp_remove_state_nocalls(CPUHP_AP_KVM_STARTING)
    on_each_cpu(hardware_disable_nolock, NULL, 1)
    kvm_arch_hardware_unsetup()
    kvm_arch_exit()
    kfree(cpus_hardware_enabled)
    cpus_hardware_enabled = NULL
