// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals as traps: what of SIGILL and SIGSEGV is an instruction of a CPU, what else is an
 * exception of its kernel, and where the rest goes.
 */
#ifndef KVM_VMX_MACHINE_TRAP_SIGNAL_H
#define KVM_VMX_MACHINE_TRAP_SIGNAL_H

#include <asm/processor-flags.h>
#include <kvm_vmx/trap/emulate.h>
#include <pthread.h>
#include <signal.h>

/* Whose handlers these were. There are two, so that one stays whole while the other is written. */
struct trap_previous {
	struct sigaction action[2];
	int which;
};

/* Instructions raise the first two; the others are exceptions of a kernel that goes wrong. */
static const int trap_signals[] = { SIGILL, SIGSEGV, SIGFPE, SIGBUS, SIGTRAP };
#define NR_TRAP_SIGNALS 5
#define NR_INSN_SIGNALS 2

static struct trap_previous trap_previous[NR_TRAP_SIGNALS];

/* Who wants single steps is told of an instruction that traps where there were none, and behind
 * it the thread goes on in steps. */
static void (*trap_step)(greg_t *gregs);

static void trap_step_by(unsigned long function)
{
	WRITE_ONCE(trap_step, (void (*)(greg_t *))function);
}

/* Where the opcodes stand that trap, and which each is, for who asks: the first of them. */
struct trap_place {
	u64 rip;
	u32 op;
};

static struct trap_place *trap_places;
static size_t trap_places_room, trap_places_taken;

static void trap_note_place(u64 rip, u32 op)
{
	if (trap_places_taken < trap_places_room)
		trap_places[trap_places_taken++] = (struct trap_place){ rip, op };
}

/* How often this thread has asked for traps: 0 is a thread whose faults are none of ours. Not
 * allocated when it is first touched, which may be in a signal handler. */
static __thread int trap_depth __attribute__((tls_model("initial-exec")));

static const struct trap_text *text_of(u64 rip)
{
	int i;

	for (i = 0; i < TRAP_TEXTS; i++)
		if (rip >= READ_ONCE(trap_texts[i].start) && rip < READ_ONCE(trap_texts[i].end))
			return &trap_texts[i];
	return NULL;
}

/* The text that has just called what is no text: the return address on top of the stack is its. */
static const struct trap_text *text_of_caller(const greg_t *gregs)
{
	const struct trap_text *text;
	u64 caller;

	if (gregs[REG_TRAPNO] != X86_TRAP_PF || gregs[REG_CR2] != gregs[REG_RIP] ||
	    !copy_word(&caller, (const u64 *)gregs[REG_RSP]))
		return NULL;
	text = text_of(caller);
	return text && text->hosts ? text : NULL;
}

/* Code of such a text runs on a CPU alone, so %gs says which processor this is. */
static bool trap_is_ours(greg_t *gregs)
{
	struct trap trap = { gregs, text_of(gregs[REG_RIP]) };
	unsigned int vector = gregs[REG_TRAPNO];
	int i;

	/* where somebody wants single steps, they are no trap */
	if (unlikely(READ_ONCE(trap_step)) && vector == X86_TRAP_DB &&
	    gregs[REG_EFL] & X86_EFLAGS_TF)
		return false;
	if (!trap.text && !(trap.text = text_of_caller(gregs)))
		return false;
	if (!text_of(gregs[REG_RIP])) {
		/* it is the caller's doing, and the caller is told */
		copy_word((u64 *)&gregs[REG_RIP], (const u64 *)gregs[REG_RSP]);
		trap.kernel = this_cpu_read(vmlinux);
		return kernel_exception(&trap, vector);
	}
	for (i = 0; i < NR_GPRS; i++)
		trap.regs[i] = gregs[gpr_greg[i]];
	trap.cpu = this_cpu_read(virt_cpu);
	trap.kernel = this_cpu_read(vmlinux);
	if ((vector != X86_TRAP_UD && vector != X86_TRAP_GP) ||
	    !trap_decode((const u8 *)gregs[REG_RIP], (const u8 *)trap.text->end, gregs[REG_RIP],
			 trap.regs, &trap.insn)) {
		if (!kernel_exception(&trap, vector))
			return false;
	} else {
		if (unlikely(READ_ONCE(trap_step))) {
			if (!(gregs[REG_EFL] & X86_EFLAGS_TF))
				READ_ONCE(trap_step)(gregs);
			gregs[REG_EFL] |= X86_EFLAGS_TF;
		}
		if (unlikely(trap_places))
			trap_note_place(gregs[REG_RIP], trap.insn.op);
		emulate(&trap);
	}
	/* what comes next runs before the first step interrupts */
	if (unlikely(READ_ONCE(trap_step)) && gregs[REG_EFL] & X86_EFLAGS_TF)
		READ_ONCE(trap_step)(gregs);
	return true;
}

/* Byte by byte, by aligned words: what lies behind the second may not be there. */
static bool is_cpuid(u64 rip)
{
	static const u8 opcode[] = { 0x0f, 0xa2 };
	u64 word;
	int i;

	for (i = 0; i < 2; i++)
		if (!copy_word(&word, (const u64 *)((rip + i) & ~7UL)) ||
		    (u8)(word >> (rip + i) % 8 * 8) != opcode[i])
			return false;
	return true;
}

/*
 * CPUID of whoever interrupts a thread in which it faults for L1: the host answers, as it would
 * have. True where it was one.
 */
static bool host_cpuid(int signal, const siginfo_t *info, greg_t *gregs)
{
	u32 eax = gregs[REG_RAX], ebx, ecx = gregs[REG_RCX], edx;

	if (signal != SIGSEGV || info->si_code != SI_KERNEL || !is_cpuid(gregs[REG_RIP]) ||
	    !cpuid_is_faulting())
		return false;
	cpuid_fault(false);
	trap_cpuid(&eax, &ebx, &ecx, &edx);
	cpuid_fault(true);
	gregs[REG_RAX] = eax;
	gregs[REG_RBX] = ebx;
	gregs[REG_RCX] = ecx;
	gregs[REG_RDX] = edx;
	gregs[REG_RIP] += 2;
	return true;
}

/* The mask that the kernel would have set around the handler. */
static void call_previous(const struct sigaction *previous, int signal, siginfo_t *info,
			  void *context)
{
	sigset_t blocked = previous->sa_mask, before;

	if (!(previous->sa_flags & SA_NODEFER))
		sigaddset(&blocked, signal);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	if (previous->sa_flags & SA_SIGINFO)
		previous->sa_sigaction(signal, info, context);
	else
		previous->sa_handler(signal);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int trap_signal(int signal)
{
	int i = 0;

	while (trap_signals[i] != signal)
		i++;
	return i;
}

/* What would have happened without this handler. A default action is taken by the instruction
 * that runs again, or by the signal that is sent again; a breakpoint does not run again. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
	const struct trap_previous *slot = &trap_previous[trap_signal(signal)];
	const struct sigaction *previous = &slot->action[READ_ONCE(slot->which)];
	void (*handler)(int) = previous->sa_handler;

	if (handler == SIG_IGN && info->si_code <= 0)
		return;
	if (handler == SIG_DFL || handler == SIG_IGN) {
		struct sigaction fatal = { .sa_handler = SIG_DFL };

		sigaction(signal, &fatal, NULL);
		if (info->si_code <= 0 || signal == SIGTRAP)
			raise(signal);
		return;
	}
	call_previous(previous, signal, info, context);
}

/* A fault of an instruction of this thread's, taken care of? */
static bool trap_taken(int signal, const siginfo_t *info, greg_t *gregs)
{
	u64 rip = gregs[REG_RIP];

	/* sent by a process, so no instruction's doing; or of a thread that is no CPU */
	if (info->si_code <= 0 || !trap_depth)
		return false;
	if (rip >= (u64)trap_copy && rip < (u64)trap_fault) {
		gregs[REG_RIP] = (greg_t)trap_fault;
		return true;
	}
	return trap_is_ours(gregs) || host_cpuid(signal, info, gregs);
}

static void trap_handler(int signal, siginfo_t *info, void *context)
{
	int error = errno;

	if (!trap_taken(signal, info, ((ucontext_t *)context)->uc_mcontext.gregs))
		pass_on(signal, info, context);
	errno = error;
}

#endif
