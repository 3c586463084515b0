# SPDX-License-Identifier: GPL-2.0-only
# Locks that sleep, and every CPU in the hands of one thread, one thread at a time.
from kvm_vmx.abi.linux cimport (
    atomic_add_unless, atomic_dec_and_test, spin_is_locked, spin_trylock, spin_unlock)
from kvm_vmx.l1.linux.cpu cimport (
    cpu_sleep, cpu_sleeper, cpu_wake, give_cpu, nr_cpu_ids, serve_calls, take_cpu)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "asm/percpu.h" nogil:
    int smp_processor_id()

cdef mutex_t stop_cpus_mutex = 0


cdef void mutex_lock(mutex_t *lock) noexcept nogil:
    # Whoever waits lets go of its CPU, since the holder may be on its way to take them all.
    cdef cpu_sleeper sleeper

    while not spin_trylock(lock):
        cpu_sleep(&sleeper)
        while spin_is_locked(lock):
            sched_yield()
        cpu_wake(&sleeper)


cdef void mutex_unlock(mutex_t *lock) noexcept nogil:
    spin_unlock(lock)


cdef bint mutex_trylock(mutex_t *lock) noexcept nogil:
    # For a thread that is no CPU.
    return spin_trylock(lock)


cdef bint atomic_dec_and_mutex_lock(int *cnt, mutex_t *lock) noexcept nogil:
    # True, and with the lock, where the counter has come to 0.
    if atomic_add_unless(cnt, -1, 1):
        return False
    mutex_lock(lock)
    if atomic_dec_and_test(cnt):
        return True
    mutex_unlock(lock)
    return False


cdef bint stop_cpus_trylock() noexcept nogil:
    # For a thread that is no CPU.
    return spin_trylock(&stop_cpus_mutex)


cdef void stop_cpus_unlock() noexcept nogil:
    spin_unlock(&stop_cpus_mutex)


cdef void stop_machine_begin() noexcept nogil:
    # Every CPU becomes this thread's: nobody else is inside the kernel.
    cdef int cpu

    mutex_lock(&stop_cpus_mutex)
    for cpu in range(nr_cpu_ids()):
        while not take_cpu(cpu):
            serve_calls(smp_processor_id())
            sched_yield()


cdef void stop_machine_end() noexcept nogil:
    cdef int cpu

    for cpu in range(nr_cpu_ids()):
        give_cpu(cpu)
    mutex_unlock(&stop_cpus_mutex)
