// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's integer types, on top of the system's own header of the same name. */
#include_next <linux/types.h>

#ifndef KVM_VMX_LINUX_TYPES_H
#define KVM_VMX_LINUX_TYPES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef unsigned long ulong_t;

typedef u64 gpa_t;
typedef u64 gva_t;
typedef u64 hpa_t;
typedef u64 gfn_t;

#define BITS_PER_LONG 64
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define PAGE_MASK (~(PAGE_SIZE - 1))

/* Not an errno that libc knows; the kernel uses it inside. */
#define ENOTSUPP 524

#endif
