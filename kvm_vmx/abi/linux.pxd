# SPDX-License-Identifier: GPL-2.0-only
# What the kernel's other headers offer, for Cython.
from kvm_vmx.abi.types cimport u32, u64, ulong

cdef extern from "linux/printk.h" nogil:
    enum:
        LOG_TEXT_MAX

    void printk_prefixed(int level, const char *prefix, const char *fmt, ...)
    void pr_err(const char *fmt, ...)
    void pr_emerg(const char *fmt, ...)
    void pr_warn(const char *fmt, ...)
    void pr_info(const char *fmt, ...)
    void pr_debug(const char *fmt, ...)
    void pr_debug_ratelimited(const char *fmt, ...)
    void pr_warn_once(const char *fmt, ...)
    void pr_info_once(const char *fmt, ...)
    void vcpu_unimpl(void *vcpu, const char *fmt, ...)
    void dump_stack()

cdef extern from "linux/bug.h" nogil:
    bint WARN(bint condition, const char *fmt, ...)
    bint WARN_ONCE(bint condition, const char *fmt, ...)
    bint WARN_ON(bint condition)
    bint WARN_ON_ONCE(bint condition)
    void BUG_ON(bint condition)

cdef extern from "linux/atomic.h" nogil:
    int atomic_read(const int *counter)
    void atomic_set(int *counter, int value)
    void atomic_set_release(int *counter, int value)
    void atomic_inc(int *counter)
    bint atomic_dec_and_test(int *counter)
    int atomic_cmpxchg(int *counter, int old, int value)
    bint atomic_add_unless(int *counter, int more, int unless)

cdef extern from "linux/sort.h" nogil:
    enum:
        SORT_SIZE_MAX

    void sort(void *base, size_t num, size_t size, int (*cmp)(const void *a, const void *b) noexcept nogil, void *swap)

cdef extern from "linux/jump_label.h" nogil:
    enum:
        JUMP_LABEL_NOP
        JUMP_LABEL_JMP
    const u64 JUMP_TYPE_FALSE
    const u64 JUMP_TYPE_TRUE
    const u64 JUMP_TYPE_LINKED
    const u64 JUMP_TYPE_MASK

    ctypedef struct jump_entry_t "struct jump_entry":
        u64 code
        u64 target
        u64 key

    ctypedef struct static_key_t "struct static_key":
        int enabled
        ulong type
        jump_entry_t *entries

    ctypedef struct static_key_true "struct static_key_true":
        static_key_t key

    ctypedef struct static_key_false "struct static_key_false":
        static_key_t key

    ctypedef struct delayed_work "struct delayed_work"

    int static_key_count(const static_key_t *key)
    bint static_key_enabled(const static_key_t *key)
    bint static_branch_unlikely(static_key_false *key)
    bint static_branch_likely(static_key_false *key)
    bint static_branch_unlikely_true "static_branch_unlikely"(static_key_true *key)
    bint static_branch_likely_true "static_branch_likely"(static_key_true *key)

cdef extern from "asm/jump_label.h" nogil:
    enum:
        JUMP_LABEL_NOP_SIZE
        STATIC_KEY_INIT_JMP
    const u64 JUMP_TABLE_ENTRY

cdef extern from "linux/mm.h" nogil:
    enum:
        GFP_KERNEL
        __GFP_ZERO
    const u64 INVALID_PAGE

    ctypedef struct page_t "struct page"

    void *page_address(page_t *page)
    int get_order(ulong size)
    bint VALID_PAGE(u64 page)
    u64 __pa(const void *address)
    void *__va(u64 pa)
    void check_canonical(ulong address)
    void *NO_PAGE_ADDRESS
    u64 page_to_phys(page_t *page)
    page_t *virt_to_page(const void *address)
    u64 vmalloc_to_pfn(const void *address)
    int cpu_to_node(int cpu)

cdef extern from "linux/module.h" nogil:
    enum:
        MODULE_MAX_PARAMS

    ctypedef struct module_param_t "struct module_param":
        const char *name
        int *value
        int initial
        int is_bool

    ctypedef struct module_t "struct module":
        const char *name
        int (*init)() noexcept nogil
        void (*exit)() noexcept nogil
        void (*data)() noexcept nogil
        jump_entry_t *jump_entries
        unsigned int num_jump_entries
        ulong core_base
        ulong core_size
        ulong text_size
        unsigned int *once_flags
        unsigned int *once_flags_end
        int nr_params
        module_param_t params[32]
        int loaded
        int text_error

    void module_sections(module_t *mod)
    bint within_module(ulong address, const module_t *mod)
    void module_initial_params(module_t *mod)
    jump_entry_t __start___jump_table[]
    jump_entry_t __stop___jump_table[]
    void module_add_param(module_t *mod, const char *name, bint *value, bint is_bool)

cdef extern from "linux/spinlock.h" nogil:
    ctypedef int spinlock_t

    void spin_lock_init(spinlock_t *lock)
    void spin_lock(spinlock_t *lock)
    bint spin_trylock(spinlock_t *lock)
    bint spin_is_locked(const spinlock_t *lock)
    void spin_unlock(spinlock_t *lock)
    bint raw_spin_is_locked(const spinlock_t *lock)

cdef extern from "linux/sched.h" nogil:
    ctypedef struct task_struct "struct task_struct":
        ulong sp
        ulong stack
        ulong fsbase
        ulong gsbase
        int cpuid_traps
        int sigpending
        int need_resched

    bint signal_pending(const task_struct *task)
    bint need_resched()
    void preempt_disable()
    void preempt_enable()
    void local_irq_disable()
    void local_irq_enable()
    void local_irq_restore(ulong flags)
    int get_cpu()
    void put_cpu()
    task_struct *current
    void local_irq_save(ulong flags)
