// SPDX-License-Identifier: GPL-2.0-only
/*
 * The controls of a measurement: the accessors of vmx.c written in C, beside the port's own,
 * in the same module with the same static key, and the stores that bound them from below.
 */
#ifndef KVM_VMX_L1_VMX_BENCH_H
#define KVM_VMX_L1_VMX_BENCH_H

#include <linux/bug.h>
#include <linux/compiler.h>

/*
 * Each loop begins a cache line, so that no two differ by where they happen to stand, and is text
 * of its own: two alike are not folded into one.
 */
#define bench_loop __attribute__((aligned(64), no_icf)) void

/* A value that is used, as far as the compiler can tell, in its full width. */
static __always_inline void bench_use(unsigned long value)
{
	__asm__ __volatile__("" : : "r"(value));
}

/* 32 bytes that nobody executes twice: the loop behind them stands half a line further on. */
#define bench_half_line() __asm__ __volatile__(".skip 32, 0x90")

/*
 * Sixteen core cycles by construction: each ADD waits for the one before. Two registers: recent
 * processors fold additions of a constant together before they execute.
 */
#define bench_add_chain(x) \
	__asm__ __volatile__(".rept 16\n\tadd %0, %0\n\t.endr" : "+r"(x))

#define bench_raw_store(evmcs, value) (*(volatile u64 *)&(evmcs)->guest_rsp = (value))

/* What an access would cost on the other side of a condition, out of line. */
static noinline __attribute__((cold)) void bench_cold(void)
{
	__asm__ __volatile__("");
}

#define bench_test_key() do {						\
	if (static_branch_unlikely(&enable_evmcs))			\
		bench_cold();						\
} while (0)

#define bench_test_flag() do {						\
	if (unlikely(READ_ONCE(enable_evmcs.key.enabled)))		\
		bench_cold();						\
} while (0)

static __always_inline int c_evmcs_offset(unsigned long field, u16 *clean)
{
	unsigned int index = ROL16(field, 6);

	if (unlikely(index >= NR_EVMCS_1_FIELDS)) {
		WARN_ONCE(1, "KVM: accessing unsupported EVMCS field %lx\n", field);
		return -ENOENT;
	}
	*clean = vmcs_field_to_evmcs_1[index].clean_field;
	return vmcs_field_to_evmcs_1[index].offset;
}

/* Out of line, as vmwrite_error() is: it stands behind a test that never fires. */
static noinline void c_vmwrite_error(unsigned long field, unsigned long value)
{
	WARN_ONCE(1, "vmwrite error: reg %lx value %lx\n", field, value);
}

static __always_inline void c_plain_write(unsigned long field, unsigned long value)
{
	if (unlikely(asm_vmwrite(field, value)))
		c_vmwrite_error(field, value);
}

#define C_ACCESSORS(bits)						\
static __always_inline void c_evmcs_write##bits(unsigned long field, u##bits value) \
{									\
	u16 clean;							\
	int offset = c_evmcs_offset(field, &clean);			\
									\
	if (offset < 0)							\
		return;							\
	*(u##bits *)((char *)current_evmcs + offset) = value;		\
	current_evmcs->hv_clean_fields &= ~clean;			\
}									\
									\
static __always_inline u##bits c_evmcs_read##bits(unsigned long field)	\
{									\
	u16 clean;							\
	int offset = c_evmcs_offset(field, &clean);			\
									\
	return offset < 0 ? 0 : *(u##bits *)((char *)current_evmcs + offset); \
}									\
									\
static __always_inline void c_vmcs_write##bits(unsigned long field, u##bits value) \
{									\
	if (static_branch_unlikely(&enable_evmcs))			\
		c_evmcs_write##bits(field, value);			\
	else								\
		c_plain_write(field, value);				\
}									\
									\
static __always_inline u##bits c_vmcs_read##bits(unsigned long field)	\
{									\
	if (static_branch_unlikely(&enable_evmcs))			\
		return c_evmcs_read##bits(field);			\
	return asm_vmread(field);					\
}

C_ACCESSORS(16)
C_ACCESSORS(32)
C_ACCESSORS(64)

static __always_inline void c_vmcs_clear_bits(unsigned long field, u32 mask)
{
	if (static_branch_unlikely(&enable_evmcs))
		c_evmcs_write32(field, c_evmcs_read32(field) & ~mask);
	else
		c_plain_write(field, asm_vmread(field) & ~mask);
}

static __always_inline void c_vmcs_set_bits(unsigned long field, u32 mask)
{
	if (static_branch_unlikely(&enable_evmcs))
		c_evmcs_write32(field, c_evmcs_read32(field) | mask);
	else
		c_plain_write(field, asm_vmread(field) | mask);
}

#endif
