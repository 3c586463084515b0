# SPDX-License-Identifier: GPL-2.0-only
"""The code under test: what a small hypervisor does with an enlightened VMCS."""

CONTROL_PROC = 1 << 4           # of hv_clean_fields: `kvm-vmx fields` lists the groups
RDTSC_EXITING = 1 << 12


def skip_instruction(vmcs):
    """Let L2 go on behind the instruction that it left at."""
    vmcs["GUEST_RIP"] += vmcs["VM_EXIT_INSTRUCTION_LEN"]


def want_rdtsc_exits(vmcs):
    """Let RDTSC of L2 exit, and tell L0 that the control has changed."""
    vmcs["CPU_BASED_VM_EXEC_CONTROL"] |= RDTSC_EXITING
    vmcs["hv_clean_fields"] &= ~CONTROL_PROC


def want_rdtsc_exits_and_forget(vmcs):
    """The same with the bug that enlightened VMCSs invite: L0 is not told."""
    vmcs["CPU_BASED_VM_EXEC_CONTROL"] |= RDTSC_EXITING
