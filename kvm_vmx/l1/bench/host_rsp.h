// SPDX-License-Identifier: GPL-2.0-only
/* RSP noted for the exit in each of three ways: the note alone, and a whole entry around it. */
#ifndef KVM_VMX_L1_VMX_BENCH_RSP_H
#define KVM_VMX_L1_VMX_BENCH_RSP_H

#include <asm/vmx_trap.h>

extern const u64 __start_host_rsp_poke[] __attribute__((visibility("hidden")));
extern const u64 __stop_host_rsp_poke[] __attribute__((visibility("hidden")));

static const u8 poked_off[] = { HOST_RSP_VMWRITE }, poked_on[] = { HOST_RSP_MOV };

/* What an entry executes of it, with RSP where it was or not. */
#define DEFINE_NOTE(way, note, ...)					\
static __always_inline void note_##way(unsigned long *host_rsp, unsigned long evmcs_rsp) \
{									\
	unsigned long field = HOST_RSP;					\
									\
	__asm__ __volatile__("cmp %%rsp, (%%rax)\n\t"			\
			     "je 4f\n\t"				\
			     "mov %%rsp, (%%rax)\n\t"			\
			     note					\
			     "4:"					\
			     : "+d"(field), "+S"(evmcs_rsp)		\
			     : "a"(host_rsp) __VA_ARGS__ : "cc", "memory"); \
}

/* One VM entry by trap, to come back behind its own VMLAUNCH or VMRESUME. A leaf, so that what
 * is pushed must stay clear of its red zone. */
#define DEFINE_ENTRY(way, note, ...)					\
extern const unsigned long return_##way __attribute__((visibility("hidden"))); \
static noinline __attribute__((noclone)) insn_t bench_enter_##way(struct vm_entry *entry) \
{									\
	unsigned long field = HOST_RSP;					\
	struct vm_entry *scratch = entry;				\
									\
	__asm__ __volatile__("lea -128(%%rsp), %%rsp\n\t"		\
			     ASM_VM_ENTRY(note, "return_" #way)		\
			     "lea 128(%%rsp), %%rsp\n\t"		\
			     VM_ENTRY_OPERANDS(scratch, field, __VA_ARGS__)); \
	return entry->fault ?: entry->fail;				\
}

#define DEFINE_WAY(way, note, ...)					\
	DEFINE_NOTE(way, note, __VA_ARGS__)				\
	DEFINE_ENTRY(way, note, __VA_ARGS__)

DEFINE_WAY(test, HOST_RSP_TEST)
DEFINE_WAY(test_again, HOST_RSP_TEST)
DEFINE_WAY(key, HOST_RSP_KEY, , [key] "i"(&enable_evmcs.key))
DEFINE_WAY(poke, HOST_RSP_POKE)

#endif
