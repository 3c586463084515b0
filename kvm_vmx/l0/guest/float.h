// SPDX-License-Identifier: GPL-2.0-only
/*
 * What SSE and SSE2 make of floating-point numbers: the host's own instructions make it, under L2's
 * MXCSR with every exception masked, and tell which of them L2 would have had.
 */
#ifndef KVM_VMX_L0_FLOAT_H
#define KVM_VMX_L0_FLOAT_H

#include <kvm_vmx/l0/guest/packed.h>

typedef long long float_lanes __attribute__((vector_size(16)));

#define FLOAT_FLAGS 0x3fu
#define FLOAT_MASKS 0x1f80u
#define FLOAT_UNDERFLOW 0x10u
#define FLOAT_UNDERFLOW_MASK 0x800u
#define FLOAT_FLUSH 0x8000u

/* One instruction between L2's MXCSR and the host's; what it has raised is left in *csr. */
#define FLOAT_RUN(text, outputs, ...)						\
	asm volatile("stmxcsr %[host]\n\tldmxcsr %[csr]\n\t" text		\
		     "\n\tstmxcsr %[csr]\n\tldmxcsr %[host]"			\
		     : outputs, [csr] "+m"(*csr), [host] "=m"(host)		\
		     : __VA_ARGS__ : "cc")
#define FLOAT_TWO(text) FLOAT_RUN(text " %[b], %[a]", [a] "+x"(a), [b] "x"(b))

/* By the prefix: none, 66, F3, F2. */
#define FLOAT_FOUR(code, name)							\
	case code:								\
		if (form == 0)							\
			FLOAT_TWO(name "ps");					\
		else if (form == 1)						\
			FLOAT_TWO(name "pd");					\
		else if (form == 2)						\
			FLOAT_TWO(name "ss");					\
		else								\
			FLOAT_TWO(name "sd");					\
		break
#define FLOAT_ONE(code, wanted, name)						\
	case (code) << 2 | (wanted):						\
		FLOAT_TWO(name);						\
		break
#define FLOAT_COMPARE(number)							\
	case number:								\
		if (form == 0)							\
			FLOAT_RUN("cmpps $" #number ", %[b], %[a]", [a] "+x"(a), [b] "x"(b)); \
		else if (form == 1)						\
			FLOAT_RUN("cmppd $" #number ", %[b], %[a]", [a] "+x"(a), [b] "x"(b)); \
		else if (form == 2)						\
			FLOAT_RUN("cmpss $" #number ", %[b], %[a]", [a] "+x"(a), [b] "x"(b)); \
		else								\
			FLOAT_RUN("cmpsd $" #number ", %[b], %[a]", [a] "+x"(a), [b] "x"(b)); \
		break

/* 0f and this opcode, of XMM registers; 0: there is no such operation. */
static int float_packed(u32 opcode, u32 form, xmm_value *place, const xmm_value *source, u32 choice,
			u32 *csr)
{
	float_lanes a, b;
	u32 host;

	__builtin_memcpy(&a, place, sizeof(a));
	__builtin_memcpy(&b, source, sizeof(b));
	switch (opcode) {
	FLOAT_FOUR(0x51, "sqrt");
	FLOAT_FOUR(0x58, "add");
	FLOAT_FOUR(0x59, "mul");
	FLOAT_FOUR(0x5c, "sub");
	FLOAT_FOUR(0x5d, "min");
	FLOAT_FOUR(0x5e, "div");
	FLOAT_FOUR(0x5f, "max");
	case 0xc2:
		switch (choice & 7) {
		FLOAT_COMPARE(0);
		FLOAT_COMPARE(1);
		FLOAT_COMPARE(2);
		FLOAT_COMPARE(3);
		FLOAT_COMPARE(4);
		FLOAT_COMPARE(5);
		FLOAT_COMPARE(6);
		FLOAT_COMPARE(7);
		}
		break;
	default:
		switch (opcode << 2 | form) {
		FLOAT_ONE(0x52, 0, "rsqrtps");
		FLOAT_ONE(0x52, 2, "rsqrtss");
		FLOAT_ONE(0x53, 0, "rcpps");
		FLOAT_ONE(0x53, 2, "rcpss");
		FLOAT_ONE(0x5a, 0, "cvtps2pd");
		FLOAT_ONE(0x5a, 1, "cvtpd2ps");
		FLOAT_ONE(0x5a, 2, "cvtss2sd");
		FLOAT_ONE(0x5a, 3, "cvtsd2ss");
		FLOAT_ONE(0x5b, 0, "cvtdq2ps");
		FLOAT_ONE(0x5b, 1, "cvtps2dq");
		FLOAT_ONE(0x5b, 2, "cvttps2dq");
		FLOAT_ONE(0xe6, 1, "cvttpd2dq");
		FLOAT_ONE(0xe6, 2, "cvtdq2pd");
		FLOAT_ONE(0xe6, 3, "cvtpd2dq");
		default:
			return 0;
		}
	}
	__builtin_memcpy(place, &a, sizeof(a));
	return 1;
}

/* Is a result denormal? With every exception masked the host says so only of one that is inexact. */
static int float_tiny(u32 opcode, u32 form, const xmm_value *result)
{
	u32 wide = form & 1, i;
	u64 value;

	switch (opcode) {
	case 0x58: case 0x59: case 0x5c: case 0x5e:
		break;
	case 0x5a:
		/* to singles */
		if (!wide)
			return 0;
		wide = 0;
		break;
	default:
		/* a square root is not, and the others tell no underflow */
		return 0;
	}
	for (i = 0; i < (form > 1 ? 1u : wide ? 2u : 4u); i++) {
		value = wide ? result->q[i] & ~(1ULL << 63) : result->d[i] & ~(1u << 31);
		if (value && value < (wide ? 1ULL << 52 : 1ULL << 23))
			return 1;
	}
	return 0;
}

/* 2a: a general register's or memory's integer into the low element. */
static void float_from_integer(u32 form, u32 wide, xmm_value *place, u64 value, u32 *csr)
{
	float_lanes a;
	u32 host, narrow = (u32)value;

	__builtin_memcpy(&a, place, sizeof(a));
	if (form == 2 && wide)
		FLOAT_RUN("cvtsi2ssq %[b], %[a]", [a] "+x"(a), [b] "r"(value));
	else if (form == 2)
		FLOAT_RUN("cvtsi2ssl %[b], %[a]", [a] "+x"(a), [b] "r"(narrow));
	else if (wide)
		FLOAT_RUN("cvtsi2sdq %[b], %[a]", [a] "+x"(a), [b] "r"(value));
	else
		FLOAT_RUN("cvtsi2sdl %[b], %[a]", [a] "+x"(a), [b] "r"(narrow));
	__builtin_memcpy(place, &a, sizeof(a));
}

#define FLOAT_TO(text, to) FLOAT_RUN(text " %[b], %[a]", [a] "=r"(to), [b] "x"(b))

/* 2c, which truncates, and 2d. */
static u64 float_to_integer(u32 truncates, u32 form, u32 wide, const xmm_value *source, u32 *csr)
{
	float_lanes b;
	u32 host, narrow = 0;
	u64 value = 0;

	__builtin_memcpy(&b, source, sizeof(b));
	switch (truncates << 2 | (form == 2) << 1 | wide) {
	case 0: FLOAT_TO("cvtsd2si", narrow); break;
	case 1: FLOAT_TO("cvtsd2siq", value); break;
	case 2: FLOAT_TO("cvtss2si", narrow); break;
	case 3: FLOAT_TO("cvtss2siq", value); break;
	case 4: FLOAT_TO("cvttsd2si", narrow); break;
	case 5: FLOAT_TO("cvttsd2siq", value); break;
	case 6: FLOAT_TO("cvttss2si", narrow); break;
	default: FLOAT_TO("cvttss2siq", value); break;
	}
	return wide ? value : narrow;
}

#define FLOAT_FLAGS_OF(text)							\
	asm volatile("stmxcsr %[host]\n\tldmxcsr %[csr]\n\t" text " %[b], %[a]" \
		     "\n\tstmxcsr %[csr]\n\tldmxcsr %[host]"			\
		     : "=@ccc"(carry), "=@ccp"(parity), "=@ccz"(zero),		\
		       [csr] "+m"(*csr), [host] "=m"(host) : [a] "x"(a), [b] "x"(b))

/* 2e, UCOMIS, and 2f, COMIS: CF, PF and ZF at their places in RFLAGS. */
static u64 float_compare(u32 opcode, u32 wide, const xmm_value *first, const xmm_value *second,
			 u32 *csr)
{
	float_lanes a, b;
	int carry, parity, zero;
	u32 host;

	__builtin_memcpy(&a, first, sizeof(a));
	__builtin_memcpy(&b, second, sizeof(b));
	if (opcode == 0x2e && wide)
		FLOAT_FLAGS_OF("ucomisd");
	else if (opcode == 0x2e)
		FLOAT_FLAGS_OF("ucomiss");
	else if (wide)
		FLOAT_FLAGS_OF("comisd");
	else
		FLOAT_FLAGS_OF("comiss");
	return carry | parity << 2 | zero << 6;
}

#endif
