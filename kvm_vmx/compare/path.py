# SPDX-License-Identifier: GPL-2.0-only
"""The path from vmx_init() to vmx_exit(): its functions part by part, and the README's table of it.

The names are those of v4.19. What the port has of them is read from its sources, so a function
that is neither there nor in a part's `out` is missing, and the table cannot be made.
"""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kvm_vmx.compare.port import Port, Subject

BEGIN, END = "<!-- the path: begin -->", "<!-- the path: end -->"


class Part(NamedTuple):
    """One part of the path: its functions, and {why: those that are not ported}."""

    name: str
    functions: str
    out: dict[str, str] = {}


class Missing(Exception):
    """A function of the path that the port neither has nor explains."""


def controls(which: str) -> str:
    """The six helpers of a control word that is shadowed."""
    return " ".join(f"vm_{which}_controls_{verb}"
                    for verb in ("reset_shadow", "init", "set", "get", "setbit", "clearbit"))


# What dev/regenerate.py --tree writes: the statements of each function, from v4.19.
RECORD = "tests/data/compared_4.19.json"
PARTS = (
    Part("eVMCS accessors, and their empty stubs without CONFIG_HYPERV",
         "get_evmcs_offset evmcs_write64 evmcs_write32 evmcs_write16 evmcs_read64 evmcs_read32 "
         "evmcs_read16 evmcs_touch_msr_bitmap evmcs_load evmcs_sanitize_exec_ctrls"),
    Part("remote TLB flush",
         "check_ept_pointer_match vmx_hv_remote_flush_tlb hyperv_flush_guest_mapping "
         "hv_do_hypercall"),
    Part("VMCS access",
         "vmcs_check16 vmcs_check32 vmcs_check64 vmcs_checkl __vmcs_readl vmcs_read16 vmcs_read32 "
         "vmcs_read64 vmcs_readl vmwrite_error __vmcs_writel vmcs_write16 vmcs_write32 "
         "vmcs_write64 vmcs_writel vmcs_clear_bits vmcs_set_bits "
         + controls("entry") + " " + controls("exit")),
    Part("VMCS loading and clearing",
         "vmcs_clear loaded_vmcs_init vmcs_load crash_enable_local_vmclear "
         "crash_disable_local_vmclear crash_local_vmclear_enabled "
         "crash_vmclear_local_loaded_vmcss __loaded_vmcs_clear loaded_vmcs_clear"),
    Part("VMCS allocation",
         "alloc_vmcs_cpu free_vmcs free_loaded_vmcs alloc_vmcs alloc_loaded_vmcs free_kvm_area "
         "alloc_kvm_area"),
    Part("hardware and its configuration",
         "cpu_has_kvm_support vmx_disabled_by_bios kvm_cpu_vmxon hardware_enable "
         "vmclear_local_loaded_vmcss kvm_cpu_vmxoff hardware_disable adjust_vmx_controls "
         "allow_1_setting setup_vmcs_config hardware_setup hardware_unsetup "
         "vmx_check_processor_compat"),
    Part("a vCPU's life",
         "vmx_vcpu_load vmx_vcpu_put vmx_prepare_switch_to_guest vmx_prepare_switch_to_host "
         "vmx_create_vcpu vmx_free_vcpu vmx_vcpu_setup vmx_vcpu_reset "
         "vmx_set_constant_host_state vmx_pin_based_exec_ctrl vmx_exec_control "
         "vmx_compute_secondary_exec_control set_cr4_guest_host_mask update_exception_bitmap "
         "seg_setup setup_msrs allocate_vpid free_vpid vmx_vm_init vmx_vm_alloc vmx_vm_free "
         "vmx_write_tsc_offset",
         {"nested VMX": "vmx_switch_vmcs"}),
    Part("the run loop",
         "vcpu_run vcpu_enter_guest vmx_vcpu_run atomic_switch_perf_msrs add_atomic_switch_msr "
         "add_atomic_switch_msr_special clear_atomic_switch_msr clear_atomic_switch_msr_special "
         "vmx_arm_hv_timer vmx_update_hv_timer vmx_l1d_flush vmx_complete_atomic_exit "
         "vmx_handle_external_intr vmx_recover_nmi_blocking __vmx_complete_interrupts "
         "vmx_complete_interrupts vmx_cancel_injection"),
    Part("event injection and its windows",
         "vmx_inject_irq vmx_inject_nmi vmx_queue_exception vmx_interrupt_allowed vmx_nmi_allowed "
         "vmx_get_nmi_mask vmx_set_nmi_mask enable_irq_window enable_nmi_window"),
    Part("the MSR bitmap",
         "vmx_disable_intercept_for_msr vmx_enable_intercept_for_msr vmx_set_intercept_for_msr "
         "vmx_msr_bitmap_mode vmx_update_msr_bitmap_x2apic vmx_update_msr_bitmap "
         "msr_write_intercepted msr_write_intercepted_l01"),
    Part("exit handlers",
         "handle_exception handle_external_interrupt handle_triple_fault handle_nmi_window "
         "handle_io handle_cr handle_dr handle_cpuid handle_rdmsr handle_wrmsr "
         "handle_interrupt_window handle_halt handle_invd handle_invlpg handle_rdpmc "
         "handle_vmcall handle_wbinvd handle_machine_check handle_ept_violation "
         "handle_ept_misconfig handle_pause handle_mwait handle_monitor_trap handle_monitor "
         "handle_invalid_op handle_preemption_timer handle_encls",
         {"nested VMX, each #UD here":
             "handle_vmclear handle_vmlaunch handle_vmptrld handle_vmptrst handle_vmread "
             "handle_vmresume handle_vmwrite handle_vmoff handle_vmon handle_invept "
             "handle_invvpid handle_vmfunc",
          "the in-kernel APIC":
             "handle_tpr_below_threshold handle_apic_access handle_apic_write "
             "handle_apic_eoi_induced",
          "the instruction emulator": "handle_desc handle_task_switch",
          "features that L2 lacks": "handle_xsetbv handle_xsaves handle_xrstors handle_invpcid",
          "the dirty log": "handle_pml_full"}),
    Part("from an exit back to the guest",
         "vmx_handle_exit kvm_emulate_cpuid kvm_cpuid kvm_find_cpuid_entry check_cpuid_limit "
         "is_matching_cpuid_entry move_to_next_stateful_cpuid_entry "
         "kvm_skip_emulated_instruction skip_emulated_instruction vmx_get_rflags vmx_cache_reg "
         "vmx_set_interrupt_shadow kvm_register_read kvm_register_write kvm_rip_read "
         "kvm_rip_write vmx_get_exit_info"),
    Part("dump_vmcs", "dump_vmcs vmx_dump_sel vmx_dump_dtsel"),
    Part("module init and exit",
         "vmx_init vmx_exit",
         {"mitigations: the processor is not affected":
             "vmx_setup_l1d_flush vmx_cleanup_l1d_flush",
          "nested VMX": "vmx_check_vmcs12_offsets"}),
    Part("kvm.ko and CPU hotplug",
         "kvm_init kvm_exit hardware_enable_nolock hardware_disable_nolock hardware_enable_all "
         "hardware_disable_all hardware_disable_all_nolock kvm_starting_cpu kvm_dying_cpu "
         "kvm_reboot kvm_suspend kvm_resume"),
    Part("Hyper-V's guest side",
         "ms_hyperv_platform ms_hyperv_init_platform generate_guest_id hyperv_init hv_cpu_init "
         "hv_cpu_die hv_get_vp_assist_page hyperv_cleanup hv_machine_shutdown "
         "hv_machine_crash_shutdown",
         {"VMBus drivers ask, and there are none": "hv_is_hyperv_initialized"}),
)


def ported(port: Port) -> dict[str, Subject]:
    """{kernel name: what stands for it in the port}, without what is ours."""
    return {subject.kernel_name: subject for subject in port.subjects.values()
            if not subject.ours}


def missing(port: Port) -> list[str]:
    """The functions of the path that the port neither has nor explains, or has and calls out."""
    here = ported(port)
    return [name for part in PARTS for name in part.functions.split() if name not in here] \
        + [name for part in PARTS for names in part.out.values() for name in names.split()
           if name in here]


def table(port: Port, statements: Mapping[str, Sequence[int]]) -> str:
    """The README's table, in Markdown. statements: {kernel name: its statements that are alike,
    adapted and left out}, as the last comparison found them."""
    loose = missing(port)
    if loose:
        raise Missing(f"neither ported nor explained: {', '.join(loose)}")
    # What stands for a label of another function was compared with that one.
    here = {name: subject for name, subject in ported(port).items() if name in statements}
    rows = ["| part of the path | kernel file | in scope | ported "
            "| statements: alike, adapted, left out | out, and why |", "|---|---|---|---|---|---|"]
    seen, total = set(), [0, 0]
    for part in PARTS:
        names = part.functions.split()
        out = [name for names_ in part.out.values() for name in names_.split()]
        files = dict.fromkeys(here[name].kernel_file for name in names)
        why = "; ".join(f"{reason}: {', '.join(f'`{name}`' for name in names_.split())}"
                        for reason, names_ in part.out.items())
        rows.append(f"| {part.name} | {briefly(files)} | {len(names) + len(out)} | {len(names)} "
                    f"| {counted(names, statements)} | {why} |")
        seen.update(names)
        total = [total[0] + len(names) + len(out), total[1] + len(names)]
    more = [subject for name, subject in here.items()
            if name not in seen]
    files = dict.fromkeys(subject.kernel_file for subject in more)
    rows.append(f"| what these call | {briefly(files)} | | {len(more)} "
                f"| {counted([subject.kernel_name for subject in more], statements)} | |")
    rows.append(f"| **in all** | | **{total[0]}** | **{total[1]}**, and {len(more)} more: "
                f"**{total[1] + len(more)}** | **{counted(here, statements)}** | |")
    return "\n".join(rows)


def counted(names: Iterable[str], statements: Mapping[str, Sequence[int]]) -> str:
    """The statements of some functions, added up by class."""
    return ", ".join(str(sum(statements[name][n] for name in names)) for n in range(3))


def briefly(files: Iterable[str]) -> str:
    """The names of some kernel files, without their folders."""
    return ", ".join(f"`{pathlib.PurePath(file).name}`" for file in files)


def renewed(text: str, port: Port, statements: Mapping[str, Sequence[int]]) -> str:
    """A README with the table that its sources and the last comparison give."""
    return re.sub(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})",
                  lambda _: table(port, statements) + "\n", text, count=1, flags=re.S)
