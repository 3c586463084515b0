// SPDX-License-Identifier: GPL-2.0-only
/* Files, ioctls and what user space hands in; all other registrations of a module's. */
#include "standin.h"
#include <linux/file.h>
#include <linux/anon_inodes.h>
#include <linux/miscdevice.h>
#include <linux/syscore_ops.h>
#include <linux/reboot.h>
#include <linux/debugfs.h>
#include <linux/uaccess.h>
#include <linux/perf_event.h>
#include <linux/percpu_counter.h>
#include <linux/user-return-notifier.h>
#include <linux/mmu_notifier.h>

#ifdef HAVE_FAST_ONLY
#define USER_PAGES_FLAGS unsigned int
#else
#define USER_PAGES_FLAGS int
#endif
#ifdef HAVE_PERF_MSRS_DATA
#define PERF_GUEST_ARGUMENTS int *count, void *data
#else
#define PERF_GUEST_ARGUMENTS int *count
#endif
#define NR_FILES 256
static struct file *files[NR_FILES];
static const struct file_operations *device;

int get_unused_fd_flags(unsigned int flags)
{
	int fd;

	for (fd = 3; fd < NR_FILES; fd++)
		if (!files[fd])
			return fd;
	return -EMFILE;
}

void put_unused_fd(unsigned int fd) { }
void fd_install(unsigned int fd, struct file *file) { files[fd] = file; }

struct file *anon_inode_getfile(const char *name, const struct file_operations *operations,
				void *private, int flags)
{
	struct file *file = standin_alloc(sizeof(*file), __GFP_ZERO);

	if (!file)
		return ERR_PTR(-ENOMEM);
	file->f_op = operations;
	file->private_data = private;
	return file;
}

int anon_inode_getfd(const char *name, const struct file_operations *operations, void *private,
		     int flags)
{
	struct file *file;
	int fd = get_unused_fd_flags(flags);

	if (fd < 0)
		return fd;
	file = anon_inode_getfile(name, operations, private, flags);
	if (IS_ERR(file))
		return PTR_ERR(file);
	fd_install(fd, file);
	return fd;
}

void fput(struct file *file)
{
	if (file->f_op->release)
		file->f_op->release(NULL, file);
	standin_free(file);
}

int misc_register(struct miscdevice *what)
{
	device = what->fops;
	return 0;
}

void misc_deregister(struct miscdevice *what) { device = NULL; }

/* fd -1 is /dev/kvm. A call ends as a system call does, on the way back to user space. */
long standin_ioctl(long fd, long command, long argument)
{
	struct file none = { .f_op = device };
	struct file *file = fd < 0 ? &none : fd < NR_FILES ? files[fd] : NULL;
	long ret;

	if (!file || !file->f_op)
		return -EBADF;
	ret = file->f_op->unlocked_ioctl(file, command, argument);
	standin_quiesce();
	standin_no_signal();
	return ret;
}

long standin_close(long fd)
{
	struct file *file = fd >= 0 && fd < NR_FILES ? files[fd] : NULL;

	if (!file)
		return -EBADF;
	files[fd] = NULL;
	fput(file);
	standin_quiesce();
	return 0;
}

/* struct kvm_run of a vCPU's file, which user space would map. */
long standin_run_page(long fd) { return (long)((struct kvm_vcpu *)files[fd]->private_data)->run; }

/* User space has L1's memory a second time, where no kernel address lies. */
static struct page *user_page(unsigned long address)
{
	struct page *page = virt_to_page(address - host->user + page_offset_base);

	get_page(page);
	return page;
}

static int user_pages(unsigned long start, unsigned long count, struct page **pages)
{
	unsigned long i;

	if (start < host->user || start + count * PAGE_SIZE > host->user + host->memory_size)
		return -EFAULT;
	for (i = 0; i < count; i++)
		pages[i] = user_page(start + i * PAGE_SIZE);
	return count;
}

int get_user_pages_fast(unsigned long start, int count, USER_PAGES_FLAGS flags, struct page **pages)
{
	return user_pages(start, count, pages);
}

#ifndef HAVE_FAST_ONLY
#define get_user_pages_fast_only __get_user_pages_fast
#endif
int get_user_pages_fast_only(unsigned long start, int count, USER_PAGES_FLAGS flags,
			     struct page **pages)
{
	return max(user_pages(start, count, pages), 0);
}

long get_user_pages_unlocked(unsigned long start, unsigned long count, struct page **pages,
			     unsigned int flags)
{
	return user_pages(start, count, pages);
}

unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n)
{
	memcpy(to, (const void *)from, n);
	return 0;
}

unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n)
{
	memcpy((void *)to, from, n);
	return 0;
}

#ifndef HAVE_CLEAR_USER_INLINE
unsigned long __clear_user(void __user *to, unsigned long n)
{
	memset((void *)to, 0, n);
	return 0;
}
#endif

void *memdup_user(const void __user *from, size_t n)
{
	void *copy = standin_alloc(n, 0);

	return copy ? memcpy(copy, (const void *)from, n) : ERR_PTR(-ENOMEM);
}

#define COPY_USER(name) \
	unsigned long name(void *to, const void *from, unsigned len) { memcpy(to, from, len); return 0; }
COPY_USER(copy_user_generic_string)
COPY_USER(copy_user_generic_unrolled)
COPY_USER(copy_user_enhanced_fast_string)

struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long address) { return NULL; }
unsigned long vma_kernel_pagesize(struct vm_area_struct *vma) { return PAGE_SIZE; }
int mmu_notifier_register(struct mmu_notifier *notifier, struct mm_struct *mm) { return 0; }

/* Who listens no longer lets go of all that it has of user space. */
void mmu_notifier_unregister(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	if (notifier->ops->release)
		notifier->ops->release(notifier, mm);
}


int register_reboot_notifier(struct notifier_block *block) { return 0; }
int unregister_reboot_notifier(struct notifier_block *block) { return 0; }
void register_syscore_ops(struct syscore_ops *operations) { }
void unregister_syscore_ops(struct syscore_ops *operations) { }
#ifdef HAVE_SHRINKER_NAMES
int register_shrinker(struct shrinker *shrinker, const char *name, ...) { return 0; }
#else
int register_shrinker(struct shrinker *shrinker) { return 0; }
#endif
void unregister_shrinker(struct shrinker *shrinker) { }
struct dentry *debugfs_create_dir(const char *name, struct dentry *parent) { return NULL; }
void debugfs_remove_recursive(struct dentry *entry) { }
bool debugfs_initialized(void) { return false; }

struct dentry *debugfs_create_file(const char *name, umode_t mode, struct dentry *parent,
				   void *data, const struct file_operations *operations)
{
	return NULL;
}

#ifdef HAVE_PERF_CALLBACKS_INT
int perf_register_guest_info_callbacks(struct perf_guest_info_callbacks *calls) { return 0; }
int perf_unregister_guest_info_callbacks(struct perf_guest_info_callbacks *calls) { return 0; }
#else
void perf_register_guest_info_callbacks(struct perf_guest_info_callbacks *calls) { }
void perf_unregister_guest_info_callbacks(struct perf_guest_info_callbacks *calls) { }
#endif
void perf_get_x86_pmu_capability(struct x86_pmu_capability *cap) { memset(cap, 0, sizeof(*cap)); }

static struct perf_guest_switch_msr perf_switch;

struct perf_guest_switch_msr *perf_guest_get_msrs(PERF_GUEST_ARGUMENTS)
{
	*count = perf_switch.host != perf_switch.guest;
	return &perf_switch;
}

/* perf counts in L1 what host says, in guests what guest says: KVM switches where they differ. */
long standin_perf_events(long in_host, long in_guest)
{
	perf_switch.msr = MSR_CORE_PERF_GLOBAL_CTRL;
	perf_switch.host = in_host;
	perf_switch.guest = in_guest;
	return 0;
}

struct perf_event *perf_event_create_kernel_counter(struct perf_event_attr *attr, int cpu,
	struct task_struct *task, perf_overflow_handler_t handler, void *context)
{
	return ERR_PTR(-ENOENT);
}

int kobject_uevent_env(struct kobject *object, enum kobject_action action, char *env[]) { return 0; }
int add_uevent_var(struct kobj_uevent_env *env, const char *format, ...) { return 0; }
int percpu_counter_batch = 32;
#ifndef HAVE_COUNTERS_MANY
int __percpu_counter_init(struct percpu_counter *c, s64 n, gfp_t f, struct lock_class_key *k) { return 0; }
void percpu_counter_destroy(struct percpu_counter *counter) { }
#endif
void percpu_counter_add_batch(struct percpu_counter *c, s64 n, s32 batch) { c->count += n; }
