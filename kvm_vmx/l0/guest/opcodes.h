// SPDX-License-Identifier: GPL-2.0-only
/*
 * The opcodes that the L2 processor knows, and what follows each: one byte of flags apiece.
 * An opcode without a row is #UD. Groups are told apart by the reg field where they execute.
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
		OP_ARITHMETIC(0x00), OP_ARITHMETIC(0x08), OP_ARITHMETIC(0x10), OP_ARITHMETIC(0x18),
		OP_ARITHMETIC(0x20), OP_ARITHMETIC(0x28), OP_ARITHMETIC(0x30), OP_ARITHMETIC(0x38),
		/* PUSH and POP of segment registers */
		[0x06] = OP_KNOWN | OP_NOT64, [0x07] = OP_KNOWN | OP_NOT64,
		[0x0e] = OP_KNOWN | OP_NOT64,
		[0x16] = OP_KNOWN | OP_NOT64, [0x17] = OP_KNOWN | OP_NOT64,
		[0x1e] = OP_KNOWN | OP_NOT64, [0x1f] = OP_KNOWN | OP_NOT64,
		[0x40 ... 0x4f] = OP_KNOWN | OP_NOT64,			/* INC, DEC */
		[0x50 ... 0x5f] = OP_KNOWN | OP_WIDE,			/* PUSH, POP */
		[0x68] = OP_KNOWN | OP_WIDE | OP_IMMZ,
		[0x6a] = OP_KNOWN | OP_WIDE | OP_IMM8,
		[0x6c] = OP_KNOWN | OP_BYTE, [0x6d] = OP_KNOWN,		/* INS */
		[0x6e] = OP_KNOWN | OP_BYTE, [0x6f] = OP_KNOWN,		/* OUTS */
		[0x70 ... 0x7f] = OP_KNOWN | OP_NEAR | OP_IMM8,		/* Jcc */
		[0x80] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_IMM8 | OP_LOCK,
		[0x81] = OP_KNOWN | OP_MODRM | OP_IMMZ | OP_LOCK,
		[0x83] = OP_KNOWN | OP_MODRM | OP_IMM8 | OP_LOCK,
		[0x84] = OP_KNOWN | OP_MODRM | OP_BYTE, [0x85] = OP_KNOWN | OP_MODRM,	/* TEST */
		[0x86] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,	/* XCHG */
		[0x87] = OP_KNOWN | OP_MODRM | OP_LOCK,
		[0x88] = OP_KNOWN | OP_MODRM | OP_BYTE, [0x89] = OP_KNOWN | OP_MODRM,	/* MOV */
		[0x8a] = OP_KNOWN | OP_MODRM | OP_BYTE, [0x8b] = OP_KNOWN | OP_MODRM,
		[0x8c] = OP_KNOWN | OP_MODRM, [0x8e] = OP_KNOWN | OP_MODRM,
		[0x8d] = OP_KNOWN | OP_MODRM,				/* LEA */
		[0x8f] = OP_KNOWN | OP_MODRM | OP_WIDE,			/* POP */
		[0x90 ... 0x97] = OP_KNOWN,				/* NOP, PAUSE, XCHG */
		[0x9b] = OP_KNOWN,					/* WAIT */
		[0x9c ... 0x9d] = OP_KNOWN | OP_WIDE,			/* PUSHF, POPF */
		[0xa0] = OP_KNOWN | OP_BYTE | OP_MOFFS, [0xa1] = OP_KNOWN | OP_MOFFS,
		[0xa2] = OP_KNOWN | OP_BYTE | OP_MOFFS, [0xa3] = OP_KNOWN | OP_MOFFS,
		[0xa8] = OP_KNOWN | OP_BYTE | OP_IMM8, [0xa9] = OP_KNOWN | OP_IMMZ,	/* TEST */
		[0xb0 ... 0xb7] = OP_KNOWN | OP_BYTE | OP_IMM8,
		[0xb8 ... 0xbf] = OP_KNOWN | OP_IMMV,
		[0xc2] = OP_KNOWN | OP_NEAR | OP_IMM16, [0xc3] = OP_KNOWN | OP_NEAR,	/* RET */
		[0xc6] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_IMM8,
		[0xc7] = OP_KNOWN | OP_MODRM | OP_IMMZ,
		[0xcb] = OP_KNOWN,					/* RETF */
		[0xcc] = OP_KNOWN, [0xcd] = OP_KNOWN | OP_IMM8,		/* INT3, INT */
		[0xce] = OP_KNOWN | OP_NOT64,				/* INTO */
		[0xcf] = OP_KNOWN,					/* IRET */
		[0xd8 ... 0xdf] = OP_KNOWN | OP_MODRM,			/* x87 */
		[0xe0 ... 0xe3] = OP_KNOWN | OP_NEAR | OP_IMM8,		/* LOOP, JRCXZ */
		[0xe4] = OP_KNOWN | OP_BYTE | OP_IMM8, [0xe5] = OP_KNOWN | OP_IMM8,	/* IN */
		[0xe6] = OP_KNOWN | OP_BYTE | OP_IMM8, [0xe7] = OP_KNOWN | OP_IMM8,	/* OUT */
		[0xe8 ... 0xe9] = OP_KNOWN | OP_NEAR | OP_IMMZ,		/* CALL, JMP */
		[0xea] = OP_KNOWN | OP_NOT64 | OP_FAR,
		[0xeb] = OP_KNOWN | OP_NEAR | OP_IMM8,
		[0xec] = OP_KNOWN | OP_BYTE, [0xed] = OP_KNOWN,		/* IN, OUT by DX */
		[0xee] = OP_KNOWN | OP_BYTE, [0xef] = OP_KNOWN,
		[0xf1] = OP_KNOWN,					/* INT1 */
		[0xf4 ... 0xf5] = OP_KNOWN,				/* HLT, CMC */
		[0xf6] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,
		[0xf7] = OP_KNOWN | OP_MODRM | OP_LOCK,
		[0xf8 ... 0xfd] = OP_KNOWN,				/* flags */
		[0xfe] = OP_KNOWN | OP_MODRM | OP_BYTE | OP_LOCK,
		[0xff] = OP_KNOWN | OP_MODRM | OP_LOCK,
	},
	{
		[0x00 ... 0x01] = OP_KNOWN | OP_MODRM,			/* system tables, VMCALL... */
		[0x06] = OP_KNOWN, [0x08 ... 0x09] = OP_KNOWN,		/* CLTS, INVD, WBINVD */
		[0x0b] = OP_KNOWN,					/* UD2 */
		[0x1f] = OP_KNOWN | OP_MODRM,				/* NOP */
		[0x20 ... 0x23] = OP_KNOWN | OP_MODRM | OP_REGISTERS,	/* MOV CR, DR */
		[0x30 ... 0x33] = OP_KNOWN,	/* WRMSR, RDTSC, RDMSR, RDPMC */
		[0x78 ... 0x79] = OP_KNOWN | OP_MODRM,			/* VMREAD, VMWRITE */
		[0x80 ... 0x8f] = OP_KNOWN | OP_NEAR | OP_IMMZ,		/* Jcc */
		[0xa2] = OP_KNOWN,					/* CPUID */
		[0xb6 ... 0xb7] = OP_KNOWN | OP_MODRM,			/* MOVZX */
		[0xbe ... 0xbf] = OP_KNOWN | OP_MODRM,			/* MOVSX */
		[0xc7] = OP_KNOWN | OP_MODRM,	/* VMPTRLD..., RDRAND, RDSEED */
	},
};

/* 0f 38: INVEPT, INVVPID, INVPCID */
#define OP_0F38_FIRST 0x80
#define OP_0F38_LAST 0x82

#endif
