# SPDX-License-Identifier: GPL-2.0-only
# C: kernel/jump_label.c
# The text of every site of a key is rewritten in one pass while no thread is in the kernel.
from kvm_vmx.abi.linux cimport (
    JUMP_TYPE_LINKED, JUMP_TYPE_MASK, WARN, WARN_ON_ONCE, WARN_ONCE, __start___jump_table,
    __stop___jump_table, atomic_cmpxchg, atomic_inc, atomic_read, atomic_set, atomic_set_release,
    delayed_work, jump_entry_t, module_t, preempt_disable, preempt_enable, sort, static_key_enabled,
    static_key_t, within_module)
from kvm_vmx.abi.types cimport likely, ulong
from kvm_vmx.l1.linux.cpu cimport (
    cpus_read_lock, cpus_read_unlock, cpus_write_trylock, cpus_write_unlock)
from kvm_vmx.l1.linux.fault cimport FAIL_MPROTECT, fail_left, fail_nth
from kvm_vmx.l1.linux.module cimport (
    MODULE_STATE_COMING, MODULE_STATE_GOING, __module_address, kernel_text_address,
    notifier_from_errno, register_module_notifier)
from kvm_vmx.l1.linux.reboot cimport notifier_block
from kvm_vmx.l1.linux.stop_machine cimport (
    atomic_dec_and_mutex_lock, mutex_lock, mutex_t, mutex_trylock, mutex_unlock,
    stop_cpus_trylock, stop_cpus_unlock)
from kvm_vmx.l1.linux.text_patching cimport (
    arch_jump_label_transform, arch_jump_label_transform_apply, text_last_error)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef bint static_key_initialized = False
cdef mutex_t jump_label_mutex = 0


# C+ a boot begins with the initial values
cdef void jump_label_boot_data() noexcept nogil:
    global static_key_initialized
    static_key_initialized = False


# C+ a macro of linux/jump_label.h
cdef inline void STATIC_KEY_CHECK_USE(static_key_t *key) noexcept nogil:
    WARN(not static_key_initialized, "static key %p used before call to jump_label_init()\n", key)


cdef void jump_label_lock() noexcept nogil:
    mutex_lock(&jump_label_mutex)


cdef void jump_label_unlock() noexcept nogil:
    mutex_unlock(&jump_label_mutex)


cdef int jump_label_cmp(const void *a, const void *b) noexcept nogil:
    cdef const jump_entry_t *jea = <const jump_entry_t *>a
    cdef const jump_entry_t *jeb = <const jump_entry_t *>b

    if jea.key < jeb.key:
        return -1

    if jea.key > jeb.key:
        return 1

    return 0


cdef void jump_label_sort_entries(jump_entry_t *start, jump_entry_t *stop) noexcept nogil:
    cdef ulong size

    size = (<ulong>stop - <ulong>start) // sizeof(jump_entry_t)
    sort(start, size, sizeof(jump_entry_t), jump_label_cmp, NULL)


cdef void static_key_slow_inc_cpuslocked(static_key_t *key) noexcept nogil:
    cdef int v, v1

    STATIC_KEY_CHECK_USE(key)

    # C~ the for: a statement each
    v = atomic_read(&key.enabled)
    while v > 0:
        v1 = atomic_cmpxchg(&key.enabled, v, v + 1)
        if likely(v1 == v):
            return
        # C+ the last part of the for
        v = v1

    jump_label_lock()
    if atomic_read(&key.enabled) == 0:
        # -1 reads as "on" to whoever composes the text, before it reads as on to anyone else.
        atomic_set(&key.enabled, -1)
        jump_label_update(key)
        # C+ where the host does not let text be written, the key is what its text says
        if text_last_error():
            atomic_set(&key.enabled, 0)
            jump_label_unlock()
            return
        atomic_set_release(&key.enabled, 1)
    else:
        atomic_inc(&key.enabled)
    jump_label_unlock()


cdef void static_key_slow_inc(static_key_t *key) noexcept nogil:
    cpus_read_lock()
    static_key_slow_inc_cpuslocked(key)
    cpus_read_unlock()


cdef void static_key_enable_cpuslocked(static_key_t *key) noexcept nogil:
    STATIC_KEY_CHECK_USE(key)

    if atomic_read(&key.enabled) > 0:
        WARN_ON_ONCE(atomic_read(&key.enabled) != 1)
        return

    jump_label_lock()
    if atomic_read(&key.enabled) == 0:
        atomic_set(&key.enabled, -1)
        jump_label_update(key)
        # C+ where the host does not let text be written, the key is what its text says
        if text_last_error():
            atomic_set(&key.enabled, 0)
            jump_label_unlock()
            return
        atomic_set_release(&key.enabled, 1)
    jump_label_unlock()


cdef void static_key_enable(static_key_t *key) noexcept nogil:
    cpus_read_lock()
    static_key_enable_cpuslocked(key)
    cpus_read_unlock()


cdef void static_key_disable_cpuslocked(static_key_t *key) noexcept nogil:
    STATIC_KEY_CHECK_USE(key)

    if atomic_read(&key.enabled) != 1:
        WARN_ON_ONCE(atomic_read(&key.enabled) != 0)
        return

    jump_label_lock()
    if atomic_cmpxchg(&key.enabled, 1, 0):
        jump_label_update(key)
        # C+ where the host does not let text be written, the key is what its text says
        if text_last_error():
            atomic_set(&key.enabled, 1)
    jump_label_unlock()


cdef void static_key_disable(static_key_t *key) noexcept nogil:
    cpus_read_lock()
    static_key_disable_cpuslocked(key)
    cpus_read_unlock()


cdef void __static_key_slow_dec_cpuslocked(static_key_t *key, ulong rate_limit,
                                           delayed_work *work) noexcept nogil:
    # A count that falls below zero stays there, and so does the text.
    if not atomic_dec_and_mutex_lock(&key.enabled, &jump_label_mutex):
        WARN(atomic_read(&key.enabled) < 0, "jump label: negative count!\n")
        return

    if rate_limit:
        atomic_inc(&key.enabled)
        # C- schedule_delayed_work(work, rate_limit): nobody limits the rate of a key
    else:
        jump_label_update(key)
        # C+ where the host does not let text be written, the key is what its text says
        if text_last_error():
            atomic_set(&key.enabled, 1)
    jump_label_unlock()


cdef void __static_key_slow_dec(static_key_t *key, ulong rate_limit, delayed_work *work) noexcept nogil:
    cpus_read_lock()
    __static_key_slow_dec_cpuslocked(key, rate_limit, work)
    cpus_read_unlock()


cdef void static_key_slow_dec(static_key_t *key) noexcept nogil:
    STATIC_KEY_CHECK_USE(key)
    __static_key_slow_dec(key, 0, NULL)


cdef inline jump_entry_t *static_key_entries(static_key_t *key) noexcept nogil:
    WARN_ON_ONCE(key.type & JUMP_TYPE_LINKED)
    return <jump_entry_t *>(key.type & ~JUMP_TYPE_MASK)


cdef inline static_key_t *jump_entry_key(jump_entry_t *entry) noexcept nogil:
    return <static_key_t *>(<ulong>entry.key & ~<ulong>1)


cdef bint jump_entry_branch(jump_entry_t *entry) noexcept nogil:
    return <ulong>entry.key & <ulong>1


cdef void static_key_set_entries(static_key_t *key, jump_entry_t *entries) noexcept nogil:
    cdef ulong type

    WARN_ON_ONCE(<ulong>entries & JUMP_TYPE_MASK)
    type = key.type & JUMP_TYPE_MASK
    key.entries = entries
    key.type |= type


cdef int jump_label_type(jump_entry_t *entry) noexcept nogil:
    cdef static_key_t *key = jump_entry_key(entry)
    cdef bint enabled = static_key_enabled(key)
    cdef bint branch = jump_entry_branch(entry)

    # A jump belongs there off the expected path, which is where the key is not what is expected.
    return enabled ^ branch


cdef void __jump_label_update(static_key_t *key, jump_entry_t *entry,
                              jump_entry_t *stop) noexcept nogil:
    # C~ the for: a statement each
    while entry < stop and jump_entry_key(entry) == key:
        if entry.code:
            if kernel_text_address(entry.code):
                arch_jump_label_transform(entry, jump_label_type(entry))
            else:
                WARN_ONCE(1, "can't patch jump_label at %pS", <void *><ulong>entry.code)
        # C+ the last part of the for
        entry += 1


cdef void jump_label_init() noexcept nogil:
    cdef jump_entry_t *iter_start = __start___jump_table
    cdef jump_entry_t *iter_stop = __stop___jump_table
    cdef static_key_t *key = NULL
    cdef jump_entry_t *iter
    cdef static_key_t *iterk
    # C+ the number of an entry
    cdef int n

    # C- 2 statements: two BUILD_BUG_ON: an int is what it is initialised with
    global static_key_initialized
    if static_key_initialized:
        return

    cpus_read_lock()
    jump_label_lock()
    jump_label_sort_entries(iter_start, iter_stop)

    for n in range(iter_stop - iter_start):
        iter = iter_start + n
        # C- 2 statements: the site rewritten: the NOP in place is the one that it would write
        iterk = jump_entry_key(iter)
        if iterk == key:
            continue

        key = iterk
        static_key_set_entries(key, iter)
    static_key_initialized = True
    jump_label_unlock()
    cpus_read_unlock()


cdef int jump_label_add_module(module_t *mod) noexcept nogil:
    cdef jump_entry_t *iter_start = mod.jump_entries
    cdef jump_entry_t *iter_stop = iter_start + mod.num_jump_entries
    cdef jump_entry_t *iter
    cdef static_key_t *key = NULL
    cdef static_key_t *iterk
    # C- struct static_key_mod: no module uses the key of another
    # C+ the number of an entry
    cdef int n

    if iter_start == iter_stop:
        return 0

    jump_label_sort_entries(iter_start, iter_stop)

    for n in range(iter_stop - iter_start):
        iter = iter_start + n
        iterk = jump_entry_key(iter)
        if iterk == key:
            continue

        key = iterk
        if within_module(iter.key, mod):
            static_key_set_entries(key, iter)
            continue
        # C- the list of a key's modules: no module uses the key of another

    return 0


cdef void jump_label_del_module(module_t *mod) noexcept nogil:
    cdef jump_entry_t *iter_start = mod.jump_entries
    cdef jump_entry_t *iter_stop = iter_start + mod.num_jump_entries
    cdef jump_entry_t *iter
    cdef static_key_t *key = NULL
    # C- struct static_key_mod: no module uses the key of another
    # C+ the number of an entry
    cdef int n

    for n in range(iter_stop - iter_start):
        iter = iter_start + n
        if jump_entry_key(iter) == key:
            continue

        key = jump_entry_key(iter)

        if within_module(iter.key, mod):
            continue
        # C- the list of a key's modules: no module uses the key of another


cdef int jump_label_module_notify(notifier_block *self, ulong val, void *data) noexcept nogil:
    cdef module_t *mod = <module_t *>data
    cdef int ret = 0

    cpus_read_lock()
    jump_label_lock()

    if val == MODULE_STATE_COMING:
        ret = jump_label_add_module(mod)
        if ret:
            WARN(1, "Failed to allocate memory: jump_label may not work properly.\n")
            jump_label_del_module(mod)
    elif val == MODULE_STATE_GOING:
        jump_label_del_module(mod)
    # C- MODULE_STATE_LIVE: no module's text goes once it is loaded

    jump_label_unlock()
    cpus_read_unlock()

    return notifier_from_errno(ret)


cdef notifier_block jump_label_module_nb
jump_label_module_nb.notifier_call = jump_label_module_notify
jump_label_module_nb.priority = 1


cdef int jump_label_init_module() noexcept nogil:
    return register_module_notifier(&jump_label_module_nb)


cdef void jump_label_update(static_key_t *key) noexcept nogil:
    cdef jump_entry_t *stop = __stop___jump_table
    cdef jump_entry_t *entry
    cdef module_t *mod

    # C- 3 statements: the list of a key's modules: no module uses the key of another
    preempt_disable()
    mod = __module_address(<ulong>key)
    if mod:
        stop = mod.jump_entries + mod.num_jump_entries
    preempt_enable()
    entry = static_key_entries(key)
    if entry:
        __jump_label_update(key, entry, stop)
    # C+ all sites at once
    arch_jump_label_transform_apply(mod)


# C+ for a process that is copied: text and keys say the same until text_let_go()
cdef void text_hold() noexcept nogil:
    while not cpus_write_trylock():
        sched_yield()
    while not mutex_trylock(&jump_label_mutex):
        sched_yield()
    while not stop_cpus_trylock():
        sched_yield()


# C+ see text_hold()
cdef void text_let_go() noexcept nogil:
    stop_cpus_unlock()
    mutex_unlock(&jump_label_mutex)
    cpus_write_unlock()


# C+ the form of the instructions, by call or by trap, is chosen before any of the text runs
cdef int jump_label_form(module_t *mod, static_key_t *key, bint by_trap) noexcept nogil:
    # A key that chooses what the text is before any of it runs: no step that fail_nth() counts.
    # Its table may not be sorted yet.
    cdef long left = fail_left(FAIL_MPROTECT)
    cdef int was = key.enabled
    cdef unsigned int n
    cdef int ret

    if was == by_trap:
        return 0
    jump_label_lock()
    key.enabled = by_trap
    for n in range(mod.num_jump_entries):
        if jump_entry_key(&mod.jump_entries[n]) == key:
            arch_jump_label_transform(&mod.jump_entries[n], jump_label_type(&mod.jump_entries[n]))
    fail_nth(FAIL_MPROTECT, 0)
    ret = arch_jump_label_transform_apply(mod)
    fail_nth(FAIL_MPROTECT, left)
    if ret:
        key.enabled = was
    jump_label_unlock()
    return ret
