# SPDX-License-Identifier: GPL-2.0-only
# An extension module as a module of the kernel: where it has what, and what loading it asks.

cdef enum:
    MAX_PARAMS = 64


cdef void *exported(object extension, str name) except NULL:
    """Where a function or variable is that a .pxd of the port declares."""
    capsule = extension.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef module_t *struct_module(object extension) except NULL:
    """The struct module of an extension module that is one, declared when first asked for."""
    cdef module_t *mod

    name, = [name for name, capsule in extension.__pyx_capi__.items()
             if PyCapsule_GetName(capsule) == b"struct module"]
    mod = <module_t *>exported(extension, name)
    if mod.name == NULL:
        (<void (*)() noexcept nogil>exported(extension, "declare_module"))()
    return mod


# A module to load, and the values of its parameters; all bits of given are 0 for those that keep
# their own.
cdef struct load_request:
    module_t *mod
    int value[MAX_PARAMS]
    u64 given
    int ret


cdef void do_load_module(void *arg) noexcept nogil:
    cdef load_request *call = <load_request *>arg
    cdef int i

    call.ret = load_module(call.mod)
    if call.ret:
        return
    for i in range(call.mod.nr_params):
        if call.given >> i & 1:
            call.mod.params[i].value[0] = call.value[i]
    call.ret = init_module(call.mod)


# One key of one extension module, and the state it is to take.
cdef struct form_request:
    module_t mod
    static_key_t *key
    bint by_trap
    int ret


cdef void do_set_form(void *arg) noexcept nogil:
    cdef form_request *call = <form_request *>arg
    call.ret = jump_label_form(&call.mod, call.key, call.by_trap)
