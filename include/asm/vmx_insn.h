// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMX instructions as L1 executes them: by a call to the processor this thread runs as, or
 * as the opcodes, which trap to it.
 *
 * Each returns what the kernel's CC_SET(na) would: true where CF or ZF reports a failure. A
 * fault ends the thread as kvm_spurious_fault() does, unless kvm_rebooting forgives it.
 */
#ifndef KVM_VMX_ASM_VMX_INSN_H
#define KVM_VMX_ASM_VMX_INSN_H

#include <asm/percpu.h>
#include <asm/vmx.h>
#include <asm/vmx_trap.h>
#include <linux/bug.h>
#include <linux/sched.h>
#if CONFIG_WATCHED
#include <asm/vmx_watched.h>
#define evmcs_rsp_written(at) l1_wrote((void *)(at), HOST_RSP, L1_HERE)
#else
#define evmcs_rsp_written(at) ((void)0)
#endif

/* Where a VM exit lands: the address of the instruction behind VMLAUNCH and VMRESUME. By call
 * nothing jumps there; L0 must still bring it back unharmed. */
extern const unsigned long vmx_return __attribute__((visibility("hidden")));
#if !CONFIG_INSN_TRAP
__asm__(".pushsection .data\n\t"
	".balign 8\n\t"
	".globl vmx_return\n\t"
	".hidden vmx_return\n"
	"vmx_return: .quad vmx_return\n\t"
	".popsection");
#endif

static noinline __attribute__((cold)) void insn_spurious_fault(insn_t status)
{
	if (!this_cpu_read(vmlinux)->kvm_rebooting)
		BUG_MSG("VMX instruction faulted: vector %u", INSN_FAULT_VECTOR(status));
}

static __always_inline bool insn_failed(insn_t status)
{
	if (unlikely(status & INSN_FAULT)) {
		insn_spurious_fault(status);
		return false;
	}
	return status != INSN_OK;
}

/* The instruction in the form that the module has now: what it did. */
#define VMX_STATUS_OF(name, trap_operands, ...) ({			\
	struct virt_cpu *cpu__ = this_cpu_read(virt_cpu);		\
	insn_t insn__;							\
									\
	if (insn_by_trap())						\
		insn__ = trap_##name trap_operands;			\
	else								\
		insn__ = cpu__->ops->name(cpu__, ##__VA_ARGS__);	\
	insn__; })
#define VMX_INSN(...) insn_failed(VMX_STATUS_OF(__VA_ARGS__))

static __always_inline bool asm_vmxon(const u64 *phys_addr)
{
	return VMX_INSN(vmxon, (phys_addr), *phys_addr);
}

static __always_inline bool asm_vmxoff(void)
{
	return VMX_INSN(vmxoff, ());
}

static __always_inline bool asm_vmclear(const u64 *phys_addr)
{
	return VMX_INSN(vmclear, (phys_addr), *phys_addr);
}

static __always_inline bool asm_vmptrld(const u64 *phys_addr)
{
	return VMX_INSN(vmptrld, (phys_addr), *phys_addr);
}

#if CONFIG_INSN_TRAP == INSN_TRAP_ALONE
/* Without a call beside it a read needs no memory; what faults goes on elsewhere, its status in
 * RAX. */
static __always_inline unsigned long asm_vmread(unsigned long field)
{
	unsigned long value = 0;

	__asm__ goto("1: " INSN_VMREAD_RDX_RAX "\n\t" _ASM_EXTABLE(1b, %l[fault])
		     : "+a"(value) : "d"(field) : "cc", "memory" : fault);
	return value;
fault:
	insn_spurious_fault(value);
	return 0;
}

static __always_inline bool asm_vmwrite(unsigned long field, unsigned long value)
{
	__asm__ goto("1: " INSN_VMWRITE_RAX_RDX "\n\t"
		     "jbe %l[failed]\n\t" _ASM_EXTABLE(1b, %l[fault])
		     : "+a"(value) : "d"(field) : "cc", "memory" : fault, failed);
	return false;
failed:
	return true;
fault:
	insn_spurious_fault(value);
	return false;
}
#else
/* A VMREAD that fails leaves its destination alone and v4.19 does not look: zero here, and
 * stored behind it: where two stores to one place are under way, a load behind them may wait. */
static __always_inline unsigned long asm_vmread(unsigned long field)
{
	u64 value, *at;
	insn_t status;

	/* Taken here and not in front of a loop: what is around a read stays the same code. "=m": the
	 * place is somebody else's to write from here on, and nothing is in it yet. */
	__asm__ __volatile__("lea %1, %0" : "=r"(at), "=m"(value));
	status = VMX_STATUS_OF(vmread, (field, at), field, at);
	if (unlikely(status != INSN_OK)) {
		insn_failed(status);	/* a fault ends the kernel here */
		WRITE_ONCE(value, 0);
	}
	return value;
}

static __always_inline bool asm_vmwrite(unsigned long field, unsigned long value)
{
	return VMX_INSN(vmwrite, (field, value), field, value);
}
#endif

static __always_inline bool asm_invept(unsigned long ext, u64 eptp, u64 gpa)
{
	return VMX_INSN(invept, (ext, eptp, gpa), ext, eptp, gpa);
}

static __always_inline bool asm_invvpid(unsigned long ext, u64 vpid, u64 gva)
{
	return VMX_INSN(invvpid, (ext, vpid, gva), ext, vpid, gva);
}

/* By call: note the stack pointer for the exit where it moved, by VMWRITE or by a plain store. */
static __always_inline insn_t call_vm_entry(struct virt_cpu *cpu, unsigned long *regs,
					    unsigned long *host_rsp, unsigned long evmcs_rsp,
					    bool launched)
{
	unsigned long rsp = current->sp;
	insn_t status;

	if (rsp != *host_rsp) {
		*host_rsp = rsp;
		if (evmcs_rsp) {
			*(unsigned long *)evmcs_rsp = rsp;
			evmcs_rsp_written(evmcs_rsp);
		} else {
			asm_vmwrite(HOST_RSP, rsp);
		}
	}
	status = cpu->ops->vmentry(cpu, (u64 *)regs, !launched);
	if (status == INSN_OK && unlikely(cpu->rip != vmx_return || cpu->rsp != rsp))
		this_cpu_read(vmlinux)->stale_exit(cpu->rip, cpu->rsp);
	return status;
}

/*
 * The assembly of vmx_vcpu_run(): note the stack pointer; load CR2; enter L2; save CR2, which
 * no processor traps on and which is memory here. The plain store of the stack pointer leaves
 * the HOST_POINTER clean bit alone, as v4.19 does (erratum: host_rsp).
 */
static __always_inline u8 asm_vmx_vcpu_run(unsigned long *regs, unsigned long *host_rsp,
					   unsigned long evmcs_rsp, unsigned long *cr2, bool launched)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);
	insn_t status;

	if (cpu->cr2 != *cr2)
		cpu->cr2 = *cr2;
	if (insn_by_trap())
		status = trap_vm_entry(regs, host_rsp, evmcs_rsp, launched);
	else
		status = call_vm_entry(cpu, regs, host_rsp, evmcs_rsp, launched);
	*cr2 = cpu->cr2;
	return insn_failed(status);
}

#endif
