// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every program here begins with: the image's first bytes call work(), leave its value in
 * RAX, and halt.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
typedef __SIZE_TYPE__ size_t;

__asm__(".section .text.start,\"ax\"\n.globl _start\n_start:\n\tcall work\n\thlt\n.text");

u64 work(void);
