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

#ifdef HAVE_PERF_MSRS_DATA
#define PERF_GUEST_ARGUMENTS int *count, void *data
#else
#define PERF_GUEST_ARGUMENTS int *count
#endif
#define NR_FILES 2048
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

/* The VMCS that a vCPU has loaded, by an ioctl that does no more; current_vmcs is the variable. */
long standin_vmcs(long fd, long state, long current_vmcs)
{
	standin_ioctl(fd, KVM_GET_MP_STATE, state);
	return *(long *)(per_cpu_offset(smp_processor_id()) + current_vmcs);
}

/* struct kvm_run of a vCPU's file, which user space would map. */
long standin_run_page(long fd) { return (long)((struct kvm_vcpu *)files[fd]->private_data)->run; }

/* The struct kvm or kvm_vcpu behind a file. */
long standin_private(long fd) { return (long)files[fd]->private_data; }

/* How often the TLBs of all vCPUs of a VM's file were flushed at once. */
long standin_flushes(long fd)
{
	const struct kvm *kvm = files[fd]->private_data;

#ifdef HAVE_GENERIC_STATS
	return kvm->stat.generic.remote_tlb_flush;
#else
	return kvm->stat.remote_tlb_flush;
#endif
}

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
