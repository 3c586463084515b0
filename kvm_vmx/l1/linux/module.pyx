# SPDX-License-Identifier: GPL-2.0-only
# Loading and unloading a module: fresh data, who is told of it, its init and exit.
from kvm_vmx.abi.linux cimport module_t, within_module
from kvm_vmx.abi.types cimport EEXIST, ENOENT, ENOSPC, ulong
from kvm_vmx.l1.linux.reboot cimport NOTIFY_OK, notifier_block
from kvm_vmx.l1.linux.text_patching cimport text_take_error
from libc.string cimport memset

cdef enum:
    MAX_MODULES = 8
    MAX_WATCHERS = 2

cdef module_t *modules[MAX_MODULES]
cdef int modules_count = 0
cdef notifier_block *module_notify_list[MAX_WATCHERS]


cdef void module_boot_data() noexcept nogil:
    # Known to this boot of the kernel: what an earlier one had loaded went with it.
    global modules_count
    modules_count = 0
    memset(module_notify_list, 0, sizeof(module_notify_list))


cdef int nr_modules() noexcept nogil:
    return modules_count


cdef module_t *module_at(int index) noexcept nogil:
    return modules[index]


cdef int register_module_notifier(notifier_block *nb) noexcept nogil:
    cdef int i

    for i in range(MAX_WATCHERS):
        if module_notify_list[i] == NULL:
            module_notify_list[i] = nb
            return 0
    return -ENOSPC


cdef int notify(ulong state, module_t *mod) noexcept nogil:
    # What one of them answers beside NOTIFY_OK is an error, as notifier_from_errno() makes it.
    cdef int i, ret

    for i in range(MAX_WATCHERS):
        if module_notify_list[i]:
            ret = module_notify_list[i].notifier_call(module_notify_list[i], state, mod)
            if ret > NOTIFY_OK:
                return NOTIFY_OK - (ret & ~<int>NOTIFY_STOP_MASK)
    return 0


cdef module_t *__module_address(ulong addr) noexcept nogil:
    cdef int i

    for i in range(modules_count):
        if within_module(addr, modules[i]):
            return modules[i]
    return NULL


cdef bint kernel_text_address(ulong addr) noexcept nogil:
    # Text of the kernel proper has no sites: a module's has.
    cdef module_t *mod = __module_address(addr)

    return mod != NULL and addr - mod.core_base < mod.text_size


cdef bint module_is_known(module_t *mod) noexcept nogil:
    cdef int i

    for i in range(modules_count):
        if modules[i] == mod:
            return True
    return False


cdef void free_module(module_t *mod) noexcept nogil:
    global modules_count
    cdef int i

    notify(MODULE_STATE_GOING, mod)
    for i in range(modules_count):
        if modules[i] == mod:
            modules_count -= 1
            modules[i] = modules[modules_count]
            return


cdef int load_module(module_t *mod) noexcept nogil:
    # Parameters may be set between this and init_module().
    global modules_count
    cdef int ret

    if module_is_known(mod):
        return -EEXIST
    if modules_count == MAX_MODULES:
        return -ENOSPC
    modules[modules_count] = mod
    modules_count += 1
    ret = notify(MODULE_STATE_COMING, mod)
    if ret:
        free_module(mod)
        return ret
    mod.loaded = 0
    memset(mod.once_flags, 0, <char *>mod.once_flags_end - <char *>mod.once_flags)
    # last, since keys that are not as they start change the text that is listed by now
    text_take_error()
    mod.data()
    mod.text_error = text_take_error()
    if mod.text_error:
        free_module(mod)
    return mod.text_error


cdef int init_module(module_t *mod) noexcept nogil:
    # A failed init takes the module's memory with it, so the next load starts afresh. A module
    # whose keys are not what it has set them to is not what it believes to be: it goes as well.
    cdef int ret = mod.init()

    mod.text_error = text_take_error()
    if ret >= 0 and mod.text_error:
        mod.exit()
        ret = mod.text_error
    if ret < 0:
        mod.data()
        free_module(mod)
        return ret
    mod.loaded = 1
    notify(MODULE_STATE_LIVE, mod)
    return 0


cdef int delete_module(module_t *mod) noexcept nogil:
    if not mod.loaded:
        return -ENOENT
    mod.exit()
    mod.loaded = 0
    free_module(mod)
    return 0
