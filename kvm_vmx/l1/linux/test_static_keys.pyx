# SPDX-License-Identifier: GPL-2.0-only
# C: lib/test_static_keys.c
# A key of each initial value, each asked by a likely and by an unlikely branch.
from kvm_vmx.abi.linux cimport (
    module_sections, module_t, static_branch_likely, static_branch_likely_true,
    static_branch_unlikely, static_branch_unlikely_true, static_key_count, static_key_enabled,
    static_key_false, static_key_t, static_key_true)
from kvm_vmx.abi.types cimport EINVAL
from kvm_vmx.l1.linux.jump_label cimport (
    static_key_disable, static_key_enable, static_key_slow_dec, static_key_slow_inc)

cdef extern from *:
    """
    #include <linux/jump_label.h>
    #include <linux/module.h>
    DEFINE_STATIC_KEY_TRUE(true_key);
    DEFINE_STATIC_KEY_FALSE(false_key);
    """
    static_key_true true_key
    static_key_false false_key

cdef enum:
    NR_KEYS = 4

ctypedef struct test_key:
    bint init_state
    static_key_t *key
    int (*test_key)() noexcept nogil

cdef test_key static_key_tests[NR_KEYS]
cdef module_t test_static_keys_module


# C+ stands for a function that the macro test_key_func() makes
cdef int true_key_true() noexcept nogil:
    if static_branch_likely_true(&true_key):
        return 1
    return 0


# C+ stands for a function that the macro test_key_func() makes
cdef int true_key_false() noexcept nogil:
    if static_branch_unlikely_true(&true_key):
        return 1
    return 0


# C+ stands for a function that the macro test_key_func() makes
cdef int false_key_true() noexcept nogil:
    if static_branch_likely(&false_key):
        return 1
    return 0


# C+ stands for a function that the macro test_key_func() makes
cdef int false_key_false() noexcept nogil:
    if static_branch_unlikely(&false_key):
        return 1
    return 0


cdef void invert_key(static_key_t *key) noexcept nogil:
    if static_key_enabled(key):
        static_key_disable(key)
    else:
        static_key_enable(key)


cdef void invert_keys(test_key *keys, int size) noexcept nogil:
    cdef static_key_t *previous = NULL
    cdef int i

    for i in range(size):
        if previous != keys[i].key:
            invert_key(keys[i].key)
            previous = keys[i].key


# C~ the test of a key: the two ways in one
cdef int verify_keys(test_key *keys, int size, bint invert) noexcept nogil:
    cdef int i
    cdef bint ret, init

    for i in range(size):
        ret = static_key_enabled(keys[i].key)
        init = keys[i].init_state
        if ret != ((not init) if invert else init):
            return -EINVAL
        # the branch must say what the key does
        if (keys[i].test_key() != 0) != static_key_enabled(keys[i].key):
            return -EINVAL
    return 0


# C+ an entry of the table of keys and functions
cdef void add_key(int i, bint init_state, static_key_t *key, int (*test)() noexcept nogil) noexcept nogil:
    static_key_tests[i].init_state = init_state
    static_key_tests[i].key = key
    static_key_tests[i].test_key = test


# C~ the table of keys and functions: the four kinds that this kernel has
cdef int test_static_key_init() noexcept nogil:
    cdef int ret

    add_key(0, True, &true_key.key, true_key_true)
    add_key(1, True, &true_key.key, true_key_false)
    add_key(2, False, &false_key.key, false_key_true)
    add_key(3, False, &false_key.key, false_key_false)

    ret = verify_keys(static_key_tests, NR_KEYS, False)
    if ret:
        return ret

    invert_keys(static_key_tests, NR_KEYS)
    ret = verify_keys(static_key_tests, NR_KEYS, True)
    if ret:
        return ret

    invert_keys(static_key_tests, NR_KEYS)
    return verify_keys(static_key_tests, NR_KEYS, False)


cdef void test_static_key_exit() noexcept nogil:
    pass


include "test_keys_exports.pxi"
