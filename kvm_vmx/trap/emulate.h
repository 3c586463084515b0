// SPDX-License-Identifier: GPL-2.0-only
/*
 * One trap: the opcode at RIP is decoded, the processor asked, and the interrupted context
 * changed as hardware would. It acts on registered text alone, where no lock of libc can be
 * held, and uses nothing that is not async-signal-safe.
 */
#ifndef KVM_VMX_MACHINE_TRAP_H
#define KVM_VMX_MACHINE_TRAP_H

#include <kvm_vmx/trap/decode.h>
#include <asm/cpuid_fault.h>
#include <asm/traps.h>
#include <asm/vmx_trap.h>
#include <ucontext.h>

#define TRAP_TEXTS 32
#define TRAP_CPUS 4096
/* Code that is compiled knows none of them. */
#define EFLAGS_UNKNOWN (X86_EFLAGS_TF | X86_EFLAGS_DF | X86_EFLAGS_AC)
#define RED_ZONE 128

/* Text that may trap, and its entries. The exit of an entry that is not among them goes on
 * behind it: whoever runs there has no host state of its own. Where hosts says so, each exit goes
 * where its host state sends it, if that is in the text. */
struct trap_text {
	u64 start, end;
	const struct vm_return *entries, *entries_end;
	bool hosts;
};

static struct trap_text trap_texts[TRAP_TEXTS];
static u64 trap_counts[TRAP_CPUS][NR_TRAP_OPS];

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
	trap->gregs[REG_EFL] &= ~EFLAGS_UNKNOWN;
}

static void raise_exception(struct trap *trap, insn_t status)
{
	u64 ip = trap->gregs[REG_RIP], fixup;

	if (trap->kernel->exception &&
	    trap->kernel->exception(trap->gregs, INSN_FAULT_VECTOR(status)))
		return;
	fixup = trap->kernel->fixup_exception(ip);
	if (fixup) {
		trap->gregs[REG_RAX] = status;
		trap->gregs[REG_RIP] = fixup;
	} else {
		enter_kernel(trap, trap->kernel->die, ip, status);
	}
}

/* An exception of text that no instruction of the processor's explains: the kernel dies of it, on
 * a stack that is there whatever became of RSP. False: there is no kernel. */
static bool kernel_exception(struct trap *trap, unsigned int vector)
{
	if (!trap->kernel->die || !current)
		return false;
	raise_exception(trap, INSN_MAKE_FAULT(vector, 0));
	if (trap->gregs[REG_RIP] == (greg_t)trap->kernel->die && current->stack)
		trap->gregs[REG_RSP] = current->stack - 8;
	return true;
}

/* Behind the instruction, its outcome in the flags if it is one of VMX. */
static void retire(struct trap *trap, insn_t status, bool flags)
{
	if (flags)
		trap->gregs[REG_EFL] = (trap->gregs[REG_EFL] & ~INSN_STATUS_FLAGS) | status;
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
			return INSN_MAKE_FAULT(X86_TRAP_PF, 0);
	return INSN_OK;
}

static insn_t store_operand(struct trap *trap, u64 value)
{
	if (!trap->insn.memory)
		set_gpr(trap, trap->insn.rm, value);
	else if (!copy_word((u64 *)trap->insn.address, &value))
		return INSN_MAKE_FAULT(X86_TRAP_PF, 2);
	return INSN_OK;
}

/* What the text has said of the entry at RIP; NULL: nothing. */
static const struct vm_return *vm_return_of(const struct trap *trap)
{
	u64 rip = trap->gregs[REG_RIP];
	const struct vm_return *entry;

	for (entry = trap->text->entries; entry < trap->text->entries_end; entry++)
		if (entry->vmlaunch == rip || entry->vmresume == rip)
			return entry;
	return NULL;
}

/* The exit into text with a host state of its own: RFLAGS are what every exit loads. */
static void exit_to_host(struct trap *trap)
{
	struct virt_cpu *cpu = trap->cpu;
	int i;

	if (cpu->rip < trap->text->start || cpu->rip >= trap->text->end) {
		enter_kernel(trap, trap->kernel->stale_exit, cpu->rip, cpu->rsp);
		return;
	}
	for (i = 0; i < NR_GPRS; i++)
		set_gpr(trap, i, trap->regs[i]);
	trap->gregs[REG_RSP] = (greg_t)cpu->rsp;
	trap->gregs[REG_RIP] = (greg_t)cpu->rip;
	trap->gregs[REG_EFL] &= ~INSN_STATUS_FLAGS;
	trap->kernel->service();
}

/* The exit loads RIP, RSP and RFLAGS; the general registers are L2's. */
static void vm_entry(struct trap *trap)
{
	const struct vm_return *host = vm_return_of(trap);
	struct virt_cpu *cpu = trap->cpu;
	u64 rsp = trap->gregs[REG_RSP];
	insn_t status = cpu->ops->vmentry(cpu, trap->regs, trap->insn.op == TRAP_vmlaunch);
	int i;

	if (status & INSN_FAULT) {
		raise_exception(trap, status);
	} else if (status != INSN_OK) {
		retire(trap, status, true);
	} else if (trap->text->hosts) {
		exit_to_host(trap);
	} else if (host && (cpu->rip != host->rip || cpu->rsp != rsp)) {
		enter_kernel(trap, trap->kernel->stale_exit, cpu->rip, cpu->rsp);
	} else {
		for (i = 0; i < NR_GPRS; i++)
			set_gpr(trap, i, trap->regs[i]);
		trap->gregs[REG_RSP] = rsp;
		retire(trap, INSN_OK, true);
		if (host)
			trap->gregs[REG_RIP] = host->rip;
	}
}

/* Four registers in, four out, 32 bits each. */
static insn_t cpuid_instruction(struct trap *trap)
{
	u32 eax = trap->regs[GPR_RAX], ebx = 0, ecx = trap->regs[GPR_RCX], edx = 0;
	insn_t status = trap->cpu->ops->cpuid(trap->cpu, &eax, &ebx, &ecx, &edx);

	if (status == INSN_OK) {
		set_gpr(trap, GPR_RAX, eax);
		set_gpr(trap, GPR_RBX, ebx);
		set_gpr(trap, GPR_RCX, ecx);
		set_gpr(trap, GPR_RDX, edx);
	}
	return status;
}

/* CPUID, RDMSR, WRMSR and VMCALL: operands in fixed registers, flags untouched. */
static void plain_instruction(struct trap *trap)
{
	struct virt_cpu *cpu = trap->cpu;
	u64 *regs = trap->regs, value;
	insn_t status;
	int i;

	switch (trap->insn.op) {
	case TRAP_cpuid:
		status = cpuid_instruction(trap);
		break;
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

static insn_t vmwrite_instruction(struct trap *trap, u64 field, u64 value)
{
	struct virt_cpu *cpu = trap->cpu;
	insn_t status = cpu->ops->vmwrite(cpu, field, value);

	if (cpu->mem && cpu->mem->wrote && status == INSN_OK)
		cpu->mem->wrote(cpu, WRITTEN_CURRENT, field, WRITER_ADDRESS, trap->gregs[REG_RIP]);
	return status;
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
	case TRAP_vmwrite:	return vmwrite_instruction(trap, reg, words[0]);
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
	case TRAP_cpuid:
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

#endif
