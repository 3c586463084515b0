# SPDX-License-Identifier: GPL-2.0-only
"""Guests of a few bytes, as `code` of create_vm(): they make exits and do nothing else."""

# again: mov $0, %eax; cpuid; jmp again
CPUID_LOOP = bytes.fromhex("b800000000" "0fa2" "ebf7")
# hlt
HALT = bytes.fromhex("f4")
