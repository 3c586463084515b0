// SPDX-License-Identifier: GPL-2.0-only
/* Compiler idioms of the kernel: branch hints, inlining, build-time checks, barriers. */
#ifndef KVM_VMX_LINUX_COMPILER_H
#define KVM_VMX_LINUX_COMPILER_H

/* Cython defines both too; only this exact spelling avoids a redefinition warning. */
#ifndef likely
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define noinline __attribute__((noinline))
#define __stringify_1(x...) #x
#define __stringify(x...) __stringify_1(x)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* setup.py gives every CONFIG_ switch a value, 0 or 1. */
#define IS_ENABLED(option) (option)

/* An error at build time where the condition is a constant and true; nothing otherwise. */
#define compiletime_assert_msg(condition, msg, id) do {			\
	extern void id(void) __attribute__((error(msg)));		\
	if (__builtin_constant_p(condition) && (condition))		\
		id();							\
} while (0)
#define compiletime_id_2(line) compiletime_assert_ ## line
#define compiletime_id(line) compiletime_id_2(line)
#define BUILD_BUG_ON_MSG(condition, msg) \
	compiletime_assert_msg(condition, msg, compiletime_id(__COUNTER__))
#define BUILD_BUG_ON(condition) \
	BUILD_BUG_ON_MSG(condition, "BUILD_BUG_ON failed: " #condition)

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
#define barrier() __asm__ __volatile__("" : : : "memory")
/* Devices are memory of this process: what orders stores for another CPU orders them for all. */
#define wmb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
/* Around an atomic operation that is a full barrier itself. */
#define smp_mb__before_atomic() barrier()
#define smp_mb__after_atomic() barrier()
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)

#endif
