# SPDX-License-Identifier: GPL-2.0-only
"""A tree's KVM with two faults of memory of our own, which a guest chooses by CPUID leaf."""

import re

from kvm_vmx.kernel import build

FILE = "arch/x86/kvm/cpuid.c"
FUNCTION = "seeded_fault"
BEHIND, FREED, TWICE = 0x5EED0001, 0x5EED0002, 0x5EED0003

FAULTS = f"""
#include <linux/slab.h>
static noinline void {FUNCTION}(struct kvm_vcpu *vcpu)
{{
	unsigned int leaf = vcpu->arch.regs[VCPU_REGS_RAX];
	volatile unsigned int size = 41;
	volatile char *object;

	if (leaf < {BEHIND:#x} || leaf > {TWICE:#x})
		return;
	object = kmalloc(size, GFP_KERNEL);
	if (leaf == {BEHIND:#x})
		object[41] = 1;
	kfree((void *)object);
	if (leaf == {FREED:#x})
		vcpu->arch.regs[VCPU_REGS_RBX] = object[7];
	if (leaf == {TWICE:#x})
		kfree((void *)object);
}}

"""


def texts(tree):
    """{path: text} of the change."""
    text = build.text_of(tree, None, FILE)
    found = re.search(r"^int kvm_emulate_cpuid\(struct kvm_vcpu \*vcpu\)\n\{\n(?:\t.*\n)*?\n", text,
                      re.M)
    return {FILE: text[:found.start()] + FAULTS + text[found.start():found.end()] +
            f"\t{FUNCTION}(vcpu);\n" + text[found.end():]}


def image(tree):
    """The image, which asks before each access."""
    return build.patched(tree, None, texts(tree), sanitize=True)
