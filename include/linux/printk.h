// SPDX-License-Identifier: GPL-2.0-only
/* printk() and its levels: format here, keep in the kernel's ring. */
#ifndef KVM_VMX_LINUX_PRINTK_H
#define KVM_VMX_LINUX_PRINTK_H

#include <asm/percpu.h>
#include <linux/vmlinux.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_TEXT_MAX 512

/* prefix: what stands before the text, since Cython's literals cannot be pasted. */
static noinline __attribute__((cold))
void printk_prefixed(int level, const char *prefix, const char *fmt, ...)
{
	char text[LOG_TEXT_MAX];
	int used = snprintf(text, sizeof(text), "%s", prefix);
	va_list args;

	va_start(args, fmt);
	vsnprintf(text + used, sizeof(text) - used, fmt, args);
	va_end(args);
	this_cpu_read(vmlinux)->emit(level, text);
}

#define printk_level(level, ...) printk_prefixed(level, "", __VA_ARGS__)

#define pr_err(...) printk_level(3, __VA_ARGS__)
#define pr_emerg(...) printk_level(0, __VA_ARGS__)
#define pr_warn(...) printk_level(4, __VA_ARGS__)
#define pr_info(...) printk_level(6, __VA_ARGS__)
/* Debug messages are off: the compiler checks them, and nothing is evaluated. */
#define pr_debug(...) do { if (0) pr_info(__VA_ARGS__); } while (0)
#define pr_debug_ratelimited(...) pr_debug(__VA_ARGS__)

/*
 * True the first time in a boot. Each remembers the boot that it last was true in, in a section
 * of its own: a module load starts that afresh.
 */
#define first_time() ({							\
	static unsigned int __attribute__((section("once_flags"))) once__;	\
	unsigned int boot__ = this_cpu_read(vmlinux)->boot;		\
	bool first__ = once__ != boot__;				\
	once__ = boot__;						\
	first__; })
#define pr_once(print, ...) do { if (first_time()) print(__VA_ARGS__); } while (0)
#define pr_warn_once(...) pr_once(pr_warn, __VA_ARGS__)
#define pr_info_once(...) pr_once(pr_info, __VA_ARGS__)
#define vcpu_unimpl(vcpu, ...) pr_once(pr_err, __VA_ARGS__)
#define dump_stack() ((void)0)

#endif
