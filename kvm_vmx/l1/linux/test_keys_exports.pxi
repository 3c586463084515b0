# SPDX-License-Identifier: GPL-2.0-only
# What test_static_keys.c has not: a function a step, for callers that make up their own order.

cdef int true_key_count() noexcept nogil:
    return static_key_count(&true_key.key)


cdef int false_key_count() noexcept nogil:
    return static_key_count(&false_key.key)


cdef void true_key_enable() noexcept nogil:
    static_key_enable(&true_key.key)


cdef void true_key_disable() noexcept nogil:
    static_key_disable(&true_key.key)


cdef void true_key_inc() noexcept nogil:
    static_key_slow_inc(&true_key.key)


cdef void true_key_dec() noexcept nogil:
    static_key_slow_dec(&true_key.key)


cdef void false_key_enable() noexcept nogil:
    static_key_enable(&false_key.key)


cdef void false_key_disable() noexcept nogil:
    static_key_disable(&false_key.key)


cdef void false_key_inc() noexcept nogil:
    static_key_slow_inc(&false_key.key)


cdef void false_key_dec() noexcept nogil:
    static_key_slow_dec(&false_key.key)


# A load begins with each key as it was compiled.
cdef void bring_back(static_key_t *key, bint init_state) noexcept nogil:
    # Whatever the count is: its text is that of "on" exactly where it is above zero.
    if key.enabled > 1:
        key.enabled = 1
    elif key.enabled < 0:
        key.enabled = 0
    if init_state != static_key_enabled(key):
        invert_key(key)


cdef void test_static_keys_data() noexcept nogil:
    bring_back(&true_key.key, True)
    bring_back(&false_key.key, False)


# module_init(), module_exit() and the bounds of the sections, which the linker knows.
cdef void declare_module() noexcept nogil:
    test_static_keys_module.name = "test_static_keys"
    test_static_keys_module.init = test_static_key_init
    test_static_keys_module.exit = test_static_key_exit
    test_static_keys_module.data = test_static_keys_data
    module_sections(&test_static_keys_module)
