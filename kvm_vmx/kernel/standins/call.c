// SPDX-License-Identifier: GPL-2.0-only
/* Any function of KVM's, called as the kernel would call it: with a vCPU loaded where it takes one. */
#include "standin.h"
#include <linux/file.h>

/* As kvm_vmx/kernel/functions.py fills it. */
struct standin_call {
	long (*function)(long, ...);
	struct kvm_vcpu *vcpu;
	long argument[12], result;
};

long standin_apply(struct standin_call *call)
{
	const long *with = call->argument;

	if (call->vcpu)
		vcpu_load(call->vcpu);
	/* six in registers, the rest on the stack, where one that takes fewer never looks */
	call->result = call->function(with[0], with[1], with[2], with[3], with[4], with[5], with[6],
				      with[7], with[8], with[9], with[10], with[11]);
	if (call->vcpu)
		vcpu_put(call->vcpu);
	standin_quiesce();
	standin_no_signal();
	return 0;
}
