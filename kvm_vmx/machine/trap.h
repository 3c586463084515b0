// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals as traps: the handler decodes the opcode at RIP, asks the processor, and changes the
 * interrupted context as hardware would. It acts on registered text alone, where no lock of
 * libc can be held, and uses nothing that is not async-signal-safe.
 */
#ifndef KVM_VMX_MACHINE_TRAP_H
#define KVM_VMX_MACHINE_TRAP_H

#include <kvm_vmx/machine/trap_decode.h>
#include <asm/percpu.h>
#include <linux/vmlinux.h>
#include <signal.h>
#include <ucontext.h>

#define TRAP_TEXTS 32
#define TRAP_CPUS 4096
#define VECTOR_PF 14
/* CF, PF, AF, ZF, SF, OF: a VMX instruction writes them all. */
#define EFLAGS_STATUS 0x8d5
#define EFLAGS_DF 0x400
#define RED_ZONE 128

/* Text that may trap. vm_return: the only address a VM exit may go to; 0: it goes on behind the
 * entry, since whoever runs there has no host state of its own. */
struct trap_text {
	u64 start, end, vm_return;
};

static struct trap_text trap_texts[TRAP_TEXTS];
static u64 trap_counts[TRAP_CPUS][NR_TRAP_OPS];
static struct sigaction trap_previous[2];	/* of SIGILL, of SIGSEGV */

static const u8 gpr_greg[NR_GPRS] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* One trap: the context of the instruction, and the CPU that executed it. */
struct trap {
	greg_t *gregs;
	const struct trap_text *text;
	const struct vmlinux *kernel;
	struct virt_cpu *cpu;
	u64 regs[NR_GPRS];
	struct trap_insn insn;
};

/*
 * One word of memory that may not be there. A SIGSEGV between the labels goes on at trap_fault,
 * and the copy returns false.
 */
static noinline bool copy_word(u64 *to, const u64 *from)
{
	bool done = true;

	__asm__ __volatile__(".globl trap_copy, trap_fault, trap_copied\n\t"
			     ".hidden trap_copy, trap_fault, trap_copied\n"
			     "trap_copy: mov (%[from]), %%rax\n\t"
			     "mov %%rax, (%[to])\n\t"
			     "jmp trap_copied\n"
			     "trap_fault: xor %k[done], %k[done]\n"
			     "trap_copied:"
			     : [done] "+&r"(done) : [to] "r"(to), [from] "r"(from)
			     : "rax", "memory", "cc");
	return done;
}

extern const char trap_copy[] __attribute__((visibility("hidden")));
extern const char trap_fault[] __attribute__((visibility("hidden")));

/* The kernel proper goes on at the fixup of the instruction, with the status in EAX. */
static void enter_kernel(struct trap *trap, void *function, u64 first, u64 second)
{
	trap->gregs[REG_RIP] = (greg_t)function;
	trap->gregs[REG_RDI] = first;
	trap->gregs[REG_RSI] = second;
	trap->gregs[REG_RSP] = ((trap->gregs[REG_RSP] - RED_ZONE) & ~15L) - 8;
	trap->gregs[REG_EFL] &= ~EFLAGS_DF;
}

static void raise_exception(struct trap *trap, insn_t status)
{
	u64 ip = trap->gregs[REG_RIP], fixup = trap->kernel->fixup_exception(ip);

	if (fixup) {
		trap->gregs[REG_RAX] = status;
		trap->gregs[REG_RIP] = fixup;
	} else {
		enter_kernel(trap, trap->kernel->die, ip, status);
	}
}

/* Behind the instruction, its outcome in the flags if it is one of VMX. */
static void retire(struct trap *trap, insn_t status, bool flags)
{
	if (flags)
		trap->gregs[REG_EFL] = (trap->gregs[REG_EFL] & ~EFLAGS_STATUS) | status;
	trap->gregs[REG_RIP] += trap->insn.length;
}

static void set_gpr(struct trap *trap, unsigned int gpr, u64 value)
{
	trap->gregs[gpr_greg[gpr]] = value;
}

/* An operand of one or two words in memory, or a register; #PF where it cannot be read. */
static insn_t load_operand(struct trap *trap, u64 *words, int count)
{
	const struct trap_insn *insn = &trap->insn;
	int i;

	if (!insn->memory) {
		words[0] = trap->regs[insn->rm];
		return INSN_OK;
	}
	for (i = 0; i < count; i++)
		if (!copy_word(&words[i], (const u64 *)insn->address + i))
			return INSN_MAKE_FAULT(VECTOR_PF, 0);
	return INSN_OK;
}

static insn_t store_operand(struct trap *trap, u64 value)
{
	if (!trap->insn.memory)
		set_gpr(trap, trap->insn.rm, value);
	else if (!copy_word((u64 *)trap->insn.address, &value))
		return INSN_MAKE_FAULT(VECTOR_PF, 2);
	return INSN_OK;
}

/* The exit loads RIP, RSP and RFLAGS; the general registers are L2's. */
static void vm_entry(struct trap *trap)
{
	struct virt_cpu *cpu = trap->cpu;
	u64 rsp = trap->gregs[REG_RSP];
	insn_t status = cpu->ops->vmentry(cpu, trap->regs, trap->insn.op == TRAP_vmlaunch);
	int i;

	if (status & INSN_FAULT) {
		raise_exception(trap, status);
	} else if (status != INSN_OK) {
		retire(trap, status, true);
	} else if (trap->text->vm_return &&
		   (cpu->rip != trap->text->vm_return || cpu->rsp != rsp)) {
		enter_kernel(trap, trap->kernel->stale_exit, cpu->rip, cpu->rsp);
	} else {
		for (i = 0; i < NR_GPRS; i++)
			set_gpr(trap, i, trap->regs[i]);
		trap->gregs[REG_RSP] = rsp;
		retire(trap, INSN_OK, true);
		if (trap->text->vm_return)
			trap->gregs[REG_RIP] = trap->text->vm_return;
	}
}

/* RDMSR, WRMSR and VMCALL: operands in fixed registers, flags untouched. */
static void plain_instruction(struct trap *trap)
{
	struct virt_cpu *cpu = trap->cpu;
	u64 *regs = trap->regs, value;
	insn_t status;
	int i;

	switch (trap->insn.op) {
	case TRAP_rdmsr:
		status = cpu->ops->rdmsr(cpu, regs[GPR_RCX], &value);
		if (status == INSN_OK) {
			set_gpr(trap, GPR_RAX, (u32)value);
			set_gpr(trap, GPR_RDX, value >> 32);
		}
		break;
	case TRAP_wrmsr:
		value = regs[GPR_RDX] << 32 | (u32)regs[GPR_RAX];
		status = cpu->ops->wrmsr(cpu, regs[GPR_RCX], value);
		break;
	default:
		status = cpu->ops->vmcall(cpu, regs);
		for (i = 0; status == INSN_OK && i < NR_GPRS; i++)
			if (i != GPR_RSP)
				set_gpr(trap, i, regs[i]);
	}
	if (status != INSN_OK)
		raise_exception(trap, status);
	else
		retire(trap, status, false);
}

/* VMX instructions but the entries. Operands in memory are read before the processor looks. */
static insn_t vmx_instruction(struct trap *trap)
{
	const struct virt_cpu_ops *ops = trap->cpu->ops;
	struct virt_cpu *cpu = trap->cpu;
	u64 reg = trap->regs[trap->insn.reg], words[2] = { 0 };
	insn_t status, stored;

	switch (trap->insn.op) {
	case TRAP_vmxoff:
		return ops->vmxoff(cpu);
	case TRAP_vmread:
	case TRAP_vmptrst:
		status = trap->insn.op == TRAP_vmread ? ops->vmread(cpu, reg, words)
						      : ops->vmptrst(cpu, words);
		stored = status == INSN_OK ? store_operand(trap, words[0]) : INSN_OK;
		return stored != INSN_OK ? stored : status;
	default:
		break;
	}
	status = load_operand(trap, words, 1 + (trap->insn.op >= TRAP_invept));
	if (status != INSN_OK)
		return status;
	switch (trap->insn.op) {
	case TRAP_vmxon:	return ops->vmxon(cpu, words[0]);
	case TRAP_vmclear:	return ops->vmclear(cpu, words[0]);
	case TRAP_vmptrld:	return ops->vmptrld(cpu, words[0]);
	case TRAP_vmwrite:	return ops->vmwrite(cpu, reg, words[0]);
	case TRAP_invept:	return ops->invept(cpu, reg, words[0], words[1]);
	default:		return ops->invvpid(cpu, reg, words[0], words[1]);
	}
}

static void emulate(struct trap *trap)
{
	insn_t status;

	trap_counts[this_cpu_read(cpu_number)][trap->insn.op]++;
	switch (trap->insn.op) {
	case TRAP_vmlaunch:
	case TRAP_vmresume:
		vm_entry(trap);
		return;
	case TRAP_vmcall:
	case TRAP_rdmsr:
	case TRAP_wrmsr:
		plain_instruction(trap);
		return;
	default:
		status = vmx_instruction(trap);
		if (status & INSN_FAULT)
			raise_exception(trap, status);
		else
			retire(trap, status, true);
	}
}

static const struct trap_text *text_of(u64 rip)
{
	int i;

	for (i = 0; i < TRAP_TEXTS; i++)
		if (rip >= READ_ONCE(trap_texts[i].start) && rip < READ_ONCE(trap_texts[i].end))
			return &trap_texts[i];
	return NULL;
}

/* Code of such a text runs on a CPU alone, so %gs says which processor this is. */
static bool trap_is_ours(greg_t *gregs)
{
	struct trap trap = { gregs, text_of(gregs[REG_RIP]) };
	int i;

	if (!trap.text)
		return false;
	for (i = 0; i < NR_GPRS; i++)
		trap.regs[i] = gregs[gpr_greg[i]];
	if (!trap_decode((const u8 *)gregs[REG_RIP], (const u8 *)trap.text->end, gregs[REG_RIP],
			 trap.regs, &trap.insn))
		return false;
	trap.cpu = this_cpu_read(virt_cpu);
	trap.kernel = this_cpu_read(vmlinux);
	emulate(&trap);
	return true;
}

/* What would have happened without this handler. A default action is taken by the instruction
 * that runs again, or by the signal that is sent again. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
	struct sigaction *previous = &trap_previous[signal == SIGSEGV];
	void (*handler)(int) = previous->sa_handler;

	if (handler == SIG_IGN && info->si_code <= 0)
		return;
	if (handler == SIG_DFL || handler == SIG_IGN) {
		struct sigaction fatal = { .sa_handler = SIG_DFL };

		sigaction(signal, &fatal, NULL);
		if (info->si_code <= 0)
			raise(signal);
		return;
	}
	if (previous->sa_flags & SA_SIGINFO)
		previous->sa_sigaction(signal, info, context);
	else
		handler(signal);
}

static void trap_handler(int signal, siginfo_t *info, void *context)
{
	greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;
	u64 rip = gregs[REG_RIP];

	/* sent by a process, so no instruction's doing */
	if (info->si_code <= 0) {
		pass_on(signal, info, context);
	} else if (rip >= (u64)trap_copy && rip < (u64)trap_fault) {
		gregs[REG_RIP] = (greg_t)trap_fault;
	} else if (!trap_is_ours(gregs)) {
		pass_on(signal, info, context);
	}
}

#endif
