// SPDX-License-Identifier: GPL-2.0-only
/* System calls that the host refuses: the nth of a kind that the package makes, by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* Which of CALLS; from which on, counted from 1 (0: none); how many of them; how many were made. */
int refuse_what, refuse_nth, refuse_count, refuse_made;

enum { MPROTECT, MMAP, MADVISE, SIGALTSTACK, SIGACTION, MEMFD, FTRUNCATE, MEMBARRIER, ARCH_PRCTL,
       REHEARSAL, THREAD, PIPE };

static int refused(int what, void *caller)
{
	Dl_info info;

	if (what != refuse_what || !dladdr(caller, &info) || !strstr(info.dli_fname, "/kvm_vmx/"))
		return 0;
	refuse_made++;
	if (!refuse_nth || refuse_made < refuse_nth || refuse_made >= refuse_nth + refuse_count)
		return 0;
	errno = what == MMAP || what == MADVISE ? ENOMEM : EPERM;
	return 1;
}

#define REFUSED(what) refused(what, __builtin_return_address(0))
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int mprotect(void *at, size_t size, int prot)
{
	return REFUSED(MPROTECT) ? -1 : NEXT(mprotect)(at, size, prot);
}

void *mmap64(void *at, size_t size, int prot, int flags, int fd, off64_t offset)
{
	return REFUSED(MMAP) ? MAP_FAILED : NEXT(mmap64)(at, size, prot, flags, fd, offset);
}

int madvise(void *at, size_t size, int advice)
{
	return REFUSED(MADVISE) ? -1 : NEXT(madvise)(at, size, advice);
}

int sigaltstack(const stack_t *stack, stack_t *old)
{
	return REFUSED(SIGALTSTACK) ? -1 : NEXT(sigaltstack)(stack, old);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	return REFUSED(SIGACTION) ? -1 : NEXT(sigaction)(number, action, old);
}

int memfd_create(const char *name, unsigned int flags)
{
	return REFUSED(MEMFD) ? -1 : NEXT(memfd_create)(name, flags);
}

int ftruncate64(int fd, off64_t size)
{
	return REFUSED(FTRUNCATE) ? -1 : NEXT(ftruncate64)(fd, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		   void *arg)
{
	return REFUSED(THREAD) ? EAGAIN : NEXT(pthread_create)(thread, attributes, start, arg);
}

int pipe2(int ends[2], int flags)
{
	return REFUSED(PIPE) ? -1 : NEXT(pipe2)(ends, flags);
}

long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if ((number == SYS_membarrier && REFUSED(MEMBARRIER)) ||
	    (number == SYS_arch_prctl && REFUSED(ARCH_PRCTL)) ||
	    (number == SYS_mprotect && REFUSED(REHEARSAL)))
		return -1;
	return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
