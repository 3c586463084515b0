// SPDX-License-Identifier: GPL-2.0-only
/* What vmlinux has offered to KVM since it took these over from it: static calls, guest FPUs, locks
 * of readers and writers, work of a thread of its own. */
#include "standin.h"

#ifdef HAVE_KVM_STATIC_CALLS
#include <linux/static_call.h>
#include <linux/rwlock.h>
#include <linux/rwsem.h>
#include <linux/shrinker.h>
#ifdef HAVE_VHOST_TASK
#include <linux/sched/vhost_task.h>
#else
#include <linux/kthread.h>
#include <linux/completion.h>
#include <linux/cgroup.h>
#endif
#include <linux/entry-kvm.h>
#include <linux/interval_tree.h>
#include <linux/perf_event.h>
#include <linux/percpu_counter.h>
#include <linux/syscore_ops.h>
#include <linux/suspend.h>
#include <linux/debugfs.h>
#include <linux/xarray.h>
#include <linux/sched/isolation.h>
#include <asm/fpu/api.h>
#include <asm/e820/api.h>
#include <asm/intel_pt.h>
#include <linux/cpufreq.h>
#include <asm/tlbflush.h>
#include <asm/reboot.h>
#include <asm/msr.h>

struct kmem_cache *radix_tree_node_cachep;
atomic_t __num_online_cpus = ATOMIC_INIT(1);
DEFINE_PER_CPU_READ_MOSTLY(struct cpuinfo_x86, cpu_info);
DEFINE_PER_CPU(u64, x86_spec_ctrl_current);
DEFINE_PER_CPU(bool, x86_ibpb_exit_to_user);
u64 x86_pred_cmd = 1;
#ifdef HAVE_NOPROF
kmem_buckets kmalloc_caches[NR_KMALLOC_TYPES];
#else
struct kmem_cache *kmalloc_caches[NR_KMALLOC_TYPES][KMALLOC_SHIFT_HIGH + 1];
DEFINE_PER_CPU(int, __preempt_count);
#endif
unsigned long volatile jiffies;
struct static_key_false mmio_stale_data_clear, sched_smt_present;
struct static_key_false hugetlb_optimize_vmemmap_key;
nodemask_t node_states[NR_NODE_STATES];
struct pglist_data *node_data[MAX_NUMNODES];
unsigned long USER_PTR_MAX = TASK_SIZE_MAX;
u16 x86_verw_sel;
struct workqueue_struct *system_percpu_wq;
enum system_states system_state = SYSTEM_RUNNING;
bool itlb_multihit_kvm_mitigation;

/* A static call is a jump in a trampoline, as long as no site is rewritten. */
void __static_call_update(struct static_call_key *key, void *trampoline, void *function)
{
	struct host_patch jump = { trampoline, 5, { 0xe9 } };
	int distance;

	key->func = function;
	if (!trampoline)
		return;
	distance = (long)(function ?: (void *)__static_call_return0) - (long)trampoline - 5;
	memcpy(jump.bytes + 1, &distance, 4);
	if (host->patch(&jump, 1))
		die("the text of a static call cannot be written");
}

long __static_call_return0(void) { return 0; }

#define WRITER 0xff
#define READER 0x200

static __always_inline void take_write(rwlock_t *lock)
{
	SPIN_WHILE(READ_ONCE(lock->raw_lock.cnts.counter),
		   "a lock is taken for writing that is taken");
	lock->raw_lock.cnts.counter = WRITER;
}

static __always_inline void take_read(rwlock_t *lock)
{
	SPIN_WHILE((READ_ONCE(lock->raw_lock.cnts.counter) & WRITER) == WRITER,
		   "a lock is taken for reading that is taken for writing");
	lock->raw_lock.cnts.counter += READER;
}

void _raw_write_lock(rwlock_t *lock) { take_write(lock); }
void _raw_read_lock(rwlock_t *lock) { take_read(lock); }

void _raw_write_lock_irq(rwlock_t *lock)
{
	local_irq_disable();
	take_write(lock);
}

void _raw_read_lock_irq(rwlock_t *lock)
{
	local_irq_disable();
	take_read(lock);
}

unsigned long _raw_read_lock_irqsave(rwlock_t *lock)
{
	unsigned long flags;

	local_irq_save(flags);
	take_read(lock);
	return flags;
}

void _raw_read_unlock_irqrestore(rwlock_t *lock, unsigned long flags)
{
	lock->raw_lock.cnts.counter -= READER;
	local_irq_restore(flags);
}

int __cond_resched_rwlock_read(rwlock_t *held)
{
	if (!need_resched())
		return 0;
	read_unlock(held);
	standin_maybe_preempt();
	read_lock(held);
	return 1;
}

int __cond_resched_rwlock_write(rwlock_t *held)
{
	if (!need_resched())
		return 0;
	write_unlock(held);
	standin_maybe_preempt();
	write_lock(held);
	return 1;
}

void __init_rwsem(struct rw_semaphore *lock, const char *name, struct lock_class_key *key)
{
	atomic_long_set(&lock->count, 0);
}

void down_write(struct rw_semaphore *lock)
{
	SLEEP_WHILE(atomic_long_read(&lock->count), "a semaphore is taken twice");
	atomic_long_set(&lock->count, -1);
}

void up_write(struct rw_semaphore *lock)
{
	atomic_long_set(&lock->count, 0);
	host->wake();
}

bool mutex_is_locked(struct mutex *lock) { return atomic_long_read(&lock->owner) != 0; }
void cleanup_srcu_struct(struct srcu_struct *srcu) { }
void synchronize_rcu(void) { standin_others_leave(); }
void rcu_barrier(void) { }
void call_rcu_sched(struct rcu_head *head, rcu_callback_t function);
void call_rcu(struct rcu_head *head, rcu_callback_t function) { call_rcu_sched(head, function); }
void migrate_disable(void) { }
void migrate_enable(void) { }
void __local_bh_enable_ip(unsigned long ip, unsigned int count) { }

unsigned long cr4_read_shadow(void) { return this_cpu_read(cpu_tlbstate.cr4); }

void cr4_update_irqsoff(unsigned long set, unsigned long clear)
{
	unsigned long now = cr4_read_shadow(), wanted = (now & ~clear) | set;

	if (wanted == now)
		return;
	this_cpu_write(cpu_tlbstate.cr4, wanted);
	if (host->write_cr(4, wanted))
		die("MOV to CR4 faults");
}

unsigned long __get_current_cr3_fast(void) { return host->read_cr(3); }
void current_save_fsgs(void) { }

/* L2 has no FPU of its own here: what KVM keeps of one is there and never loaded. */
bool fpu_alloc_guest_fpstate(struct fpu_guest *guest)
{
	struct fpstate *state = standin_alloc(PAGE_SIZE, __GFP_ZERO);

	if (!state)
		return false;
	state->size = state->user_size = sizeof(struct fxregs_state);
	guest->fpstate = state;
	guest->uabi_size = PAGE_SIZE;
	return true;
}

void fpu_free_guest_fpstate(struct fpu_guest *guest) { standin_free(guest->fpstate); }
int fpu_swap_kvm_fpstate(struct fpu_guest *guest, bool enter) { return 0; }
void fpu_update_guest_xfd(struct fpu_guest *guest, u64 xfd) { }
void fpu_sync_guest_vmexit_xfd_state(void) { }
void fpregs_assert_state_consistent(void) { }
void switch_fpu_return(void) { }
u64 xstate_get_guest_group_perm(void) { return 3; }

#ifdef HAVE_NOPROF
void *__kvmalloc_node_noprof(DECL_BUCKET_PARAMS(size, b), gfp_t flags, int node)
{
	return standin_alloc(size, flags);
}

void *__kmalloc_cache_noprof(struct kmem_cache *cache, gfp_t flags, size_t size)
{
	return standin_alloc(size, flags);
}

void *__vmalloc_noprof(unsigned long size, gfp_t flags) { return standin_alloc(size, flags); }
void *__vcalloc_noprof(size_t n, size_t size, gfp_t flags) { return standin_alloc(n * size, flags | __GFP_ZERO); }
void *kmem_cache_alloc_lru_noprof(struct kmem_cache *c, struct list_lru *lru, gfp_t flags) { return standin_alloc(1024, flags | __GFP_ZERO); }
#else
void __folio_put(struct folio *folio) { free_pages((unsigned long)folio_address(folio), 0); }
void *kmalloc_trace(struct kmem_cache *cache, gfp_t flags, size_t size) { return standin_alloc(size, flags); }
void *__vmalloc(unsigned long size, gfp_t flags) { return standin_alloc(size, flags); }
void *__vcalloc(size_t n, size_t size, gfp_t flags) { return standin_alloc(n * size, flags | __GFP_ZERO); }
void *kmem_cache_alloc_lru(struct kmem_cache *c, struct list_lru *lru, gfp_t flags) { return standin_alloc(1024, flags | __GFP_ZERO); }
struct page *alloc_pages(gfp_t flags, unsigned int order)
{
	unsigned long address = __get_free_pages(flags, order);

	return address ? virt_to_page(address) : NULL;
}

struct page *__alloc_pages(gfp_t flags, unsigned int order, int node, nodemask_t *mask) { return alloc_pages(flags, order); }
#endif

#ifdef HAVE_NOPROF
struct shrinker *shrinker_alloc(unsigned int flags, const char *name, ...)
{
	return standin_alloc(sizeof(struct shrinker), __GFP_ZERO);
}

void shrinker_register(struct shrinker *shrinker) { }
void shrinker_free(struct shrinker *shrinker) { standin_free(shrinker); }
#endif

u64 perf_get_hw_event_config(int event) { return 0; }
void x86_perf_get_lbr(struct x86_pmu_lbr *lbr) { memset(lbr, 0, sizeof(*lbr)); }
const struct x86_cpu_id *x86_match_cpu(const struct x86_cpu_id *match) { return NULL; }
bool cpu_smt_possible(void) { return false; }
bool housekeeping_enabled(enum hk_type type) { return false; }
bool capable(int what) { return true; }
bool gds_ucode_mitigated(void) { return true; }
ktime_t ktime_get_raw(void) { return ktime_get(); }
int rcuwait_wake_up(struct rcuwait *wait) { return 0; }
void finish_rcuwait(struct rcuwait *wait) { wait->task = NULL; }
void mod_node_page_state(struct pglist_data *node, enum node_stat_item item, long delta) { }
int hrtimer_try_to_cancel(struct hrtimer *timer) { return hrtimer_cancel(timer); }
struct dentry *debugfs_lookup(const char *name, struct dentry *parent) { return NULL; }

int __percpu_counter_init_many(struct percpu_counter *counter, s64 amount, gfp_t flags, u32 count,
			       struct lock_class_key *key)
{
	return 0;
}

void percpu_counter_destroy_many(struct percpu_counter *counter, u32 count) { }

/* What a signal is for: the run of the vCPU comes back. */
int xfer_to_guest_mode_handle_work(struct kvm_vcpu *vcpu)
{
	standin_maybe_preempt();
	if (!signal_pending(current))
		return 0;
	vcpu->run->exit_reason = KVM_EXIT_INTR;
	vcpu->stat.signal_exits++;
	return -EINTR;
}

#ifdef HAVE_VHOST_TASK
/* The thread that gives huge pages back is never started. */
struct vhost_task *vhost_task_create(bool (*run)(void *), void (*killed)(void *), void *data,
				     const char *name)
{
	return standin_alloc(64, __GFP_ZERO);
}

void vhost_task_start(struct vhost_task *task) { }
void vhost_task_wake(struct vhost_task *task) { }
void vhost_task_stop(struct vhost_task *task) { standin_free(task); }
#else
/* The thread that gives huge pages back never runs. */
struct task_struct *kthread_create_on_node(int (*run)(void *), void *data, int node,
					   const char *name, ...)
{
	return current;
}

void wait_for_completion(struct completion *done) { }
void complete(struct completion *done) { }
int wake_up_process(struct task_struct *task) { return 0; }
int kthread_park(struct task_struct *task) { return 0; }
void kthread_unpark(struct task_struct *task) { }
int kthread_stop(struct task_struct *task) { return 0; }
int cgroup_attach_task_all(struct task_struct *from, struct task_struct *task) { return 0; }
void set_user_nice(struct task_struct *task, long nice) { }
bool cpu_mitigations_off(void) { return true; }
void asm_exc_nmi_noist(void) { }
void __module_get(struct module *module) { }
void module_put(struct module *module) { }
#endif

void refcount_warn_saturate(refcount_t *count, enum refcount_saturation_type type)
{
	die("a reference count has run over");
}

void __bitmap_set(unsigned long *map, unsigned int start, int length)
{
	while (length-- > 0)
		__set_bit(start++, map);
}

int kstrtobool(const char *text, bool *value)
{
	*value = *text == '1' || *text == 'Y' || *text == 'y';
	return 0;
}

void *vmemdup_user(const void __user *from, size_t n) { return memdup_user(from, n); }

void radix_tree_node_rcu_free(struct rcu_head *head)
{
	standin_free(container_of(head, struct xa_node, rcu_head));
}

/* Of arch/x86/lib: each has its own registers. */
asm(".pushsection .text\n"
    ".globl rep_movs_alternative\nrep_movs_alternative: rep movsb\n ret\n"
    ".globl __get_user_8, __get_user_nocheck_8\n__get_user_8:\n__get_user_nocheck_8:\n"
    " mov (%rax), %rdx\n xor %eax, %eax\n ret\n"
    ".globl __get_user_4, __get_user_nocheck_4\n__get_user_4:\n__get_user_nocheck_4:\n"
    " mov (%rax), %edx\n xor %eax, %eax\n ret\n"
    ".globl __put_user_8\n__put_user_8: mov %rax, (%rcx)\n xor %ecx, %ecx\n ret\n"
    ".globl __put_user_4, __put_user_nocheck_4\n__put_user_4:\n__put_user_nocheck_4:\n"
    " mov %eax, (%rcx)\n xor %ecx, %ecx\n ret\n"
    ".globl clear_bhb_loop\nclear_bhb_loop: ret\n"
    ".globl BUG_func\nBUG_func: ud2\n"
    ".popsection");

bool e820__mapped_raw_any(u64 start, u64 end, enum e820_type type) { return true; }
void dput(struct dentry *entry) { }
struct cpufreq_policy *cpufreq_cpu_get(unsigned int cpu) { return NULL; }
void cpufreq_cpu_put(struct cpufreq_policy *policy) { }
u32 intel_pt_validate_hw_cap(enum pt_capabilities cap) { return 0; }
void asm_exc_nmi_kvm_vmx(void) { }
#endif
