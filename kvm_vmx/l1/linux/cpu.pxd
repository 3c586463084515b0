# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport task_struct
from kvm_vmx.abi.types cimport clear_bit, set_bit, test_bit, u8, u64, ulong
from kvm_vmx.abi.virt_cpu cimport phys_mem, virt_cpu

cdef extern from "linux/cpu.h" nogil:
    ctypedef struct percpu_area "struct percpu_area":
        virt_cpu *virt_cpu
        task_struct *current_task
        int cpu_number
        int irqs_disabled
        int preempt_count
        ulong page_offset_base
        void *hyperv_pcpu_input_arg

    ctypedef struct cpu_binding "struct cpu_binding":
        int cpu
        ulong saved_gs
        task_struct *displaced

# A thread that sleeps: the CPU that it comes back to, and how often it had taken it.
ctypedef struct cpu_sleeper:
    int cpu
    int depth
    task_struct *task

cdef enum:
    MAX_CPUS = 4096

    # Hotplug states in v4.19's order: KVM starts before the Hyper-V assist page is there, and
    # stops after it has gone (erratum: offline_order).
    CPUHP_AP_KVM_STARTING = 0
    CPUHP_AP_ONLINE_DYN = 1
    NR_CPUHP_STATES = 2

ctypedef struct cpumask_t:
    ulong bits[64]      # a bit for each of MAX_CPUS


cdef inline void cpumask_set_cpu(unsigned int cpu, cpumask_t *dstp) noexcept nogil:
    set_bit(cpu, dstp.bits)


cdef inline void cpumask_clear_cpu(int cpu, cpumask_t *dstp) noexcept nogil:
    clear_bit(cpu, dstp.bits)


cdef inline bint cpumask_test_cpu(int cpu, cpumask_t *cpumask) noexcept nogil:
    return test_bit(cpu, cpumask.bits)


# Another CPU that is online, nr_cpu_ids() where there is none.
cdef inline unsigned int cpu_online_any_but(int cpu) noexcept nogil:
    cdef int i

    for i in range(nr_cpu_ids()):
        if cpu_online(i) and i != cpu:
            return i
    return nr_cpu_ids()

ctypedef void (*smp_call_func_t)(void *info) noexcept nogil
ctypedef int (*cpuhp_callback_t)(unsigned int cpu) noexcept nogil

cdef int nr_cpu_ids() noexcept nogil
cdef bint cpu_possible(int cpu) noexcept nogil
cdef bint cpu_online(int cpu) noexcept nogil
cdef bint cpu_active(int cpu) noexcept nogil
cdef int num_possible_cpus() noexcept nogil
cdef int num_online_cpus() noexcept nogil

cdef int cpus_init(virt_cpu **cpus, int possible, int online, const phys_mem *mem, u8 *vmalloc_window) noexcept nogil
cdef void cpus_exit() noexcept nogil
cdef void set_traps(bint vmcall, bint cpuid) noexcept nogil
cdef void set_fsgsbase(bint has_it) noexcept nogil
cdef void perf_guest_events(u64 host, u64 guest) noexcept nogil
cdef int cpu_bind(int cpu, task_struct *task, cpu_binding *binding) noexcept nogil
cdef int cpu_hold(int cpu, task_struct *task, cpu_binding *binding) noexcept nogil
cdef void cpu_unbind(cpu_binding *binding) noexcept nogil
cdef void cpu_unbind_oops(cpu_binding *binding) noexcept nogil
cdef bint take_cpu(int cpu) noexcept nogil
cdef void give_cpu(int cpu) noexcept nogil
cdef void serve_calls(int cpu) noexcept nogil
cdef void cpu_sleep(cpu_sleeper *sleeper) noexcept nogil
cdef void cpu_wake(cpu_sleeper *sleeper) noexcept nogil
cdef percpu_area *cpu_area(int cpu) noexcept nogil

cdef void smp_send_reschedule(int cpu) noexcept nogil
cdef int smp_call_function_single(int cpu, smp_call_func_t func, void *info, int wait) noexcept nogil
cdef int on_each_cpu(smp_call_func_t func, void *info, int wait) noexcept nogil
cdef void do_IRQ(u8 vector) noexcept nogil
cdef void alloc_intr_gate(u8 vector, void (*handler)() noexcept nogil) noexcept nogil
cdef void set_debug_preempt(bint on) noexcept nogil
cdef int debug_smp_processor_id() noexcept nogil

cdef int cpuhp_setup_state(int state, cpuhp_callback_t startup, cpuhp_callback_t teardown) noexcept nogil
cdef int cpuhp_setup_state_nocalls(int state, cpuhp_callback_t startup, cpuhp_callback_t teardown) noexcept nogil
cdef void cpuhp_remove_state(int state) noexcept nogil
cdef void cpuhp_remove_state_nocalls(int state) noexcept nogil
cdef void cpus_read_lock() noexcept nogil
cdef void cpus_read_unlock() noexcept nogil
cdef bint cpus_write_trylock() noexcept nogil
cdef void cpus_write_unlock() noexcept nogil
cdef int cpu_up(int cpu) noexcept nogil
cdef int cpu_down(int cpu) noexcept nogil
