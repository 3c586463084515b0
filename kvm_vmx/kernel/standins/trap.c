// SPDX-License-Identifier: GPL-2.0-only
/* Exceptions of the image's text, and what the kernel says: WARN, BUG, the exception table, the log. */
#include "standin.h"
#include <linux/bug.h>
#include <linux/extable.h>
#include <linux/printk.h>
#include <asm/traps.h>

extern struct exception_table_entry __start___ex_table[], __stop___ex_table[];
extern struct bug_entry __start___bug_table[], __stop___bug_table[];

long standin_warnings;

/* The registers of a ucontext_t, by place. */
enum { UC_RDI = 8, UC_RDX = 12, UC_RAX = 13, UC_RSP = 15, UC_RIP = 16 };

/* How an entry of the exception table goes on is its handler's to say; these are all there are. */
bool ex_handler_default(void) { return true; }
bool ex_handler_fault(void) { return true; }
bool ex_handler_rdmsr_unsafe(void) { return true; }
bool ex_handler_wrmsr_unsafe(void) { return true; }
bool ex_handler_refcount(void) { return true; }
bool ex_handler_fprestore(void) { return true; }
bool ex_handler_clear_fs(void) { return true; }
bool ex_handler_ext(void) { return true; }

#ifdef HAVE_EX_HANDLER
static void handle(const struct exception_table_entry *entry, long long *regs, unsigned int vector)
{
	void *handler = (void *)&entry->handler + entry->handler;

	if (handler == (void *)ex_handler_fault)
		regs[UC_RAX] = vector;
	if (handler == (void *)ex_handler_rdmsr_unsafe)
		regs[UC_RAX] = regs[UC_RDX] = 0;
}
#else
static void handle(const struct exception_table_entry *entry, long long *regs, unsigned int vector) { }
#endif

static bool by_table(long long *regs, unsigned int vector)
{
	const struct exception_table_entry *entry;

	for (entry = __start___ex_table; entry < __stop___ex_table; entry++) {
		if ((unsigned long)&entry->insn + entry->insn != regs[UC_RIP])
			continue;
		handle(entry, regs, vector);
		regs[UC_RIP] = (unsigned long)&entry->fixup + entry->fixup;
		return true;
	}
	return false;
}

static unsigned long address_of(const struct bug_entry *entry)
{
	return (unsigned long)entry + entry->bug_addr_disp;
}

static void warned(const struct bug_entry *entry)
{
	char line[200];

	standin_warnings++;
	snprintf(line, sizeof(line), "WARNING at line %d of its file", entry->line);
	host->warn(address_of(entry), line);
}

/* WARN is UD2 with an entry that says so, and goes on behind it. */
static bool by_bug(long long *regs)
{
	struct bug_entry *entry;

	for (entry = __start___bug_table; entry < __stop___bug_table; entry++) {
		if (address_of(entry) != regs[UC_RIP] || !(entry->flags & BUGFLAG_WARNING))
			continue;
		if (!(entry->flags & BUGFLAG_ONCE) || !(entry->flags & BUGFLAG_DONE))
			warned(entry);
		entry->flags |= entry->flags & BUGFLAG_ONCE ? BUGFLAG_DONE : 0;
		regs[UC_RIP] += 2;
		return true;
	}
	return false;
}

/* What stands at the address of a fault is called with the context; 0: the kernel dies of it. */
int standin_exception(long long *regs, unsigned int vector)
{
	const unsigned char *code = (const unsigned char *)regs[UC_RIP];

	if (vector == X86_TRAP_UD && by_bug(regs))
		return 1;
	if (by_table(regs, vector))
		return 1;
	/* INT 2 hands an NMI on that a guest was left for */
	if (vector == X86_TRAP_GP && code[0] == 0xcd && code[1] == 2) {
		regs[UC_RIP] += 2;
		return 1;
	}
	return 0;
}

static void say(const char *format, va_list list)
{
	char line[512];
	int level = 4;
	const char *text = line;

	host->format(line, sizeof(line), format, list);
	if (text[0] == KERN_SOH_ASCII && text[1]) {
		level = text[1] == 'c' ? 6 : text[1] - '0';
		text += 2;
	}
	host->log(level, text);
}

#ifdef printk
#undef printk
#define printk _printk
#endif
int printk(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say(format, list);
	va_end(list);
	return 0;
}

void __warn_printk(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say(format, list);
	va_end(list);
}

int ___ratelimit(struct ratelimit_state *state, const char *function) { return 1; }
void dump_stack(void) { }

/* A symbol that no stand-in defines. */
void standin_missing(const char *name)
{
	char line[200];

	snprintf(line, sizeof(line), "vmlinux's %s is called, and has no stand-in", name);
	(host->die)(line, (unsigned long)__builtin_return_address(0));
}
