# SPDX-License-Identifier: GPL-2.0-only
# Writing into text: all sites that change are written in one pass while no thread is in the kernel.
from kvm_vmx.abi.linux cimport JUMP_LABEL_JMP, jump_entry_t, module_t, pr_err
from kvm_vmx.abi.types cimport EFAULT, ENOSPC, PAGE_MASK, PAGE_SIZE, s32, u8, ulong
from kvm_vmx.l1.linux.fault cimport FAIL_MPROTECT, should_fail
from kvm_vmx.l1.linux.stop_machine cimport stop_machine_begin, stop_machine_end
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
    JUMP_LABEL_NOP_SIZE = 5
    JMP_OPCODE = 0xe9
    MAX_SITES = 2048        # that one key may have

ctypedef struct text_site:
    jump_entry_t *entry
    bint jump

cdef bint sync_core = False
cdef bint text_writing = True  # that the host lets text be changed
cdef text_site sites[MAX_SITES]
cdef int nr_sites = 0       # noted, and not written yet
cdef int last_error = 0     # of the last pass
cdef int text_error = 0     # the last one that was not 0, until the loader has asked


# C+ a boot begins with what the host allows
cdef void text_boot_data() noexcept nogil:
    global sync_core, nr_sites, last_error, text_error
    nr_sites = last_error = text_error = 0
    sync_core = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0


# C+ what the host lets a process do, as whoever boots the machine has found
cdef void text_host(bint has_sync_core, bint has_text_writing) noexcept nogil:
    global sync_core, text_writing
    sync_core = sync_core and has_sync_core
    text_writing = has_text_writing


# C+ for the module loader: why text was left as it was since it last asked, or 0
cdef int text_take_error() noexcept nogil:
    global text_error
    cdef int ret = text_error

    text_error = 0
    return ret


# C+ why the last pass left text as it was, or 0
cdef int text_last_error() noexcept nogil:
    return last_error


# C+ one site's five bytes
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


# C+ stands for the architecture's, as later kernels have it: a site is noted, to be written with
# the others of its key
cdef void arch_jump_label_transform(jump_entry_t *entry, int type) noexcept nogil:
    global nr_sites
    if nr_sites < MAX_SITES:
        sites[nr_sites].entry = entry
        sites[nr_sites].jump = type == JUMP_LABEL_JMP
    nr_sites += 1


# C+ the sites that are noted, if the text of each is what it is taken for
cdef int write_sites(int count, module_t *mod) noexcept nogil:
    cdef ulong first = ~<ulong>0, last = 0
    cdef u8 text[JUMP_LABEL_NOP_SIZE]
    cdef int i, ret

    if count > MAX_SITES:
        return -ENOSPC
    for i in range(count):
        compose(sites[i].entry, not sites[i].jump, text)
        if memcmp(<void *>sites[i].entry.code, text, JUMP_LABEL_NOP_SIZE):
            pr_err("jump_label: unexpected bytes at %p of %s, text left as it is\n",
                   <void *>sites[i].entry.code, mod.name)
            return -EFAULT
        first = min(first, <ulong>sites[i].entry.code)
        last = max(last, <ulong>sites[i].entry.code + JUMP_LABEL_NOP_SIZE)
    ret = protect(first, last, PROT_READ | PROT_WRITE)
    if ret:
        pr_err("jump_label: the text of %s cannot be made writable (%s): "
               "load the CONFIG_JUMP_LABEL=n build\n", mod.name, strerror(-ret))
        return ret
    for i in range(count):
        compose(sites[i].entry, sites[i].jump, text)
        memcpy(<void *>sites[i].entry.code, text, JUMP_LABEL_NOP_SIZE)
    make_executable(first, last)
    return 0


# C+ every site that is noted, or none: text and key say the same in either case
cdef int arch_jump_label_transform_apply(module_t *mod) noexcept nogil:
    global nr_sites, last_error, text_error
    cdef int count = nr_sites

    nr_sites = last_error = 0
    if count == 0:
        return 0
    stop_machine_begin()
    last_error = write_sites(count, mod)
    if sync_core:
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
    stop_machine_end()
    if last_error:
        text_error = last_error
    return last_error


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
