# SPDX-License-Identifier: GPL-2.0-only
# C: kernel/jump_label.c
# The text of every site of a key is rewritten in one pass while no thread is in the kernel.
from kvm_vmx.abi.linux cimport (
    WARN, WARN_ONCE, jump_entry_t, module_t, pr_err, spin_trylock, static_key_t)
from kvm_vmx.abi.types cimport (
    CONFIG_JUMP_LABEL, EFAULT, ENOSPC, PAGE_MASK, PAGE_SIZE, s32, u8, u64, ulong)
from kvm_vmx.l1.linux.fault cimport FAIL_MPROTECT, fail_left, fail_nth, should_fail
from kvm_vmx.l1.linux.stop_machine cimport (
    mutex_lock, mutex_t, mutex_unlock, stop_cpus_trylock, stop_cpus_unlock, stop_machine_begin,
    stop_machine_end)
from libc.errno cimport EACCES, errno
from libc.string cimport memcmp, memcpy, strerror

cdef extern from "sys/mman.h" nogil:
    int mprotect(void *addr, size_t len, int prot)
    enum:
        PROT_READ
        PROT_WRITE
        PROT_EXEC

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "linux/text.h" nogil:
    int rehearse(const void *text)
    void give_back(char *page, const char *end)

cdef extern from *:
    """
    #include <linux/membarrier.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static const u8 nop5[] = { STATIC_KEY_INIT_NOP };
    static int membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }
    """
    const u8 *nop5
    int membarrier(int command) noexcept nogil
    enum:
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
        MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE

cdef enum:
    MAX_MODULES = 8
    JUMP_LABEL_NOP_SIZE = 5
    JMP_OPCODE = 0xe9

cdef module_t *modules[MAX_MODULES]
cdef int nr_modules = 0
cdef bint sync_core = False
cdef bint text_writing = True  # that the host lets text be changed
cdef mutex_t jump_label_mutex = 0
cdef int text_error = 0


# C~ sorting the table, the kernel's own sites: modules bring all of them, and what is prepared is
# membarrier()
cdef int jump_label_init() noexcept nogil:
    global sync_core, nr_modules, text_error
    text_error = 0
    sync_core = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0
    nr_modules = 0
    return 0


# C+ what the host lets a process do, as whoever boots the machine has found
cdef void jump_label_host(bint has_sync_core, bint has_text_writing) noexcept nogil:
    global sync_core, text_writing
    sync_core = sync_core and has_sync_core
    text_writing = has_text_writing


# C~ the list of modules that hangs from each key: an array of modules, searched through at an
# update
cdef int jump_label_add_module(module_t *mod) noexcept nogil:
    global nr_modules
    if nr_modules == MAX_MODULES:
        return -ENOSPC
    modules[nr_modules] = mod
    nr_modules += 1
    return 0


# C~ the list of modules that hangs from each key: an array of modules, searched through at an
# update
cdef void jump_label_del_module(module_t *mod) noexcept nogil:
    cdef int i

    global nr_modules
    for i in range(nr_modules):
        if modules[i] == mod:
            nr_modules -= 1
            modules[i] = modules[nr_modules]
            return


cdef void jump_label_lock() noexcept nogil:
    mutex_lock(&jump_label_mutex)


cdef void jump_label_unlock() noexcept nogil:
    mutex_unlock(&jump_label_mutex)


# C+ for the module loader: why text was left as it was since it last asked, or 0
cdef int jump_label_take_error() noexcept nogil:
    global text_error
    cdef int ret = text_error

    text_error = 0
    return ret


# C+ for whoever looks from outside
cdef int jump_label_nr_modules() noexcept nogil:
    return nr_modules


# C+ for whoever looks from outside
cdef module_t *jump_label_module(int index) noexcept nogil:
    return modules[index]


cdef inline static_key_t *jump_entry_key(jump_entry_t *entry) noexcept nogil:
    # C~ unsigned long: an entry's members are u64
    return <static_key_t *>(entry.key & ~<u64>1)


# C~ the kernel's enum: True is a jump
cdef inline bint jump_label_type(jump_entry_t *entry, bint enabled) noexcept nogil:
    # True: a jump belongs there. Off the expected path lies what the key is not.
    return enabled ^ <bint>(entry.key & 1)


# C+ stands for the architecture's part, which writes one site
cdef void compose(jump_entry_t *entry, bint jump, u8 *text) noexcept nogil:
    cdef s32 distance

    if jump:
        distance = <s32>(entry.target - (entry.code + JUMP_LABEL_NOP_SIZE))
        text[0] = JMP_OPCODE
        memcpy(text + 1, &distance, 4)
    else:
        memcpy(text, nop5, JUMP_LABEL_NOP_SIZE)


# C+ the text of a process is writable only while it is asked to be
cdef int protect(ulong start, ulong end, int prot) noexcept nogil:
    # One change for the span of a key's sites, page by page only in what it covers. What the
    # process may do can change between two of them.
    start &= PAGE_MASK
    end = (end + PAGE_SIZE - 1) & PAGE_MASK
    if should_fail(FAIL_MPROTECT) or not text_writing:
        return -EACCES
    if rehearse(<void *>start):
        return -errno
    if mprotect(<void *>start, end - start, prot):
        return -errno
    return 0


# C+ text that was written is executable again
cdef void make_executable(ulong start, ulong end) noexcept nogil:
    # It was granted a moment ago, of another page of the file: once refused, it is asked for again.
    cdef int tries = 0

    start &= PAGE_MASK
    end = (end + PAGE_SIZE - 1) & PAGE_MASK
    while mprotect(<void *>start, end - start, PROT_READ | PROT_EXEC) and tries < 3:
        tries += 1
        sched_yield()


# C+ stands for __jump_label_update(): all sites of a module in one pass
cdef int jump_label_update_module(module_t *mod, static_key_t *key, bint enabled) noexcept nogil:
    cdef jump_entry_t *entry
    cdef ulong first = ~<ulong>0, last = 0
    cdef u8 text[JUMP_LABEL_NOP_SIZE]
    cdef int ret

    entry = mod.jump_entries
    while entry < mod.jump_entries_end:
        if jump_entry_key(entry) == key:
            compose(entry, jump_label_type(entry, not enabled), text)
            if memcmp(<void *>entry.code, text, JUMP_LABEL_NOP_SIZE):
                pr_err("jump_label: unexpected bytes at %p of %s, text left as it is\n",
                       <void *>entry.code, mod.name)
                return -EFAULT
            first = min(first, <ulong>entry.code)
            last = max(last, <ulong>entry.code + JUMP_LABEL_NOP_SIZE)
        entry += 1
    if last == 0:
        return 0

    ret = protect(first, last, PROT_READ | PROT_WRITE)
    if ret:
        pr_err("jump_label: the text of %s cannot be made writable (%s): "
               "load the CONFIG_JUMP_LABEL=n build\n", mod.name, strerror(-ret))
        return ret
    entry = mod.jump_entries
    while entry < mod.jump_entries_end:
        if jump_entry_key(entry) == key:
            compose(entry, jump_label_type(entry, enabled), text)
            memcpy(<void *>entry.code, text, JUMP_LABEL_NOP_SIZE)
        entry += 1
    if not enabled:
        give_back(<char *>(first & PAGE_MASK), <char *>last)
    make_executable(first, last)
    return 0


# C~ the architecture's part, a site at a time: the text of all sites in one pass while no thread is
# in the kernel
cdef int jump_label_update(static_key_t *key, bint enabled) noexcept nogil:
    cdef int i, ret = 0

    if not CONFIG_JUMP_LABEL:
        return 0
    stop_machine_begin()
    for i in range(nr_modules):
        ret = jump_label_update_module(modules[i], key, enabled)
        if ret:
            break
    if sync_core:
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
    stop_machine_end()
    if ret:
        global text_error
        text_error = ret
    return ret


# C~ static_key_enable_cpuslocked(): spelled out, without the CPU hotplug lock; text that cannot be
# written is an error
cdef int static_key_enable(static_key_t *key) noexcept nogil:
    cdef int ret = 0

    if key.enabled > 0:
        WARN_ONCE(key.enabled != 1, "static_key_enable(): count %d\n", key.enabled)
        return 0

    jump_label_lock()
    if key.enabled == 0:
        # -1 reads as "on" to whoever composes the text, before it reads as on to anyone else.
        key.enabled = -1
        ret = jump_label_update(key, True)
        key.enabled = 0 if ret else 1
    jump_label_unlock()
    return ret


# C~ static_key_disable_cpuslocked(): spelled out, without the CPU hotplug lock; text that cannot be
# written is an error
cdef int static_key_disable(static_key_t *key) noexcept nogil:
    cdef int ret = 0

    if key.enabled != 1:
        WARN_ONCE(key.enabled != 0, "static_key_disable(): count %d\n", key.enabled)
        return 0

    jump_label_lock()
    if key.enabled == 1:
        key.enabled = 0
        ret = jump_label_update(key, False)
        if ret:
            key.enabled = 1
    jump_label_unlock()
    return ret


# C~ static_key_slow_inc_cpuslocked(): spelled out, without the CPU hotplug lock
cdef void static_key_slow_inc(static_key_t *key) noexcept nogil:
    jump_label_lock()
    if key.enabled:
        key.enabled += 1
    else:
        key.enabled = -1
        key.enabled = 0 if jump_label_update(key, True) else 1
    jump_label_unlock()


# C~ __static_key_slow_dec(): spelled out, one update at a time
cdef void static_key_slow_dec(static_key_t *key) noexcept nogil:
    # A count that falls below zero stays there, and so does the text.
    jump_label_lock()
    key.enabled -= 1
    if key.enabled:
        WARN(key.enabled < 0, "jump label: negative count!\n")
    elif jump_label_update(key, False):
        key.enabled = 1
    jump_label_unlock()


# C+ stands for text_poke_early(): any bytes, while no thread is in the kernel
cdef int text_poke(void *addr, const void *opcode, size_t size) noexcept nogil:
    cdef ulong start = <ulong>addr
    cdef int ret

    stop_machine_begin()
    ret = protect(start, start + size, PROT_READ | PROT_WRITE)
    if ret == 0:
        memcpy(addr, opcode, size)
        make_executable(start, start + size)
        if sync_core:
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
    stop_machine_end()
    return ret


# C+ for a process that is copied: text and keys say the same until text_let_go()
cdef void text_hold() noexcept nogil:
    while not spin_trylock(&jump_label_mutex):
        sched_yield()
    while not stop_cpus_trylock():
        sched_yield()


# C+ see text_hold()
cdef void text_let_go() noexcept nogil:
    stop_cpus_unlock()
    mutex_unlock(&jump_label_mutex)


# C+ the form of the instructions, by call or by trap, is chosen before any of the text runs
cdef int jump_label_form(module_t *mod, static_key_t *key, bint by_trap) noexcept nogil:
    # A key that chooses what the text is before any of it runs: no step that fail_nth() counts.
    cdef long left = fail_left(FAIL_MPROTECT)
    cdef int ret = 0

    if key.enabled == by_trap:
        return 0
    jump_label_lock()
    if CONFIG_JUMP_LABEL:
        stop_machine_begin()
        fail_nth(FAIL_MPROTECT, 0)
        ret = jump_label_update_module(mod, key, by_trap)
        fail_nth(FAIL_MPROTECT, left)
        if sync_core:
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
        stop_machine_end()
    if ret == 0:
        key.enabled = by_trap
    jump_label_unlock()
    return ret
