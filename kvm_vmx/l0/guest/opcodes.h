// SPDX-License-Identifier: GPL-2.0-only
/*
 * The opcodes that the L2 processor knows, and what follows each. An opcode without a row is #UD;
 * groups are told apart by the reg field where they execute. docs/instructions.md is printed from
 * these rows: one apiece, with the instructions in the comment behind it.
 */
#ifndef KVM_VMX_L0_OPCODES_H
#define KVM_VMX_L0_OPCODES_H

#include <linux/types.h>

enum {
	OP_KNOWN = 1 << 0,
	OP_MODRM = 1 << 1,
	OP_BYTE = 1 << 2,	/* operands of one byte */
	OP_IMM8 = 1 << 3,	/* an immediate or a distance of one byte */
	OP_IMMZ = 1 << 4,	/* of 2 or 4 bytes by operand size */
	OP_IMMV = 1 << 5,	/* of 2, 4 or 8 bytes */
	OP_IMM16 = 1 << 6,
	OP_MOFFS = 1 << 7,	/* an address by itself */
	OP_FAR = 1 << 8,	/* offset and selector */
	OP_WIDE = 1 << 9,	/* 64-bit code: 8 bytes unless prefixed */
	OP_NEAR = 1 << 10,	/* 64-bit code: 8 bytes always */
	OP_NOT64 = 1 << 11,
	OP_LOCK = 1 << 12,	/* a memory destination may be locked */
	OP_REGISTERS = 1 << 13,	/* ModRM names registers whatever its mod field */
};

#define OP_ARITHMETIC(n)						\
	[(n) + 0] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,		\
	[(n) + 1] = OP_KNOWN | OP_MODRM | OP_LOCK,			\
	[(n) + 2] = OP_KNOWN | OP_MODRM | OP_BYTE,			\
	[(n) + 3] = OP_KNOWN | OP_MODRM,				\
	[(n) + 4] = OP_KNOWN | OP_BYTE | OP_IMM8,			\
	[(n) + 5] = OP_KNOWN | OP_IMMZ

static const u16 opcode_flags[2][256] = {
	{
		OP_ARITHMETIC(0x00),	/* ADD */
		OP_ARITHMETIC(0x08),	/* OR */
		OP_ARITHMETIC(0x10),	/* ADC */
		OP_ARITHMETIC(0x18),	/* SBB */
		OP_ARITHMETIC(0x20),	/* AND */
		OP_ARITHMETIC(0x28),	/* SUB */
		OP_ARITHMETIC(0x30),	/* XOR */
		OP_ARITHMETIC(0x38),	/* CMP */
		[0x06] = OP_KNOWN | OP_NOT64,	/* PUSH */
		[0x0e] = OP_KNOWN | OP_NOT64,	/* PUSH */
		[0x16] = OP_KNOWN | OP_NOT64,	/* PUSH */
		[0x1e] = OP_KNOWN | OP_NOT64,	/* PUSH */
		[0x07] = OP_KNOWN | OP_NOT64,	/* POP */
		[0x17] = OP_KNOWN | OP_NOT64,	/* POP */
		[0x1f] = OP_KNOWN | OP_NOT64,	/* POP */
		[0x40 ... 0x47] = OP_KNOWN | OP_NOT64,	/* INC */
		[0x48 ... 0x4f] = OP_KNOWN | OP_NOT64,	/* DEC */
		[0x50 ... 0x57] = OP_KNOWN | OP_WIDE,	/* PUSH */
		[0x58 ... 0x5f] = OP_KNOWN | OP_WIDE,	/* POP */
		[0x60] = OP_KNOWN | OP_NOT64,	/* PUSHA, PUSHAD */
		[0x61] = OP_KNOWN | OP_NOT64,	/* POPA, POPAD */
		[0x62] = OP_KNOWN | OP_NOT64 | OP_MODRM,	/* BOUND */
		[0x63] = OP_KNOWN | OP_MODRM,	/* MOVSXD, ARPL */
		[0x68] = OP_KNOWN | OP_WIDE | OP_IMMZ,	/* PUSH */
		[0x69] = OP_KNOWN | OP_MODRM | OP_IMMZ,	/* IMUL */
		[0x6a] = OP_KNOWN | OP_WIDE | OP_IMM8,	/* PUSH */
		[0x6b] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* IMUL */
		[0x6c] = OP_KNOWN | OP_BYTE,	/* INSB */
		[0x6d] = OP_KNOWN,	/* INSW, INSD */
		[0x6e] = OP_KNOWN | OP_BYTE,	/* OUTSB */
		[0x6f] = OP_KNOWN,	/* OUTSW, OUTSD */
		[0x70 ... 0x7f] = OP_KNOWN | OP_NEAR | OP_IMM8,	/* Jcc */
		[0x80] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_IMM8 | OP_LOCK,
			/* ADD, OR, ADC, SBB, AND, SUB, XOR, CMP */
		[0x81] = OP_KNOWN | OP_MODRM | OP_IMMZ | OP_LOCK,
			/* ADD, OR, ADC, SBB, AND, SUB, XOR, CMP */
		[0x83] = OP_KNOWN | OP_MODRM | OP_IMM8 | OP_LOCK,
			/* ADD, OR, ADC, SBB, AND, SUB, XOR, CMP */
		[0x84] = OP_KNOWN | OP_MODRM | OP_BYTE,	/* TEST */
		[0x85] = OP_KNOWN | OP_MODRM,	/* TEST */
		[0x86] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,	/* XCHG */
		[0x87] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* XCHG */
		[0x88] = OP_KNOWN | OP_MODRM | OP_BYTE,	/* MOV */
		[0x89] = OP_KNOWN | OP_MODRM,	/* MOV */
		[0x8a] = OP_KNOWN | OP_MODRM | OP_BYTE,	/* MOV */
		[0x8b] = OP_KNOWN | OP_MODRM,	/* MOV */
		[0x8c] = OP_KNOWN | OP_MODRM,	/* MOV */
		[0x8e] = OP_KNOWN | OP_MODRM,	/* MOV */
		[0x8d] = OP_KNOWN | OP_MODRM,	/* LEA */
		[0x8f] = OP_KNOWN | OP_MODRM | OP_WIDE,	/* POP */
		[0x90] = OP_KNOWN,	/* NOP, PAUSE, XCHG */
		[0x91 ... 0x97] = OP_KNOWN,	/* XCHG */
		[0x98] = OP_KNOWN,	/* CBW, CWDE, CDQE */
		[0x99] = OP_KNOWN,	/* CWD, CDQ, CQO */
		[0x9a] = OP_KNOWN | OP_NOT64 | OP_FAR,	/* CALL */
		[0x9b] = OP_KNOWN,	/* WAIT */
		[0x9c] = OP_KNOWN | OP_WIDE,	/* PUSHF, PUSHFD, PUSHFQ */
		[0x9d] = OP_KNOWN | OP_WIDE,	/* POPF, POPFD, POPFQ */
		[0x9e] = OP_KNOWN,	/* SAHF */
		[0x9f] = OP_KNOWN,	/* LAHF */
		[0xa0] = OP_KNOWN | OP_BYTE | OP_MOFFS,	/* MOV */
		[0xa2] = OP_KNOWN | OP_BYTE | OP_MOFFS,	/* MOV */
		[0xa1] = OP_KNOWN | OP_MOFFS,	/* MOV */
		[0xa3] = OP_KNOWN | OP_MOFFS,	/* MOV */
		[0xa4] = OP_KNOWN | OP_BYTE,	/* MOVSB */
		[0xa5] = OP_KNOWN,	/* MOVSW, MOVSD, MOVSQ */
		[0xa6] = OP_KNOWN | OP_BYTE,	/* CMPSB */
		[0xa7] = OP_KNOWN,	/* CMPSW, CMPSD, CMPSQ */
		[0xa8] = OP_KNOWN | OP_BYTE | OP_IMM8,	/* TEST */
		[0xa9] = OP_KNOWN | OP_IMMZ,	/* TEST */
		[0xaa] = OP_KNOWN | OP_BYTE,	/* STOSB */
		[0xab] = OP_KNOWN,	/* STOSW, STOSD, STOSQ */
		[0xac] = OP_KNOWN | OP_BYTE,	/* LODSB */
		[0xad] = OP_KNOWN,	/* LODSW, LODSD, LODSQ */
		[0xae] = OP_KNOWN | OP_BYTE,	/* SCASB */
		[0xaf] = OP_KNOWN,	/* SCASW, SCASD, SCASQ */
		[0xb0 ... 0xb7] = OP_KNOWN | OP_BYTE | OP_IMM8,	/* MOV */
		[0xb8 ... 0xbf] = OP_KNOWN | OP_IMMV,	/* MOV */
		[0xc0] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_IMM8,
			/* ROL, ROR, RCL, RCR, SHL, SHR, SAR */
		[0xc1] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* ROL, ROR, RCL, RCR, SHL, SHR, SAR */
		[0xc2] = OP_KNOWN | OP_NEAR | OP_IMM16,	/* RET */
		[0xc3] = OP_KNOWN | OP_NEAR,	/* RET */
		[0xc6] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_IMM8,	/* MOV */
		[0xc7] = OP_KNOWN | OP_MODRM | OP_IMMZ,	/* MOV */
		[0xc8] = OP_KNOWN | OP_WIDE | OP_IMM16 | OP_IMM8,	/* ENTER */
		[0xc9] = OP_KNOWN | OP_WIDE,	/* LEAVE */
		[0xca] = OP_KNOWN | OP_IMM16,	/* RETF */
		[0xcb] = OP_KNOWN,	/* RETF */
		[0xcc] = OP_KNOWN,	/* INT3 */
		[0xcd] = OP_KNOWN | OP_IMM8,	/* INT */
		[0xce] = OP_KNOWN | OP_NOT64,	/* INTO */
		[0xcf] = OP_KNOWN,	/* IRET, IRETD, IRETQ */
		[0xd0] = OP_KNOWN | OP_MODRM | OP_BYTE,	/* ROL, ROR, RCL, RCR, SHL, SHR, SAR */
		[0xd1] = OP_KNOWN | OP_MODRM,	/* ROL, ROR, RCL, RCR, SHL, SHR, SAR */
		[0xd2] = OP_KNOWN | OP_MODRM | OP_BYTE,	/* ROL, ROR, RCL, RCR, SHL, SHR, SAR */
		[0xd3] = OP_KNOWN | OP_MODRM,	/* ROL, ROR, RCL, RCR, SHL, SHR, SAR */
		[0xd7] = OP_KNOWN,	/* XLATB */
		[0xd8 ... 0xdf] = OP_KNOWN | OP_MODRM,
			/* FNOP, FNINIT, FNCLEX, FLDCW, FNSTCW, FNSTSW; #NM by CR0; else #UD */
		[0xe0] = OP_KNOWN | OP_NEAR | OP_IMM8,	/* LOOPNE */
		[0xe1] = OP_KNOWN | OP_NEAR | OP_IMM8,	/* LOOPE */
		[0xe2] = OP_KNOWN | OP_NEAR | OP_IMM8,	/* LOOP */
		[0xe3] = OP_KNOWN | OP_NEAR | OP_IMM8,	/* JCXZ, JECXZ, JRCXZ */
		[0xe4] = OP_KNOWN | OP_BYTE | OP_IMM8,	/* IN */
		[0xe5] = OP_KNOWN | OP_IMM8,	/* IN */
		[0xe6] = OP_KNOWN | OP_BYTE | OP_IMM8,	/* OUT */
		[0xe7] = OP_KNOWN | OP_IMM8,	/* OUT */
		[0xe8] = OP_KNOWN | OP_NEAR | OP_IMMZ,	/* CALL */
		[0xe9] = OP_KNOWN | OP_NEAR | OP_IMMZ,	/* JMP */
		[0xea] = OP_KNOWN | OP_NOT64 | OP_FAR,	/* JMP */
		[0xeb] = OP_KNOWN | OP_NEAR | OP_IMM8,	/* JMP */
		[0xec] = OP_KNOWN | OP_BYTE,	/* IN */
		[0xed] = OP_KNOWN,	/* IN */
		[0xee] = OP_KNOWN | OP_BYTE,	/* OUT */
		[0xef] = OP_KNOWN,	/* OUT */
		[0xf1] = OP_KNOWN,	/* INT1 */
		[0xf4] = OP_KNOWN,	/* HLT */
		[0xf5] = OP_KNOWN,	/* CMC */
		[0xf6] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,
			/* TEST, NOT, NEG, MUL, IMUL, DIV, IDIV */
		[0xf7] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* TEST, NOT, NEG, MUL, IMUL, DIV, IDIV */
		[0xf8] = OP_KNOWN,	/* CLC */
		[0xf9] = OP_KNOWN,	/* STC */
		[0xfa] = OP_KNOWN,	/* CLI */
		[0xfb] = OP_KNOWN,	/* STI */
		[0xfc] = OP_KNOWN,	/* CLD */
		[0xfd] = OP_KNOWN,	/* STD */
		[0xfe] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,	/* INC, DEC */
		[0xff] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* INC, DEC, CALL, JMP, PUSH */
	},
	{
		[0x00] = OP_KNOWN | OP_MODRM,	/* SLDT, STR, LLDT, LTR */
		[0x01] = OP_KNOWN | OP_MODRM,	/* SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, INVLPG, VMCALL, VMLAUNCH, VMRESUME, VMXOFF, MONITOR,
			   MWAIT, CLAC, STAC, ENCLS, XGETBV, XSETBV, VMFUNC, SWAPGS, RDTSCP */
		[0x05] = OP_KNOWN,	/* SYSCALL */
		[0x06] = OP_KNOWN,	/* CLTS */
		[0x07] = OP_KNOWN,	/* SYSRET */
		[0x08] = OP_KNOWN,	/* INVD */
		[0x09] = OP_KNOWN,	/* WBINVD */
		[0x0b] = OP_KNOWN,	/* UD2 */
		[0x0d] = OP_KNOWN | OP_MODRM,	/* PREFETCH, PREFETCHW */
		[0x10 ... 0x11] = OP_KNOWN | OP_MODRM,	/* MOVUPS, MOVUPD, MOVSS, MOVSD */
		[0x12] = OP_KNOWN | OP_MODRM,	/* MOVLPS, MOVLPD, MOVHLPS */
		[0x13] = OP_KNOWN | OP_MODRM,	/* MOVLPS, MOVLPD */
		[0x14] = OP_KNOWN | OP_MODRM,	/* UNPCKLPS, UNPCKLPD */
		[0x15] = OP_KNOWN | OP_MODRM,	/* UNPCKHPS, UNPCKHPD */
		[0x16] = OP_KNOWN | OP_MODRM,	/* MOVHPS, MOVHPD, MOVLHPS */
		[0x17] = OP_KNOWN | OP_MODRM,	/* MOVHPS, MOVHPD */
		[0x18] = OP_KNOWN | OP_MODRM,	/* PREFETCHh */
		[0x19 ... 0x1d] = OP_KNOWN | OP_MODRM,	/* hint NOP */
		[0x1e] = OP_KNOWN | OP_MODRM,	/* hint NOP, ENDBR64, ENDBR32 */
		[0x1f] = OP_KNOWN | OP_MODRM,	/* NOP */
		[0x20 ... 0x23] = OP_KNOWN | OP_MODRM | OP_REGISTERS,	/* MOV */
		[0x28 ... 0x29] = OP_KNOWN | OP_MODRM,	/* MOVAPS, MOVAPD */
		[0x2a] = OP_KNOWN | OP_MODRM,	/* CVTSI2SS, CVTSI2SD */
		[0x2b] = OP_KNOWN | OP_MODRM,	/* MOVNTPS, MOVNTPD */
		[0x2c] = OP_KNOWN | OP_MODRM,	/* CVTTSS2SI, CVTTSD2SI */
		[0x2d] = OP_KNOWN | OP_MODRM,	/* CVTSS2SI, CVTSD2SI */
		[0x2e] = OP_KNOWN | OP_MODRM,	/* UCOMISS, UCOMISD */
		[0x2f] = OP_KNOWN | OP_MODRM,	/* COMISS, COMISD */
		[0x30] = OP_KNOWN,	/* WRMSR */
		[0x31] = OP_KNOWN,	/* RDTSC */
		[0x32] = OP_KNOWN,	/* RDMSR */
		[0x33] = OP_KNOWN,	/* RDPMC */
		[0x40 ... 0x4f] = OP_KNOWN | OP_MODRM,	/* CMOVcc */
		[0x50] = OP_KNOWN | OP_MODRM,	/* MOVMSKPS, MOVMSKPD */
		[0x51] = OP_KNOWN | OP_MODRM,	/* SQRTPS, SQRTPD, SQRTSS, SQRTSD */
		[0x52] = OP_KNOWN | OP_MODRM,	/* RSQRTPS, RSQRTSS */
		[0x53] = OP_KNOWN | OP_MODRM,	/* RCPPS, RCPSS */
		[0x54] = OP_KNOWN | OP_MODRM,	/* ANDPS, ANDPD */
		[0x55] = OP_KNOWN | OP_MODRM,	/* ANDNPS, ANDNPD */
		[0x56] = OP_KNOWN | OP_MODRM,	/* ORPS, ORPD */
		[0x57] = OP_KNOWN | OP_MODRM,	/* XORPS, XORPD */
		[0x58] = OP_KNOWN | OP_MODRM,	/* ADDPS, ADDPD, ADDSS, ADDSD */
		[0x59] = OP_KNOWN | OP_MODRM,	/* MULPS, MULPD, MULSS, MULSD */
		[0x5a] = OP_KNOWN | OP_MODRM,	/* CVTPS2PD, CVTPD2PS, CVTSS2SD, CVTSD2SS */
		[0x5b] = OP_KNOWN | OP_MODRM,	/* CVTDQ2PS, CVTPS2DQ, CVTTPS2DQ */
		[0x5c] = OP_KNOWN | OP_MODRM,	/* SUBPS, SUBPD, SUBSS, SUBSD */
		[0x5d] = OP_KNOWN | OP_MODRM,	/* MINPS, MINPD, MINSS, MINSD */
		[0x5e] = OP_KNOWN | OP_MODRM,	/* DIVPS, DIVPD, DIVSS, DIVSD */
		[0x5f] = OP_KNOWN | OP_MODRM,	/* MAXPS, MAXPD, MAXSS, MAXSD */
		[0x60] = OP_KNOWN | OP_MODRM,	/* PUNPCKLBW */
		[0x61] = OP_KNOWN | OP_MODRM,	/* PUNPCKLWD */
		[0x62] = OP_KNOWN | OP_MODRM,	/* PUNPCKLDQ */
		[0x63] = OP_KNOWN | OP_MODRM,	/* PACKSSWB */
		[0x64] = OP_KNOWN | OP_MODRM,	/* PCMPGTB */
		[0x65] = OP_KNOWN | OP_MODRM,	/* PCMPGTW */
		[0x66] = OP_KNOWN | OP_MODRM,	/* PCMPGTD */
		[0x67] = OP_KNOWN | OP_MODRM,	/* PACKUSWB */
		[0x68] = OP_KNOWN | OP_MODRM,	/* PUNPCKHBW */
		[0x69] = OP_KNOWN | OP_MODRM,	/* PUNPCKHWD */
		[0x6a] = OP_KNOWN | OP_MODRM,	/* PUNPCKHDQ */
		[0x6b] = OP_KNOWN | OP_MODRM,	/* PACKSSDW */
		[0x6c] = OP_KNOWN | OP_MODRM,	/* PUNPCKLQDQ */
		[0x6d] = OP_KNOWN | OP_MODRM,	/* PUNPCKHQDQ */
		[0x6e] = OP_KNOWN | OP_MODRM,	/* MOVD, MOVQ */
		[0x6f] = OP_KNOWN | OP_MODRM,	/* MOVDQA, MOVDQU */
		[0x70] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* PSHUFD, PSHUFHW, PSHUFLW */
		[0x71] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* PSRLW, PSRAW, PSLLW */
		[0x72] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* PSRLD, PSRAD, PSLLD */
		[0x73] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* PSRLQ, PSRLDQ, PSLLQ, PSLLDQ */
		[0x74] = OP_KNOWN | OP_MODRM,	/* PCMPEQB */
		[0x75] = OP_KNOWN | OP_MODRM,	/* PCMPEQW */
		[0x76] = OP_KNOWN | OP_MODRM,	/* PCMPEQD */
		[0x78] = OP_KNOWN | OP_MODRM,	/* VMREAD */
		[0x79] = OP_KNOWN | OP_MODRM,	/* VMWRITE */
		[0x7e] = OP_KNOWN | OP_MODRM,	/* MOVD, MOVQ */
		[0x7f] = OP_KNOWN | OP_MODRM,	/* MOVDQA, MOVDQU */
		[0x80 ... 0x8f] = OP_KNOWN | OP_NEAR | OP_IMMZ,	/* Jcc */
		[0x90 ... 0x9f] = OP_KNOWN | OP_MODRM | OP_BYTE,	/* SETcc */
		[0xa0] = OP_KNOWN | OP_WIDE,	/* PUSH */
		[0xa8] = OP_KNOWN | OP_WIDE,	/* PUSH */
		[0xa1] = OP_KNOWN | OP_WIDE,	/* POP */
		[0xa9] = OP_KNOWN | OP_WIDE,	/* POP */
		[0xa2] = OP_KNOWN,	/* CPUID */
		[0xa3] = OP_KNOWN | OP_MODRM,	/* BT */
		[0xa4] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* SHLD */
		[0xa5] = OP_KNOWN | OP_MODRM,	/* SHLD */
		[0xab] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* BTS */
		[0xac] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* SHRD */
		[0xad] = OP_KNOWN | OP_MODRM,	/* SHRD */
		[0xae] = OP_KNOWN | OP_MODRM,
			/* FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, XSAVE, XRSTOR, CLFLUSH, LFENCE, MFENCE, SFENCE, RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE */
		[0xaf] = OP_KNOWN | OP_MODRM,	/* IMUL */
		[0xb0] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,	/* CMPXCHG */
		[0xb1] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* CMPXCHG */
		[0xb3] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* BTR */
		[0xb6 ... 0xb7] = OP_KNOWN | OP_MODRM,	/* MOVZX */
		[0xb8] = OP_KNOWN | OP_MODRM,	/* POPCNT */
		[0xba] = OP_KNOWN | OP_MODRM | OP_IMM8 | OP_LOCK,	/* BT, BTS, BTR, BTC */
		[0xbb] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* BTC */
		[0xbc] = OP_KNOWN | OP_MODRM,	/* BSF, TZCNT */
		[0xbd] = OP_KNOWN | OP_MODRM,	/* BSR, LZCNT */
		[0xbe ... 0xbf] = OP_KNOWN | OP_MODRM,	/* MOVSX */
		[0xc0] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,	/* XADD */
		[0xc1] = OP_KNOWN | OP_MODRM | OP_LOCK,	/* XADD */
		[0xc2] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* CMPPS, CMPPD, CMPSS, CMPSD */
		[0xc3] = OP_KNOWN | OP_MODRM,	/* MOVNTI */
		[0xc4] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* PINSRW */
		[0xc5] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* PEXTRW */
		[0xc6] = OP_KNOWN | OP_MODRM | OP_IMM8,	/* SHUFPS, SHUFPD */
		[0xc7] = OP_KNOWN | OP_MODRM | OP_LOCK,
			/* CMPXCHG8B, CMPXCHG16B, VMPTRLD, VMPTRST, VMCLEAR, VMXON, RDRAND, RDSEED */
		[0xc8 ... 0xcf] = OP_KNOWN,	/* BSWAP */
		[0xd1] = OP_KNOWN | OP_MODRM,	/* PSRLW */
		[0xd2] = OP_KNOWN | OP_MODRM,	/* PSRLD */
		[0xd3] = OP_KNOWN | OP_MODRM,	/* PSRLQ */
		[0xd4] = OP_KNOWN | OP_MODRM,	/* PADDQ */
		[0xd5] = OP_KNOWN | OP_MODRM,	/* PMULLW */
		[0xd6] = OP_KNOWN | OP_MODRM,	/* MOVQ */
		[0xd7] = OP_KNOWN | OP_MODRM,	/* PMOVMSKB */
		[0xd8] = OP_KNOWN | OP_MODRM,	/* PSUBUSB */
		[0xd9] = OP_KNOWN | OP_MODRM,	/* PSUBUSW */
		[0xda] = OP_KNOWN | OP_MODRM,	/* PMINUB */
		[0xdb] = OP_KNOWN | OP_MODRM,	/* PAND */
		[0xdc] = OP_KNOWN | OP_MODRM,	/* PADDUSB */
		[0xdd] = OP_KNOWN | OP_MODRM,	/* PADDUSW */
		[0xde] = OP_KNOWN | OP_MODRM,	/* PMAXUB */
		[0xdf] = OP_KNOWN | OP_MODRM,	/* PANDN */
		[0xe0] = OP_KNOWN | OP_MODRM,	/* PAVGB */
		[0xe1] = OP_KNOWN | OP_MODRM,	/* PSRAW */
		[0xe2] = OP_KNOWN | OP_MODRM,	/* PSRAD */
		[0xe3] = OP_KNOWN | OP_MODRM,	/* PAVGW */
		[0xe4] = OP_KNOWN | OP_MODRM,	/* PMULHUW */
		[0xe5] = OP_KNOWN | OP_MODRM,	/* PMULHW */
		[0xe6] = OP_KNOWN | OP_MODRM,	/* CVTTPD2DQ, CVTDQ2PD, CVTPD2DQ */
		[0xe7] = OP_KNOWN | OP_MODRM,	/* MOVNTDQ */
		[0xe8] = OP_KNOWN | OP_MODRM,	/* PSUBSB */
		[0xe9] = OP_KNOWN | OP_MODRM,	/* PSUBSW */
		[0xea] = OP_KNOWN | OP_MODRM,	/* PMINSW */
		[0xeb] = OP_KNOWN | OP_MODRM,	/* POR */
		[0xec] = OP_KNOWN | OP_MODRM,	/* PADDSB */
		[0xed] = OP_KNOWN | OP_MODRM,	/* PADDSW */
		[0xee] = OP_KNOWN | OP_MODRM,	/* PMAXSW */
		[0xef] = OP_KNOWN | OP_MODRM,	/* PXOR */
		[0xf1] = OP_KNOWN | OP_MODRM,	/* PSLLW */
		[0xf2] = OP_KNOWN | OP_MODRM,	/* PSLLD */
		[0xf3] = OP_KNOWN | OP_MODRM,	/* PSLLQ */
		[0xf4] = OP_KNOWN | OP_MODRM,	/* PMULUDQ */
		[0xf5] = OP_KNOWN | OP_MODRM,	/* PMADDWD */
		[0xf6] = OP_KNOWN | OP_MODRM,	/* PSADBW */
		[0xf8] = OP_KNOWN | OP_MODRM,	/* PSUBB */
		[0xf9] = OP_KNOWN | OP_MODRM,	/* PSUBW */
		[0xfa] = OP_KNOWN | OP_MODRM,	/* PSUBD */
		[0xfb] = OP_KNOWN | OP_MODRM,	/* PSUBQ */
		[0xfc] = OP_KNOWN | OP_MODRM,	/* PADDB */
		[0xfd] = OP_KNOWN | OP_MODRM,	/* PADDW */
		[0xfe] = OP_KNOWN | OP_MODRM,	/* PADDD */
	},
};

/* 0f 38: INVEPT, INVVPID, INVPCID */
#define OP_0F38_FIRST 0x80
#define OP_0F38_LAST 0x82

#endif
