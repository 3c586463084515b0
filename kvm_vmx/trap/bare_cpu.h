// SPDX-License-Identifier: GPL-2.0-only
/* A struct virt_cpu_ops that executes the opcodes: each call is one instruction that traps. */
#ifndef KVM_VMX_MACHINE_TRAP_OPS_H
#define KVM_VMX_MACHINE_TRAP_OPS_H

#include <kvm_vmx/trap/bind.h>
#include <asm/vmx_trap.h>
#include <linux/cpu.h>

#define __trap_text noinline __attribute__((section("trap_text")))
extern const char __start_trap_text[] __attribute__((visibility("hidden")));
extern const char __stop_trap_text[] __attribute__((visibility("hidden")));
extern const struct exception_table_entry
	__start___ex_table[] __attribute__((visibility("hidden"))),
	__stop___ex_table[] __attribute__((visibility("hidden")));

static unsigned long trap_fixup(unsigned long ip)
{
	const struct exception_table_entry *entry;

	for (entry = __start___ex_table; entry < __stop___ex_table; entry++)
		if (entry->insn == ip)
			return entry->fixup;
	return 0;
}

static const struct vmlinux bare_machine = { .fixup_exception = trap_fixup };

/* A thread that is a processor and no kernel: its area, what it had before. */
struct bare_cpu {
	struct percpu_area area;
	struct trap_scope trap;
	unsigned long saved_gs;
};

/* The host lets user space write %gs by instruction. */
static bool bare_fsgsbase;

/* The thread's signal stack, for whichever instruction is next. */
static __thread stack_t bare_stack;

/* Why this thread could not execute its last instruction: an errno, or 0. */
static __thread int bare_error;

static bool bare_enter(struct bare_cpu *bare, struct virt_cpu *cpu)
{
	memset(&bare->area, 0, sizeof(bare->area));
	bare->area.virt_cpu = cpu;
	bare->area.vmlinux = &bare_machine;
	bare->area.cpu_number = cpu->index;
	bare_error = -trap_enter(&bare->trap, bare_stack.ss_sp, bare_stack.ss_size, NR_INSN_SIGNALS);
	if (bare_error)
		return false;
	if (read_gs_base(bare_fsgsbase, &bare->saved_gs) &&
	    write_gs_base(bare_fsgsbase, (unsigned long)&bare->area))
		return true;
	bare_error = errno;
	trap_leave(&bare->trap);
	return false;
}

static void bare_leave(struct bare_cpu *bare)
{
	write_gs_base(bare_fsgsbase, bare->saved_gs);
	trap_leave(&bare->trap);
}

#define BARE(cpu, instruction) do {					\
	struct bare_cpu bare;						\
	insn_t status;							\
									\
	if (!bare_enter(&bare, cpu))					\
		return INSN_OK;						\
	status = instruction;						\
	bare_leave(&bare);						\
	return status;							\
} while (0)

static __trap_text insn_t bare_rdmsr(struct virt_cpu *cpu, u32 msr, u64 *value)
{
	BARE(cpu, trap_rdmsr(msr, value));
}

static __trap_text insn_t bare_wrmsr(struct virt_cpu *cpu, u32 msr, u64 value)
{
	BARE(cpu, trap_wrmsr(msr, value));
}

static __trap_text insn_t bare_vmxon(struct virt_cpu *cpu, u64 pa)
{
	BARE(cpu, trap_vmxon(&pa));
}

static __trap_text insn_t bare_vmxoff(struct virt_cpu *cpu)
{
	BARE(cpu, trap_vmxoff());
}

static __trap_text insn_t bare_vmclear(struct virt_cpu *cpu, u64 pa)
{
	BARE(cpu, trap_vmclear(&pa));
}

static __trap_text insn_t bare_vmptrld(struct virt_cpu *cpu, u64 pa)
{
	BARE(cpu, trap_vmptrld(&pa));
}

static __trap_text insn_t bare_vmptrst(struct virt_cpu *cpu, u64 *pa)
{
	BARE(cpu, trap_vmptrst(pa));
}

static __trap_text insn_t bare_vmread(struct virt_cpu *cpu, u64 field, u64 *value)
{
	BARE(cpu, trap_vmread(field, value));
}

static __trap_text insn_t bare_vmwrite(struct virt_cpu *cpu, u64 field, u64 value)
{
	BARE(cpu, trap_vmwrite(field, value));
}

static __trap_text insn_t bare_invept(struct virt_cpu *cpu, u64 type, u64 eptp, u64 gpa)
{
	BARE(cpu, trap_invept(type, eptp, gpa));
}

static __trap_text insn_t bare_invvpid(struct virt_cpu *cpu, u64 type, u64 vpid, u64 gla)
{
	BARE(cpu, trap_invvpid(type, vpid, gla));
}

static __trap_text insn_t bare_vmcall(struct virt_cpu *cpu, u64 *regs)
{
	BARE(cpu, trap_vmcall(regs[GPR_RCX], regs[GPR_RDX], regs[GPR_R8], &regs[GPR_RAX]));
}

/* CF or ZF as the opcode left them, unless it faulted. */
static insn_t trap_flags(insn_t status, bool cf, bool zf)
{
	if (status != INSN_OK)
		return status;
	return cf ? INSN_VMFAIL_INVALID : zf ? INSN_VMFAIL_VALID : INSN_OK;
}

/* What the assembly below is given, and the flags that it leaves: flags as its outputs would take
 * registers of some compilers, and there is none left. */
struct bare_entry {
	struct vm_entry entry;
	u8 cf, zf;
};

/* The registers of L1 are in regs, and L2 leaves its own there. There is no host to go back to:
 * what the exit loaded is in the processor, and the text goes on. */
static __trap_text insn_t trap_bare_entry(u64 *regs, int launch)
{
	struct bare_entry bare = {
		.entry = { .regs = (unsigned long *)regs, .launched = !launch },
	};
	struct bare_entry *entry = &bare;

	barrier();
	__asm__ __volatile__("sub $128, %%rsp\n\t"
			     "push %%rbp\n\t"
			     "push %%rcx\n\t"
			     "cmpb $0, %c[launched](%%rcx)\n\t"
			     "mov %c[regs](%%rcx), %%rcx\n\t"
			     VM_REGS(VM_REG) VM_REG(%%rcx, 1)
			     "jne 2f\n\t"
			     "1: " INSN_VMLAUNCH "\n\t"
			     "jmp 3f\n"
			     "2: " INSN_VMRESUME "\n"
			     "3: push %%rcx\n\t"
			     "mov 8(%%rsp), %%rcx\n\t"
			     "setc %c[cf](%%rcx)\n\t"
			     "setz %c[zf](%%rcx)\n\t"
			     "mov %c[regs](%%rcx), %%rcx\n\t"
			     VM_REGS(VM_SAVE)
			     "pop %%rax\n\t"
			     VM_SAVE(%%rax, 1)
			     "4: pop %%rcx\n\t"
			     "pop %%rbp\n\t"
			     "lea 128(%%rsp), %%rsp\n\t"
			     ".pushsection .fixup, \"ax\"\n"
			     "5: mov (%%rsp), %%rcx\n\t"
			     "mov %%eax, %c[fault](%%rcx)\n\t"
			     "jmp 4b\n\t"
			     ".popsection\n\t"
			     _ASM_EXTABLE(1b, 5b) _ASM_EXTABLE(2b, 5b)
			     : "+c"(entry)
			     : VM_ENTRY(regs), VM_ENTRY(launched), VM_ENTRY(fault),
			       [cf] "i"(offsetof(struct bare_entry, cf)),
			       [zf] "i"(offsetof(struct bare_entry, zf))
			     : "cc", "memory", "rax", "rbx", "rdx", "rdi", "rsi", "r8", "r9", "r10",
			       "r11", "r12", "r13", "r14", "r15");
	return trap_flags(bare.entry.fault, bare.cf, bare.zf);
}

static __trap_text insn_t bare_vmentry(struct virt_cpu *cpu, u64 *regs, int launch)
{
	BARE(cpu, trap_bare_entry(regs, launch));
}

static __trap_text insn_t bare_cpuid(struct virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	struct bare_cpu bare;

	if (!bare_enter(&bare, cpu))
		return INSN_OK;
	if (!cpuid_is_faulting() && cpuid_fault(true)) {
		trap_cpuid(eax, ebx, ecx, edx);
		cpuid_fault(false);
	}
	bare_leave(&bare);
	return INSN_OK;
}

static insn_t forwarded_cpuid(struct virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	return cpu->ops->cpuid(cpu, eax, ebx, ecx, edx);
}

/* MOV to CR has one form: it is no part of what a hypervisor's cost is made of. */
static insn_t bare_mov_to_cr(struct virt_cpu *cpu, u32 cr, u64 value)
{
	return cpu->ops->mov_to_cr(cpu, cr, value);
}

static insn_t forwarded_vmcall(struct virt_cpu *cpu, u64 *regs)
{
	return cpu->ops->vmcall(cpu, regs);
}

static struct virt_cpu_ops bare_ops = {
#define BARE_OP(name, ...) .name = bare_##name,
	INSN_OPS(BARE_OP)
#undef BARE_OP
};

static insn_t probe_insn(void)
{
	return INSN_OK;
}

/* Execute each once on a processor that does nothing: one bit for each that did not trap. */
static u32 trap_probe(void)
{
	insn_t (*probes[sizeof(struct virt_cpu_ops) / sizeof(void *)])(void);
	struct virt_cpu cpu = { .ops = (const struct virt_cpu_ops *)probes };
	u64 before[NR_TRAP_OPS], regs[NR_GPRS] = { 0 }, value = 0;
	u32 i, silent = 0, leaf[4] = { 0 };

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		probes[i] = probe_insn;
	memcpy(before, trap_counts[0], sizeof(before));
	bare_rdmsr(&cpu, 0, &value);
	bare_wrmsr(&cpu, 0, 0);
	bare_vmxon(&cpu, 0);
	bare_vmxoff(&cpu);
	bare_vmclear(&cpu, 0);
	bare_vmptrld(&cpu, 0);
	bare_vmptrst(&cpu, &value);
	bare_vmread(&cpu, 0, &value);
	bare_vmwrite(&cpu, 0, 0);
	bare_invept(&cpu, 0, 0, 0);
	bare_invvpid(&cpu, 0, 0, 0);
	bare_vmcall(&cpu, regs);
	bare_cpuid(&cpu, &leaf[0], &leaf[1], &leaf[2], &leaf[3]);
	bare_vmentry(&cpu, regs, 0);
	bare_vmentry(&cpu, regs, 1);
	for (i = 0; i < NR_TRAP_OPS; i++)
		silent |= (u32)(trap_counts[0][i] == before[i]) << i;
	memcpy(trap_counts[0], before, sizeof(before));
	return silent;
}

/* What does not trap on this host stays a call: one bit for each. */
static void bare_calls(u32 silent)
{
	bare_ops.vmcall = silent >> TRAP_vmcall & 1 ? forwarded_vmcall : bare_vmcall;
	bare_ops.cpuid = silent >> TRAP_cpuid & 1 ? forwarded_cpuid : bare_cpuid;
}

#endif
