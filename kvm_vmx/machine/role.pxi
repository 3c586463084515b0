# SPDX-License-Identifier: GPL-2.0-only
# How a thread becomes a CPU, and is one no more: every one that does goes this way.


def _before_fork():
    # The child gets text that nobody is just writing.
    with nogil:
        text_hold()


def _after_fork():
    text_let_go()


def _in_child():
    global the_kernel, inside
    the_kernel = NULL
    # the threads that were CPUs are not there
    spin_lock_init(&inside_lock)
    inside = NULL
    text_let_go()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


# The threads that are CPUs, or on their way there; and the one that ends the process, as which
# the interpreter takes apart what they stand on: none becomes a CPU any more.
cdef spinlock_t inside_lock
cdef cpu_role *inside = NULL
cdef ulong ends = 0


cdef bint role_enters(cpu_role *role, int cpu) noexcept nogil:
    cdef bint late

    global inside

    role.cpu, role.thread, role.behind = cpu, pthread_self(), NULL
    spin_lock(&inside_lock)
    late = ends != 0 and ends != role.thread
    if not late:
        role.before = inside
        if inside:
            inside.behind = role
        inside = role
    spin_unlock(&inside_lock)
    return not late


cdef void role_leaves(cpu_role *role) noexcept nogil:
    global inside

    spin_lock(&inside_lock)
    if role.before:
        role.before.behind = role.behind
    if role.behind:
        role.behind.before = role.before
    else:
        inside = role.before
    spin_unlock(&inside_lock)


# Out of its guest, and to look at what is asked of its task.
cdef void kick_role(void *whom) noexcept nogil:
    cdef cpu_role *role = <cpu_role *>whom

    role.task.sigpending = 1
    if 0 <= role.cpu < nr_cpu_ids():
        smp_send_reschedule(role.cpu)


# Whoever is a CPU is kicked; True where another thread still is one.
cdef bint kick_others() noexcept nogil:
    cdef cpu_role *role
    cdef bint others = False

    spin_lock(&inside_lock)
    role = inside
    while role:
        if role.thread != ends:
            others = True
            kick_role(role)
        role = role.before
    spin_unlock(&inside_lock)
    return others


def _at_exit():
    # Daemon threads: the memory and the signal handlers that they run on go next. Who executes
    # single instructions that never end is left alone after a while.
    global ends
    cdef int turns = 0

    with nogil:
        spin_lock(&inside_lock)
        ends = pthread_self()
        spin_unlock(&inside_lock)
        while kick_others() and turns < 5000:
            turns += 1
            usleep(1000)


atexit.register(_at_exit)


# The whole way of a thread to a CPU and back: every one that becomes a CPU goes it.
cdef int role_begin(cpu_role *role, int cpu, int number, u64 depth, int how) noexcept nogil:
    cdef int ret

    global log_began
    log_began = log_end()
    task_init(&role.task, number, depth)
    if not role_enters(role, cpu):
        return -ESHUTDOWN
    if role.by_trap:
        role.task.stack = role.kernel_end - (depth & ~<u64>15)
        ret = trap_bind(&role.traps, role.signal_stack, role.signal_size)
        if ret:
            role_leaves(role)
            return ret
    ret = cpu_hold(cpu, &role.task, &role.binding) if how == HELD else \
        cpu_bind(cpu, &role.task, &role.binding)
    if ret == 0 and how == KICKED:
        kick_from(kick_role, role)
    elif ret:
        if role.by_trap:
            trap_unbind(&role.traps)
        role_leaves(role)
    return ret


# It is out of its guest: an interrupt that comes late brings nobody else out of another one.
cdef void kick_no_more(const cpu_role *role) noexcept nogil:
    kick_till(role)
    if role.task.sigpending:
        irq_forget(cpu_area(role.cpu).virt_cpu, RESCHEDULE_VECTOR)


cdef void call_and_unbind(void *arg) noexcept nogil:
    cdef cpu_role *role = <cpu_role *>arg

    if role.fn:
        role.fn(role.arg)
    kick_no_more(role)
    # with what other CPUs have asked of this one, which may hit a BUG as well
    cpu_unbind(&role.binding)


cdef int role_end(cpu_role *role) noexcept nogil:
    cdef int ret = call_until_oops(&role.task, call_and_unbind, role)

    if ret:
        kick_no_more(role)
        cpu_unbind_oops(&role.binding)
    if role.by_trap:
        cpuid_traps_no_more(&role.task)
        trap_unbind(&role.traps)
    role_leaves(role)
    return ret


cdef void task_init(task_struct *task, int number, u64 depth) noexcept nogil:
    # A kernel stack and a user-space thread pointer of the thread's own, as L1 would have it,
    # with depth bytes of the stack in use.
    memset(task, 0, sizeof(task_struct))
    task.sp = <ulong>0xffffc90000000000 + <ulong>number * 0x8000 + 0x3c58 - depth
    task.fsbase = <ulong>0x7f0000000000 + <ulong>number * 0x1000
