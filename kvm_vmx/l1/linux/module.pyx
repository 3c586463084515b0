# SPDX-License-Identifier: GPL-2.0-only
# Loading and unloading a module: fresh data, its jump labels, its init and exit.
from kvm_vmx.abi.linux cimport module_t
from kvm_vmx.abi.types cimport EEXIST, ENOENT
from kvm_vmx.l1.linux.jump_label cimport (
    jump_label_add_module, jump_label_del_module, jump_label_module, jump_label_nr_modules,
    jump_label_take_error)
from libc.string cimport memset


cdef bint module_is_known(module_t *mod) noexcept nogil:
    # Known to this boot of the kernel: what an earlier one had loaded went with it.
    cdef int i

    for i in range(jump_label_nr_modules()):
        if jump_label_module(i) == mod:
            return True
    return False


cdef int load_module(module_t *mod) noexcept nogil:
    # Parameters may be set between this and init_module().
    cdef int ret

    if module_is_known(mod):
        return -EEXIST
    ret = jump_label_add_module(mod)
    if ret:
        return ret
    mod.loaded = 0
    memset(mod.once_flags, 0, <char *>mod.once_flags_end - <char *>mod.once_flags)
    # last, since keys that are not as they start change the text that is listed by now
    jump_label_take_error()
    mod.data()
    mod.text_error = jump_label_take_error()
    if mod.text_error:
        jump_label_del_module(mod)
    return mod.text_error


cdef int init_module(module_t *mod) noexcept nogil:
    # A failed init takes the module's memory with it, so the next load starts afresh. A module
    # whose keys are not what it has set them to is not what it believes to be: it goes as well.
    cdef int ret = mod.init()

    mod.text_error = jump_label_take_error()
    if ret >= 0 and mod.text_error:
        mod.exit()
        ret = mod.text_error
    if ret < 0:
        mod.data()
        jump_label_del_module(mod)
        return ret
    mod.loaded = 1
    return 0


cdef int delete_module(module_t *mod) noexcept nogil:
    if not mod.loaded:
        return -ENOENT
    mod.exit()
    mod.loaded = 0
    jump_label_del_module(mod)
    return 0
