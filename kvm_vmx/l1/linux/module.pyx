# SPDX-License-Identifier: GPL-2.0-only
# Loading and unloading a module: fresh data, its jump labels, its init and exit.
from kvm_vmx.abi.linux cimport module_t
from kvm_vmx.abi.types cimport EEXIST, ENOENT
from kvm_vmx.l1.linux.jump_label cimport (
    jump_label_add_module, jump_label_del_module, static_key_disable)
from libc.string cimport memset

cdef extern from *:
    """
    #include <linux/module.h>
    /* Bring every key of the module back to its initial value: the text of a fresh load. */
    static struct static_key *key_of_entry(struct jump_entry *entry)
    {
        return (struct static_key *)(entry->key & ~1ULL);
    }
    """
    ctypedef struct static_key_any "struct static_key":
        int enabled
        unsigned long type


cdef int load_module(module_t *mod) noexcept nogil:
    # Parameters may be set between this and init_module(). The text is known before the data is
    # made fresh: a kernel that died with a key on has left its sites as they were.
    cdef int ret

    if mod.loaded:
        return -EEXIST
    ret = jump_label_add_module(mod)
    if ret:
        return ret
    memset(mod.once_flags, 0, <char *>mod.once_flags_end - <char *>mod.once_flags)
    mod.data()
    return 0


cdef int init_module(module_t *mod) noexcept nogil:
    # A failed init takes the module's memory with it, so the next load starts afresh.
    cdef int ret = mod.init()

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
