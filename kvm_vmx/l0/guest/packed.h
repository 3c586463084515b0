// SPDX-License-Identifier: GPL-2.0-only
/*
 * What SSE2 makes of two XMM registers: integers side by side, logic, and bytes in another order.
 */
#ifndef KVM_VMX_L0_PACKED_H
#define KVM_VMX_L0_PACKED_H

#include <linux/types.h>

typedef union xmm_value {
	u64 q[2];
	u32 d[4];
	u16 w[8];
	u8 b[16];
	s16 sw[8];
	s32 sd[4];
	s8 sb[16];
} xmm_value;

#define EACH(member, count, expression)					\
	do {								\
		for (u32 i = 0; i < (count); i++)			\
			r.member[i] = (expression);			\
	} while (0)

#define PAIR(member, expression)					\
	EACH(member, sizeof(r) / sizeof(r.member[0]), expression)

/* The elements of the low or high halves in turn: a's, b's, a's, ... */
#define UNPACK(member, high)						\
	do {								\
		const u32 half = sizeof(r) / sizeof(r.member[0]) / 2;	\
		for (u32 i = 0; i < half; i++) {			\
			r.member[2 * i] = a.member[i + (high) * half];	\
			r.member[2 * i + 1] = b.member[i + (high) * half]; \
		}							\
	} while (0)

#define CLAMP(value, low, high)						\
	((value) < (low) ? (low) : (value) > (high) ? (high) : (value))

/* Shifts by a count that leaves nothing, or only the sign, where it is as wide as the element. */
#define LEFT(member, bits) PAIR(member, n < (bits) ? a.member[i] << n : 0)
#define RIGHT(member, bits) PAIR(member, n < (bits) ? a.member[i] >> n : 0)
#define SIGNED(member, bits) PAIR(member, a.member[i] >> (n < (bits) ? n : (bits) - 1))

/* 66 0f and this opcode, of destination and source; 0: there is no such operation here. */
static inline int packed_integers(u32 opcode, xmm_value *place, const xmm_value *source)
{
	xmm_value a = *place, b = *source, r = a;
	const u64 n = b.q[0];

	switch (opcode) {
	case 0x14: case 0x6c: UNPACK(q, 0); break;
	case 0x15: case 0x6d: UNPACK(q, 1); break;
	case 0x54: case 0xdb: PAIR(q, a.q[i] & b.q[i]); break;
	case 0x55: case 0xdf: PAIR(q, ~a.q[i] & b.q[i]); break;
	case 0x56: case 0xeb: PAIR(q, a.q[i] | b.q[i]); break;
	case 0x57: case 0xef: PAIR(q, a.q[i] ^ b.q[i]); break;
	case 0x60: UNPACK(b, 0); break;
	case 0x61: UNPACK(w, 0); break;
	case 0x62: UNPACK(d, 0); break;
	case 0x63: EACH(sb, 16, CLAMP(i < 8 ? a.sw[i] : b.sw[i - 8], -128, 127)); break;
	case 0x64: PAIR(b, a.sb[i] > b.sb[i] ? 0xff : 0); break;
	case 0x65: PAIR(w, a.sw[i] > b.sw[i] ? 0xffff : 0); break;
	case 0x66: PAIR(d, a.sd[i] > b.sd[i] ? ~0u : 0); break;
	case 0x67: EACH(b, 16, CLAMP(i < 8 ? a.sw[i] : b.sw[i - 8], 0, 255)); break;
	case 0x68: UNPACK(b, 1); break;
	case 0x69: UNPACK(w, 1); break;
	case 0x6a: UNPACK(d, 1); break;
	case 0x6b: EACH(sw, 8, CLAMP(i < 4 ? a.sd[i] : b.sd[i - 4], -32768, 32767)); break;
	case 0x74: PAIR(b, a.b[i] == b.b[i] ? 0xff : 0); break;
	case 0x75: PAIR(w, a.w[i] == b.w[i] ? 0xffff : 0); break;
	case 0x76: PAIR(d, a.d[i] == b.d[i] ? ~0u : 0); break;
	case 0xd1: RIGHT(w, 16); break;
	case 0xd2: RIGHT(d, 32); break;
	case 0xd3: RIGHT(q, 64); break;
	case 0xd4: PAIR(q, a.q[i] + b.q[i]); break;
	case 0xd5: PAIR(w, (u32)a.w[i] * b.w[i]); break;
	case 0xd8: PAIR(b, a.b[i] > b.b[i] ? a.b[i] - b.b[i] : 0); break;
	case 0xd9: PAIR(w, a.w[i] > b.w[i] ? a.w[i] - b.w[i] : 0); break;
	case 0xdc: PAIR(b, CLAMP(a.b[i] + b.b[i], 0, 255)); break;
	case 0xdd: PAIR(w, CLAMP(a.w[i] + b.w[i], 0, 65535)); break;
	case 0xda: PAIR(b, a.b[i] < b.b[i] ? a.b[i] : b.b[i]); break;
	case 0xde: PAIR(b, a.b[i] > b.b[i] ? a.b[i] : b.b[i]); break;
	case 0xe0: PAIR(b, (a.b[i] + b.b[i] + 1) >> 1); break;
	case 0xe3: PAIR(w, (a.w[i] + b.w[i] + 1) >> 1); break;
	case 0xe4: PAIR(w, (u32)a.w[i] * b.w[i] >> 16); break;
	case 0xe5: PAIR(w, a.sw[i] * b.sw[i] >> 16); break;
	case 0xe8: PAIR(sb, CLAMP(a.sb[i] - b.sb[i], -128, 127)); break;
	case 0xe9: PAIR(sw, CLAMP(a.sw[i] - b.sw[i], -32768, 32767)); break;
	case 0xea: PAIR(sw, a.sw[i] < b.sw[i] ? a.sw[i] : b.sw[i]); break;
	case 0xec: PAIR(sb, CLAMP(a.sb[i] + b.sb[i], -128, 127)); break;
	case 0xed: PAIR(sw, CLAMP(a.sw[i] + b.sw[i], -32768, 32767)); break;
	case 0xee: PAIR(sw, a.sw[i] > b.sw[i] ? a.sw[i] : b.sw[i]); break;
	case 0xf5: PAIR(d, (u32)(a.sw[2 * i] * b.sw[2 * i]) +
			   (u32)(a.sw[2 * i + 1] * b.sw[2 * i + 1])); break;
	case 0xf6:
		PAIR(q, 0);
		for (u32 i = 0; i < 16; i++)
			r.q[i / 8] += a.b[i] > b.b[i] ? a.b[i] - b.b[i] : b.b[i] - a.b[i];
		break;
	case 0xe1: SIGNED(sw, 16); break;
	case 0xe2: SIGNED(sd, 32); break;
	case 0xf1: LEFT(w, 16); break;
	case 0xf2: LEFT(d, 32); break;
	case 0xf3: LEFT(q, 64); break;
	case 0xf4: PAIR(q, (u64)a.d[2 * i] * b.d[2 * i]); break;
	case 0xf8: PAIR(b, a.b[i] - b.b[i]); break;
	case 0xf9: PAIR(w, a.w[i] - b.w[i]); break;
	case 0xfa: PAIR(d, a.d[i] - b.d[i]); break;
	case 0xfb: PAIR(q, a.q[i] - b.q[i]); break;
	case 0xfc: PAIR(b, a.b[i] + b.b[i]); break;
	case 0xfd: PAIR(w, a.w[i] + b.w[i]); break;
	case 0xfe: PAIR(d, a.d[i] + b.d[i]); break;
	default: return 0;
	}
	*place = r;
	return 1;
}

/* 0f 14, 15, 54 to 57 without a prefix; 0: none of them. */
static inline int packed_singles(u32 opcode, xmm_value *place, const xmm_value *source)
{
	if (opcode == 0x14 || opcode == 0x15)
		return packed_integers(opcode == 0x14 ? 0x62 : 0x6a, place, source);
	return opcode >= 0x54 && opcode <= 0x57 && packed_integers(opcode, place, source);
}

/* 66 0f 71 to 73: by an immediate; the operation is the reg field of ModRM. */
static inline int packed_shift(u32 opcode, u32 operation, xmm_value *place, u32 count)
{
	const xmm_value by = { .q = { count & 0xff, 0 } };
	xmm_value bytes = { .q = { 0, 0 } };
	u32 i;

	if (opcode == 0x73 && (operation == 3 || operation == 7)) {
		/* PSRLDQ and PSLLDQ: whole bytes */
		for (i = 0; by.q[0] < 16 && i < 16 - by.q[0]; i++) {
			if (operation == 3)
				bytes.b[i] = place->b[i + by.q[0]];
			else
				bytes.b[i + by.q[0]] = place->b[i];
		}
		*place = bytes;
		return 1;
	}
	if (operation != 2 && operation != 6 && (operation != 4 || opcode == 0x73))
		return 0;
	return packed_integers((operation == 2 ? 0xd0 : operation == 4 ? 0xe0 : 0xf0) + opcode - 0x70,
			       place, &by);
}

/* 0f 70 and c6: elements chosen by an immediate. repeat is the prefix that counts. */
static inline int packed_shuffle(u32 opcode, u32 repeat, int prefixed, xmm_value *place,
				 const xmm_value *source, u32 order)
{
	xmm_value a = *place, b = *source, r = b;
	u32 i;

	if (opcode == 0xc6 && repeat)
		return 0;
	if (opcode == 0xc6 && prefixed) {
		r.q[0] = a.q[order & 1];
		r.q[1] = b.q[order >> 1 & 1];
	} else if (opcode == 0xc6 || (prefixed && !repeat)) {
		for (i = 0; i < 4; i++)
			r.d[i] = (opcode == 0xc6 && i < 2 ? a : b).d[order >> 2 * i & 3];
	} else if (repeat) {
		const u32 from = repeat == 0xf3 ? 4 : 0;

		for (i = 0; i < 4; i++)
			r.w[from + i] = b.w[from + (order >> 2 * i & 3)];
	} else {
		return 0;
	}
	*place = r;
	return 1;
}

/* The top bits of the bytes, or of the 4 or 8 bytes each. */
static inline u32 packed_signs(const xmm_value *value, u32 size)
{
	u32 found = 0, i;

	for (i = 0; i < 16 / size; i++)
		found |= (u32)(value->b[i * size + size - 1] >> 7) << i;
	return found;
}

#undef EACH
#undef PAIR
#undef UNPACK
#undef CLAMP
#undef LEFT
#undef RIGHT
#undef SIGNED

#endif
