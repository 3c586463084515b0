// SPDX-License-Identifier: GPL-2.0-only
/* Whether this process may change its text: tried on a page that nobody executes. */
#ifndef KVM_VMX_LINUX_TEXT_H
#define KVM_VMX_LINUX_TEXT_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TEXT_PAGE 4096

/*
 * A policy may grant the writing and then refuse to make the page executable again, when it is
 * too late. So the same steps are taken first with another mapping of the file that text is
 * from, or with memory of no file where that cannot be opened; by bare system calls, so that
 * whoever counts calls of mprotect() counts those for text. 0, or -1 with errno.
 */
static inline int rehearse(const void *text)
{
	Dl_info info;
	int file = dladdr(text, &info) ? open(info.dli_fname, O_RDONLY | O_CLOEXEC) : -1;
	char *page = mmap(NULL, TEXT_PAGE, PROT_READ, MAP_PRIVATE | (file < 0 ? MAP_ANONYMOUS : 0),
			  file, 0);
	int ret, error;

	if (file >= 0)
		close(file);
	if (page == MAP_FAILED)
		return -1;
	ret = syscall(SYS_mprotect, page, TEXT_PAGE, PROT_READ | PROT_WRITE);
	if (!ret) {
		*(volatile char *)page = 0;
		ret = syscall(SYS_mprotect, page, TEXT_PAGE, PROT_READ | PROT_EXEC);
	}
	error = errno;
	munmap(page, TEXT_PAGE);
	errno = error;
	return ret;
}

#endif
