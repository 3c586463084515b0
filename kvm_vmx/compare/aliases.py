# SPDX-License-Identifier: GPL-2.0-only
"""Names that changed between kernels, as data; which one holds is seen by what a tree has."""

from typing import NamedTuple


class Alias(NamedTuple):
    """One change of names: the old one, the new one, and what it means."""

    old: str
    new: str
    why: str


FUNCTIONS = (
    Alias("evmcs_touch_msr_bitmap", "vmx_msr_bitmap_l01_changed",
          "called wherever L1's bitmap changes, under Hyper-V or not"),
    Alias("get_evmcs_offset", "evmcs_field_offset", "the lookup, split from its warning"),
    Alias("setup_msrs", "vmx_setup_uret_msrs", "shared MSRs became user-return MSRs"),
    Alias("find_msr_entry", "vmx_find_uret_msr", "shared MSRs became user-return MSRs"),
    Alias("kvm_set_shared_msr", "kvm_set_user_return_msr",
          "shared MSRs became user-return MSRs"),
    Alias("update_exception_bitmap", "vmx_update_exception_bitmap", "a prefix"),
    Alias("enable_irq_window", "vmx_enable_irq_window", "a prefix"),
    Alias("enable_nmi_window", "vmx_enable_nmi_window", "a prefix"),
    Alias("hardware_enable", "vmx_hardware_enable", "a prefix"),
    Alias("hardware_disable", "vmx_hardware_disable", "a prefix"),
    Alias("hardware_enable", "vmx_enable_virtualization_cpu", "enabling is per use, not per VM"),
    Alias("hardware_disable", "vmx_disable_virtualization_cpu", "enabling is per use, not per VM"),
    Alias("hardware_setup", "vmx_hardware_setup", "a prefix"),
    Alias("skip_emulated_instruction", "vmx_skip_emulated_instruction", "a prefix"),
    Alias("handle_exception", "handle_exception_nmi", "it takes NMIs too"),
    Alias("vmx_flush_tlb", "vmx_flush_tlb_all", "split by what is flushed"),
    Alias("vmx_vm_alloc", "kvm_arch_alloc_vm", "the common allocation"),
    Alias("hv_remote_flush_tlb", "hv_flush_remote_tlbs", "shared with SVM"),
    Alias("vmx_hv_remote_flush_tlb", "hv_remote_flush_tlb", "shared with SVM"),
    Alias("vmx_hv_remote_flush_tlb", "hv_flush_remote_tlbs", "shared with SVM"),
)

# Names that stand in expressions; the new one is told of only where the old one is gone.
NAMES = (
    Alias("enable_evmcs", "kvm_is_using_evmcs", "the static key, behind a function"),
    Alias("evmcs_touch_msr_bitmap", "vmx_msr_bitmap_l01_changed",
          "called wherever L1's bitmap changes, under Hyper-V or not"),
    Alias("kvm_x86_ops->", "static_call", "indirect calls became static calls"),
)
