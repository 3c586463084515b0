# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport spinlock_t

ctypedef spinlock_t mutex_t

cdef void mutex_lock(mutex_t *lock) noexcept nogil
cdef void mutex_unlock(mutex_t *lock) noexcept nogil
cdef bint mutex_trylock(mutex_t *lock) noexcept nogil
cdef bint atomic_dec_and_mutex_lock(int *cnt, mutex_t *lock) noexcept nogil
cdef bint stop_cpus_trylock() noexcept nogil
cdef void stop_cpus_unlock() noexcept nogil
cdef void stop_machine_begin() noexcept nogil
cdef void stop_machine_end() noexcept nogil
