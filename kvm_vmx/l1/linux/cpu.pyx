# SPDX-License-Identifier: GPL-2.0-only
# CPUs: which exist, which thread runs as which, calls from one to another, hotplug.
from kvm_vmx.abi.asm cimport CALL_FUNCTION_VECTOR, LOCAL_TIMER_VECTOR, RESCHEDULE_VECTOR
from kvm_vmx.abi.linux cimport (
    BUG_ON, atomic_cmpxchg, atomic_read, atomic_set_release, pr_err, spin_lock, spin_lock_init,
    spin_unlock, spinlock_t, task_struct)
from kvm_vmx.abi.processor cimport MSR_CORE_PERF_GLOBAL_CTRL
from kvm_vmx.abi.types cimport EBUSY, EINVAL, ENOMEM, ENXIO, u8, u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport irq_raise, irq_take, phys_mem, virt_cpu
from kvm_vmx.l1.linux.extable cimport die, fixup_exception, stale_exit
from kvm_vmx.l1.linux.printk cimport log_emit, log_warn
from libc.errno cimport EPERM
from libc.stdlib cimport free
from libc.string cimport memset

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memptr, size_t alignment, size_t size)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "linux/cpu.h" nogil:
    """
    static struct vmlinux vmlinux_exports;
    static void area_init(struct percpu_area *area, int cpu, struct percpu_area *base,
                          struct virt_cpu *virt_cpu, const struct phys_mem *mem, u8 *vmalloc_window)
    {
        area->virt_cpu = virt_cpu;
        area->vmlinux = &vmlinux_exports;
        area->per_cpu_base = base;
        area->page_offset_base = (unsigned long)mem->base;
        area->vmalloc_base = (unsigned long)vmalloc_window;
        area->cpu_number = cpu;
    }
    static void set_perf_msr(unsigned int msr, u64 host, u64 guest, int nr)
    {
        vmlinux_exports.perf_msrs[0] = (struct perf_guest_switch_msr){ msr, host, guest };
        vmlinux_exports.nr_perf_msrs = nr;
    }
    static bool is_self(unsigned long thread) { return thread == (unsigned long)pthread_self(); }
    """
    ctypedef struct vmlinux_t "struct vmlinux":
        void (*emit)(int level, const char *text) noexcept nogil
        void (*warn)() noexcept nogil
        void (*oops)() noexcept nogil
        void (*service)() noexcept nogil
        ulong (*fixup_exception)(ulong ip) noexcept nogil
        void (*die)(ulong ip, u32 status) noexcept nogil
        void (*stale_exit)(ulong rip, ulong rsp) noexcept nogil
        int vmcall_traps
        int cpuid_traps
        int kvm_rebooting
        unsigned int boot
    vmlinux_t vmlinux_exports
    void area_init(percpu_area *area, int cpu, percpu_area *base, virt_cpu *virt_cpu,
                   const phys_mem *mem, u8 *vmalloc_window)
    void set_perf_msr(unsigned int msr, u64 host, u64 guest, int nr)
    bint is_self(ulong thread)
    ulong pthread_self()
    bint read_gs_base(bint fsgsbase, ulong *base)
    bint write_gs_base(bint fsgsbase, ulong base)
    void task_oops()
    task_struct *current
    int smp_processor_id()


ctypedef struct cpu_call:
    smp_call_func_t func
    void *info
    cpu_call *next
    int done

# Who runs as the CPU (0: nobody), how often it has taken it, and what others ask of it.
ctypedef struct cpu_slot:
    ulong owner
    int depth
    int bound           # how often its owner runs as it; 0 where it only made a call there
    cpu_call *calls
    u8 possible
    u8 online
    u8 active           # takes threads: all that are online but those on their way down

ctypedef struct hotplug_state:
    cpuhp_callback_t startup
    cpuhp_callback_t teardown

cdef cpu_slot slots[MAX_CPUS]
cdef percpu_area *areas = NULL
cdef int nr_cpus = 0
cdef spinlock_t slots_lock = 0
cdef bint fsgsbase = False       # the host lets user space write %gs by instruction
cdef hotplug_state states[NR_CPUHP_STATES]
cdef void (*gates[256])() noexcept nogil
cdef int hotplug_lock = 0           # how many threads count on the CPUs that are there, or -1: a writer
cdef ulong hotplug_writer = 0       # the thread that brings a CPU up or takes it down
cdef bint debug_preempt = False     # this kernel looks, as with CONFIG_DEBUG_PREEMPT


cdef int nr_cpu_ids() noexcept nogil:
    return nr_cpus


cdef bint cpu_possible(int cpu) noexcept nogil:
    return slots[cpu].possible


cdef bint cpu_online(int cpu) noexcept nogil:
    return slots[cpu].online


cdef bint cpu_active(int cpu) noexcept nogil:
    return slots[cpu].active


cdef int num_possible_cpus() noexcept nogil:
    return nr_cpus


cdef int num_online_cpus() noexcept nogil:
    cdef int n = 0, cpu

    for cpu in range(nr_cpus):
        n += slots[cpu].online
    return n


cdef int cpus_init(virt_cpu **cpus, int possible, int online, const phys_mem *mem,
                   u8 *vmalloc_window) noexcept nogil:
    cdef int cpu

    global areas, nr_cpus
    spin_lock_init(&slots_lock)
    if possible < 1 or possible > MAX_CPUS or online > possible:
        return -EINVAL
    if posix_memalign(<void **>&areas, 64, possible * sizeof(percpu_area)):
        return -ENOMEM
    memset(areas, 0, possible * sizeof(percpu_area))
    memset(slots, 0, sizeof(slots))
    memset(states, 0, sizeof(states))
    memset(gates, 0, sizeof(gates))
    vmlinux_exports.emit = log_emit
    vmlinux_exports.warn = log_warn
    vmlinux_exports.oops = task_oops
    vmlinux_exports.service = service_interrupts
    vmlinux_exports.fixup_exception = fixup_exception
    vmlinux_exports.die = die
    vmlinux_exports.stale_exit = stale_exit
    vmlinux_exports.kvm_rebooting = 0
    vmlinux_exports.boot += 1
    perf_guest_events(0, 0)
    for cpu in range(possible):
        area_init(&areas[cpu], cpu, areas, cpus[cpu], mem, vmalloc_window)
        slots[cpu].possible = 1
        slots[cpu].online = cpu < online
        slots[cpu].active = slots[cpu].online
    nr_cpus = possible
    return 0


cdef void set_traps(bint vmcall, bint cpuid) noexcept nogil:
    # Which of the two trap that do not everywhere.
    vmlinux_exports.vmcall_traps = vmcall
    vmlinux_exports.cpuid_traps = cpuid


cdef void set_fsgsbase(bint has_it) noexcept nogil:
    # Before anyone runs as a CPU.
    global fsgsbase
    fsgsbase = has_it


cdef void perf_guest_events(u64 host, u64 guest) noexcept nogil:
    # Stands in for perf: PERF_GLOBAL_CTRL of host and guest; the same for both is no switch.
    set_perf_msr(MSR_CORE_PERF_GLOBAL_CTRL, host, guest, host != guest)


cdef void cpus_exit() noexcept nogil:
    global areas, nr_cpus
    free(areas)
    areas = NULL
    nr_cpus = 0


cdef percpu_area *cpu_area(int cpu) noexcept nogil:
    return &areas[cpu]


cdef bint take_cpu(int cpu) noexcept nogil:
    # True where the CPU is now, or was already, this thread's.
    cdef bint taken = False

    spin_lock(&slots_lock)
    if slots[cpu].owner == 0 or is_self(slots[cpu].owner):
        slots[cpu].owner = pthread_self()
        slots[cpu].depth += 1
        taken = True
    spin_unlock(&slots_lock)
    return taken


cdef void give_cpu(int cpu) noexcept nogil:
    # Calls that came while the CPU was held run before it is let go: none is forgotten.
    cdef cpu_call *call

    while True:
        spin_lock(&slots_lock)
        call = slots[cpu].calls if slots[cpu].depth == 1 else NULL
        if not call:
            slots[cpu].depth -= 1
            if slots[cpu].depth == 0:
                slots[cpu].owner = 0
            spin_unlock(&slots_lock)
            return
        slots[cpu].calls = call.next
        spin_unlock(&slots_lock)
        run_as(cpu, call.func, call.info)
        finish_call(call)


cdef void finish_call(cpu_call *call) noexcept nogil:
    # The caller's stack holds the call: nothing of it may be touched after this.
    (<volatile_int *>&call.done)[0] = 1


cdef extern from *:
    """
    typedef volatile int volatile_int;
    """
    ctypedef int volatile_int


cdef void call_irqs_off(int cpu, smp_call_func_t func, void *info) noexcept nogil:
    # As an interrupt's return does, put back what was, whatever func has made of it.
    cdef int before = areas[cpu].irqs_disabled

    areas[cpu].irqs_disabled = 1
    func(info)
    areas[cpu].irqs_disabled = before


cdef void run_as(int cpu, smp_call_func_t func, void *info) noexcept nogil:
    # Call func with %gs on another CPU of this thread's, interrupts off there.
    cdef ulong saved_gs = <ulong>&areas[smp_processor_id()]
    cdef task_struct *task = current
    cdef task_struct *displaced = areas[cpu].current_task

    areas[cpu].current_task = task
    BUG_ON(not write_gs_base(fsgsbase, <ulong>&areas[cpu]))
    call_irqs_off(cpu, func, info)
    BUG_ON(not write_gs_base(fsgsbase, saved_gs))
    areas[cpu].current_task = displaced


cdef int cpu_bind(int cpu, task_struct *task, cpu_binding *binding) noexcept nogil:
    if cpu < 0 or cpu >= nr_cpus or not slots[cpu].active:
        return -ENXIO
    cdef int ret = cpu_hold(cpu, task, binding)

    if ret == 0 and not slots[cpu].active:
        cpu_unbind(binding)
        return -ENXIO
    return ret


cdef int cpu_hold(int cpu, task_struct *task, cpu_binding *binding) noexcept nogil:
    # As cpu_bind(), of a processor that may be offline: to be looked at, not to run the kernel.
    while not take_cpu(cpu):
        # who makes a call there is gone in a moment
        if slots[cpu].bound:
            return -EBUSY
        sched_yield()
    slots[cpu].bound += 1
    binding.cpu = cpu
    binding.displaced = areas[cpu].current_task if slots[cpu].depth > 1 else NULL
    areas[cpu].current_task = task
    if not read_gs_base(fsgsbase, &binding.saved_gs) or \
            not write_gs_base(fsgsbase, <ulong>&areas[cpu]):
        # what others have asked of the CPU meanwhile they do, or whoever is it next
        slots[cpu].bound -= 1
        areas[cpu].current_task = binding.displaced
        let_go(cpu)
        return -EPERM
    return 0


cdef void let_go(int cpu) noexcept nogil:
    spin_lock(&slots_lock)
    slots[cpu].depth -= 1
    if slots[cpu].depth == 0:
        slots[cpu].owner = 0
    spin_unlock(&slots_lock)


cdef void cpu_unbind(cpu_binding *binding) noexcept nogil:
    slots[binding.cpu].bound -= 1
    if binding.displaced:
        areas[binding.cpu].current_task = binding.displaced
    give_cpu(binding.cpu)
    write_gs_base(fsgsbase, binding.saved_gs)


cdef void cpu_unbind_oops(cpu_binding *binding) noexcept nogil:
    # After a BUG: whatever CPUs the thread had taken on the way are let go.
    cdef int cpu

    write_gs_base(fsgsbase, <ulong>&areas[binding.cpu])
    if is_self(hotplug_writer):
        cpus_write_unlock()
    for cpu in range(nr_cpus):
        if is_self(slots[cpu].owner):
            areas[cpu].irqs_disabled = 0
            areas[cpu].preempt_count = 0
            slots[cpu].depth = 1
            slots[cpu].bound = 0
            give_cpu(cpu)
    write_gs_base(fsgsbase, binding.saved_gs)


cdef void cpu_sleep(cpu_sleeper *sleeper) noexcept nogil:
    # The thread's CPU is anyone's until cpu_wake(), as it is where a kernel thread sleeps.
    cdef int cpu = smp_processor_id()

    sleeper.cpu = cpu
    sleeper.task = areas[cpu].current_task
    spin_lock(&slots_lock)
    sleeper.depth = slots[cpu].depth
    slots[cpu].depth = 0
    slots[cpu].owner = 0
    spin_unlock(&slots_lock)


cdef void cpu_wake(cpu_sleeper *sleeper) noexcept nogil:
    while not take_cpu(sleeper.cpu):
        sched_yield()
    slots[sleeper.cpu].depth = sleeper.depth
    areas[sleeper.cpu].current_task = sleeper.task


cdef void serve_calls(int cpu) noexcept nogil:
    cdef cpu_call *call

    while slots[cpu].calls:
        spin_lock(&slots_lock)
        call = slots[cpu].calls
        if call:
            slots[cpu].calls = call.next
        spin_unlock(&slots_lock)
        if call:
            call_irqs_off(cpu, call.func, call.info)
            finish_call(call)


cdef void service_interrupts() noexcept nogil:
    cdef int cpu = smp_processor_id()
    cdef u32 taken = irq_take(areas[cpu].virt_cpu)

    while taken:
        do_IRQ(<u8>taken)
        taken = irq_take(areas[cpu].virt_cpu)
    serve_calls(cpu)


cdef void do_IRQ(u8 vector) noexcept nogil:
    if vector == CALL_FUNCTION_VECTOR:
        serve_calls(smp_processor_id())
    elif vector == LOCAL_TIMER_VECTOR:
        current.need_resched = 1
    elif gates[vector]:
        gates[vector]()


cdef void alloc_intr_gate(u8 vector, void (*handler)() noexcept nogil) noexcept nogil:
    gates[vector] = handler


cdef void set_debug_preempt(bint on) noexcept nogil:
    global debug_preempt
    debug_preempt = on


cdef int debug_smp_processor_id() noexcept nogil:
    # The answer may be old by the time it is used, unless the thread has to stay on its CPU.
    cdef int this_cpu = smp_processor_id()

    if debug_preempt and not areas[this_cpu].preempt_count and not areas[this_cpu].irqs_disabled:
        pr_err("BUG: using smp_processor_id() in preemptible [%08x] code: insmod/%d\n",
               0, this_cpu)
    return this_cpu


cdef void smp_send_reschedule(int cpu) noexcept nogil:
    # Whoever runs there leaves its guest, and looks at what is asked of its task.
    irq_raise(areas[cpu].virt_cpu, RESCHEDULE_VECTOR)


cdef int smp_call_function_single(int cpu, smp_call_func_t func, void *info, int wait) noexcept nogil:
    cdef int this = smp_processor_id()
    cdef cpu_call call

    if cpu == this:
        call_irqs_off(this, func, info)
        return 0
    if cpu < 0 or cpu >= nr_cpus or not slots[cpu].online:
        return -ENXIO
    if take_cpu(cpu):
        run_as(cpu, func, info)
        give_cpu(cpu)
        return 0
    # Another thread runs as that CPU. Always wait, since the call lies on this stack; serve
    # this CPU meanwhile, since the other may be waiting for it.
    call.func = func
    call.info = info
    call.done = 0
    spin_lock(&slots_lock)
    call.next = slots[cpu].calls
    slots[cpu].calls = &call
    irq_raise(areas[cpu].virt_cpu, CALL_FUNCTION_VECTOR)
    spin_unlock(&slots_lock)
    while not (<volatile_int *>&call.done)[0]:
        serve_calls(this)
        if not (<volatile_int *>&call.done)[0] and take_cpu(cpu):
            give_cpu(cpu)
        sched_yield()
    return 0


cdef int on_each_cpu(smp_call_func_t func, void *info, int wait) noexcept nogil:
    cdef int cpu

    for cpu in range(nr_cpus):
        if slots[cpu].online:
            smp_call_function_single(cpu, func, info, wait)
    return 0


ctypedef struct hotplug_call:
    cpuhp_callback_t callback
    int cpu
    int ret


cdef void hotplug_trampoline(void *info) noexcept nogil:
    cdef hotplug_call *call = <hotplug_call *>info

    call.ret = call.callback(call.cpu)


cdef int call_hotplug(int cpu, cpuhp_callback_t callback) noexcept nogil:
    cdef hotplug_call call

    if not callback:
        return 0
    call.callback = callback
    call.cpu = cpu
    call.ret = 0
    smp_call_function_single(cpu, hotplug_trampoline, &call, 1)
    return call.ret


cdef int cpuhp_setup_state_nocalls(int state, cpuhp_callback_t startup,
                                   cpuhp_callback_t teardown) noexcept nogil:
    if states[state].startup or states[state].teardown:
        return -EBUSY
    states[state].startup = startup
    states[state].teardown = teardown
    return 0


cdef int cpuhp_setup_state(int state, cpuhp_callback_t startup, cpuhp_callback_t teardown) noexcept nogil:
    # The startup callback runs on every CPU that is online; one failure undoes the others.
    cdef int cpu, done, ret

    ret = cpuhp_setup_state_nocalls(state, startup, teardown)
    if ret:
        return ret
    for cpu in range(nr_cpus):
        if not slots[cpu].online:
            continue
        ret = call_hotplug(cpu, startup)
        if ret < 0:
            for done in range(cpu):
                if slots[done].online:
                    call_hotplug(done, teardown)
            cpuhp_remove_state_nocalls(state)
            return ret
    return 0


cdef void cpuhp_remove_state_nocalls(int state) noexcept nogil:
    states[state].startup = NULL
    states[state].teardown = NULL


cdef void cpuhp_remove_state(int state) noexcept nogil:
    cdef int cpu

    for cpu in range(nr_cpus):
        if slots[cpu].online:
            call_hotplug(cpu, states[state].teardown)
    cpuhp_remove_state_nocalls(state)


cdef bint cpus_read_trylock() noexcept nogil:
    cdef int readers = atomic_read(&hotplug_lock)

    return readers >= 0 and atomic_cmpxchg(&hotplug_lock, readers, readers + 1) == readers


cdef void cpus_read_lock() noexcept nogil:
    # Whoever waits lets go of its CPU, since the writer may be on its way to take it.
    cdef cpu_sleeper sleeper

    while not cpus_read_trylock():
        cpu_sleep(&sleeper)
        while atomic_read(&hotplug_lock) < 0:
            sched_yield()
        cpu_wake(&sleeper)


cdef void cpus_read_unlock() noexcept nogil:
    cdef int readers = atomic_read(&hotplug_lock)

    while atomic_cmpxchg(&hotplug_lock, readers, readers - 1) != readers:
        readers = atomic_read(&hotplug_lock)


cdef bint cpus_write_trylock() noexcept nogil:
    global hotplug_writer
    if atomic_cmpxchg(&hotplug_lock, 0, -1):
        return False
    hotplug_writer = pthread_self()
    return True


cdef void cpus_write_lock() noexcept nogil:
    cdef cpu_sleeper sleeper

    while not cpus_write_trylock():
        cpu_sleep(&sleeper)
        while atomic_read(&hotplug_lock):
            sched_yield()
        cpu_wake(&sleeper)


cdef void cpus_write_unlock() noexcept nogil:
    global hotplug_writer
    hotplug_writer = 0
    atomic_set_release(&hotplug_lock, 0)


cdef int cpu_up(int cpu) noexcept nogil:
    cdef int ret

    cpus_write_lock()
    ret = _cpu_up(cpu)
    cpus_write_unlock()
    return ret


cdef int cpu_down(int cpu) noexcept nogil:
    cdef int ret

    cpus_write_lock()
    ret = _cpu_down(cpu)
    cpus_write_unlock()
    return ret


cdef int _cpu_up(int cpu) noexcept nogil:
    cdef int state, back, ret

    if cpu < 0 or cpu >= nr_cpus or not slots[cpu].possible or slots[cpu].online:
        return -EINVAL
    slots[cpu].online = 1
    for state in range(NR_CPUHP_STATES):
        ret = call_hotplug(cpu, states[state].startup)
        if ret < 0:
            for back in range(state - 1, -1, -1):
                call_hotplug(cpu, states[back].teardown)
            slots[cpu].online = 0
            return ret
    slots[cpu].active = 1
    return 0


cdef void evict(int cpu) noexcept nogil:
    # The thread that runs as the CPU goes on elsewhere: its time slice is over.
    while not take_cpu(cpu):
        irq_raise(areas[cpu].virt_cpu, LOCAL_TIMER_VECTOR)
        serve_calls(smp_processor_id())
        sched_yield()


cdef int _cpu_down(int cpu) noexcept nogil:
    cdef int state

    if cpu < 0 or cpu >= nr_cpus or not slots[cpu].online:
        return -EINVAL
    if num_online_cpus() == 1:
        return -EBUSY
    slots[cpu].active = 0
    evict(cpu)
    for state in range(NR_CPUHP_STATES - 1, -1, -1):
        call_hotplug(cpu, states[state].teardown)
    slots[cpu].online = 0
    give_cpu(cpu)
    return 0
