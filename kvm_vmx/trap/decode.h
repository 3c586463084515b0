// SPDX-License-Identifier: GPL-2.0-only
/* Decode one trapping instruction: which it is, how long, and its operands. */
#ifndef KVM_VMX_MACHINE_TRAP_DECODE_H
#define KVM_VMX_MACHINE_TRAP_DECODE_H

#include <asm/virt_cpu.h>
#include <stdbool.h>
#include <string.h>

/* The instructions that can trap. */
enum trap_op {
#define TRAP_OP(name, ...) TRAP_##name,
	INSN_FAULTING(TRAP_OP)
#undef TRAP_OP
	NR_TRAP_OPS
};

#define INSN_LENGTH_MAX 15

/* reg: the operand of ModRM.reg. The other one is register rm, or memory at address. */
struct trap_insn {
	enum trap_op op;
	unsigned int length;
	unsigned int reg, rm;
	bool memory;
	u64 address;
};

/* Legacy prefixes and REX; segment overrides are refused: nothing here has a use for them. */
struct prefixes {
	bool operand_size, address_size, rep;
	u8 rex;
};

#define REX_R(prefix) (((prefix)->rex & 4) << 1)
#define REX_X(prefix) (((prefix)->rex & 2) << 2)
#define REX_B(prefix) (((prefix)->rex & 1) << 3)

static const u8 *read_prefixes(const u8 *at, const u8 *end, struct prefixes *prefix)
{
	for (; at < end; at++) {
		if (*at == 0x66)
			prefix->operand_size = true;
		else if (*at == 0x67)
			prefix->address_size = true;
		else if (*at == 0xf3)
			prefix->rep = true;
		else
			break;
	}
	if (at < end && (*at & 0xf0) == 0x40)
		prefix->rex = *at++;
	return at;
}

/* A signed displacement of 1 or 4 bytes; NULL where the text ends before it does. */
static const u8 *read_displacement(const u8 *at, const u8 *end, int size, u64 *sum)
{
	s32 wide = 0;

	if (end - at < size)
		return NULL;
	if (size == 1)
		wide = (s8)*at;
	else
		memcpy(&wide, at, size);
	*sum += (s64)wide;
	return at + size;
}

/* SIB: base + index * scale. Base 5 without a displacement byte is a displacement alone. */
static const u8 *read_sib(const u8 *at, const u8 *end, const struct prefixes *prefix,
			  const u64 *regs, unsigned int mod, u64 *sum)
{
	unsigned int index, base;
	u8 sib;

	if (at == end)
		return NULL;
	sib = *at++;
	index = (sib >> 3 & 7) | REX_X(prefix);
	base = (sib & 7) | REX_B(prefix);
	if (index != GPR_RSP)
		*sum += regs[index] << (sib >> 6);
	if ((base & 7) == GPR_RBP && mod == 0)
		return read_displacement(at, end, 4, sum);
	*sum += regs[base];
	return at;
}

/* ModRM and what follows it. next: the address that a RIP-relative operand counts from, less
 * the length of what is read here. */
static const u8 *read_modrm(const u8 *at, const u8 *end, const struct prefixes *prefix,
			    const u64 *regs, u64 rip, const u8 *start, struct trap_insn *insn)
{
	unsigned int mod;
	bool relative;

	if (at == end)
		return NULL;
	mod = *at >> 6;
	insn->reg = (*at >> 3 & 7) | REX_R(prefix);
	insn->rm = (*at & 7) | REX_B(prefix);
	insn->memory = mod != 3;
	insn->address = 0;
	relative = mod == 0 && (*at & 7) == GPR_RBP;
	if (!insn->memory)
		return at + 1;
	if ((*at++ & 7) == GPR_RSP)
		at = read_sib(at, end, prefix, regs, mod, &insn->address);
	else if (!relative)
		insn->address = regs[insn->rm];
	if (at && (mod == 1 || mod == 2 || relative))
		at = read_displacement(at, end, mod == 1 ? 1 : 4, &insn->address);
	if (at && relative)
		insn->address += rip + (at - start);
	if (prefix->address_size)
		insn->address = (u32)insn->address;
	return at;
}

/* 0F C7: VMPTRLD, VMCLEAR and VMXON share /6 and differ by prefix; VMPTRST is /7. */
static int group_c7(const struct prefixes *prefix, const struct trap_insn *insn)
{
	if (!insn->memory)
		return -1;
	switch (insn->reg & 7) {
	case 6:
		return prefix->rep ? TRAP_vmxon : prefix->operand_size ? TRAP_vmclear : TRAP_vmptrld;
	case 7:
		return prefix->rep || prefix->operand_size ? -1 : TRAP_vmptrst;
	}
	return -1;
}

/* 0F followed by an opcode without ModRM operands; -1: none of these. */
static int plain_opcode(const u8 *at, const u8 *end, unsigned int *length)
{
	*length = 1;
	if (*at == 0x30)
		return TRAP_wrmsr;
	if (*at == 0x32)
		return TRAP_rdmsr;
	if (*at == 0xa2)
		return TRAP_cpuid;
	*length = 2;
	if (*at != 0x01 || end - at < 2)
		return -1;
	switch (at[1]) {
	case 0xc1: return TRAP_vmcall;
	case 0xc2: return TRAP_vmlaunch;
	case 0xc3: return TRAP_vmresume;
	case 0xc4: return TRAP_vmxoff;
	}
	return -1;
}

/* 0F 38 80, 0F 38 81, 0F 78, 0F 79 and 0F C7: with a ModRM byte. at is behind 0F. */
static int modrm_opcode(const u8 **at, const u8 *end, const struct prefixes *prefix,
			const u64 *regs, u64 rip, const u8 *start, struct trap_insn *insn)
{
	const u8 *opcode = *at;
	bool three = opcode[0] == 0x38;

	if (three && (end - opcode < 2 || !prefix->operand_size))
		return -1;
	*at = read_modrm(opcode + 1 + three, end, prefix, regs, rip, start, insn);
	if (*at == NULL)
		return -1;
	if (three)
		return !insn->memory ? -1 : opcode[1] == 0x80 ? TRAP_invept :
		       opcode[1] == 0x81 ? TRAP_invvpid : -1;
	if (opcode[0] == 0xc7)
		return group_c7(prefix, insn);
	if (prefix->operand_size || prefix->rep)
		return -1;
	return opcode[0] == 0x78 ? TRAP_vmread : opcode[0] == 0x79 ? TRAP_vmwrite : -1;
}

/* The instruction at text, which ends at end; rip is its address in the program. False: no
 * instruction that traps to the processor. */
static bool trap_decode(const u8 *text, const u8 *end, u64 rip, const u64 *regs,
			struct trap_insn *insn)
{
	struct prefixes prefix = { 0 };
	const u8 *at;
	int op;

	if (end - text > INSN_LENGTH_MAX)
		end = text + INSN_LENGTH_MAX;
	at = read_prefixes(text, end, &prefix);
	if (end - at < 2 || *at++ != 0x0f)
		return false;
	op = plain_opcode(at, end, &insn->length);
	if (op >= 0)
		at += insn->length;
	else
		op = modrm_opcode(&at, end, &prefix, regs, rip, text, insn);
	if (op < 0)
		return false;
	insn->op = op;
	insn->length = at - text;
	return true;
}

#endif
