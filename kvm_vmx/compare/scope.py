# SPDX-License-Identifier: GPL-2.0-only
"""The scope: which functions of the kernel's files are ported, and why the others are not.

The reasons are data: the first pattern that fits a function's name tells why it is out.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kvm_vmx.compare.report import Report

NESTED = "nested VMX inside L1"
APIC = "the in-kernel APIC"
EMULATOR = "the instruction emulator"
MMU = "KVM's MMU: a fixed EPT stands in"
POSTED = "posted interrupts"
SMM = "SMM"
FILES = {
    "arch/x86/kvm/vmx.c", "arch/x86/kvm/vmx_evmcs.h", "arch/x86/hyperv/hv_init.c",
    "arch/x86/hyperv/nested.c", "arch/x86/kernel/cpu/mshyperv.c", "arch/x86/kvm/x86.c",
    "arch/x86/kvm/cpuid.c", "virt/kvm/kvm_main.c", "kernel/jump_label.c",
}
OUT = (
    (r"nested|vmcs12|shadow_vmcs|^handle_(vm|inv(ept|vpid))|_vmcs02|shadow_fields|"
     r"preemption_timer_fn", NESTED),
    (r"vmx_(get|set)_vmx_msr|vmx_restore|vmx_control_|vmx_leave_|_vmptr|is_guest_mode", NESTED),
    (r"posted|_pi_|^pi_|vmx_(pre|post)_block|update_pi|wakeup_handler", POSTED),
    (r"lapic|apic|_tpr|cr8_intercept|eoi|x2apic|virtual_intr|hwapic|rvi|svi|ioapic|_irqchip|pic_",
     APIC),
    (r"rmode|pmode|realmode|_segment_valid|cs_ss_rpl|tr_valid|ldtr_valid|task_switch|emulat|"
     r"tss_desc|init_rmode|fix_|check_intercept|desc_exit|handle_desc|invalid_guest_state|pio|"
     r"_gva|read_std|write_std|linear_", EMULATOR),
    (r"smm|smi|_smb", SMM),
    (r"mmu|tdp|ept_.*page|page_fault|mt_mask|lpage|dirty|pml|memslot|memory|_gfn|hva|pfn|gpa|"
     r"mtrr|pdptr|identity_map|hugepage|largepage", MMU),
    (r"l1d|l1tf|spec_ctrl|ibpb|rsb", "mitigations: the emulated processor is not affected"),
    (r"xsave|xcr|xss|fpu|mpx|bndcfgs|pkru|umip|encls|sgx", "processor features L2 does not have"),
    (r"clock|timer|tsc_|_tsc|steal|pvclock|time|hv_cs|reenlighten|cpufreq", "clocks and timers"),
    (r"ioctl|_fd|debugfs|dev_|_open|_release|mmap|compat|fops|stat_|vcpu_stat|vm_stat|_get_file|"
     r"device|irqfd|eventfd|coalesced|uevent", "KVM's interface to user space: Machine stands in"),
    (r"async_pf|apf", "asynchronous page faults"),
    (r"perf|pmu|pmc", "performance counters"),
    (r"mce|machine_check|mcg|lmce", "machine checks"),
    (r"ple_window|spin|yield|preempt_notifier|sched_", "scheduling of many vCPUs on one CPU"),
    (r"jump_label_(sort|cmp|swap)|__jump_label|jump_entry|module|text_reserved|rate_limit|_slow_",
     "the kernel's own sites and deferred keys"),
)
ELSEWHERE = "not on the path of enlightened VMCS"


class ScopeEntry(NamedTuple):
    """One function of the kernel: its file, where it is ported to, or why it is not."""

    file: str
    name: str
    port: str
    reason: str


def scope(report: "Report") -> list[ScopeEntry]:
    """Every function of the files in scope, in the kernel's order, and what is ported of others."""
    ported = {}
    for pair in report.pairs:
        if pair.kernel is not None:
            ported[pair.kernel.path, pair.kernel.name] = f"{pair.port.path}:{pair.port.line}"
    found = []
    for path in sorted(FILES):
        file = report.tree.file(path)
        for name in file.names() if file else ():
            port = ported.get((path, name), "")
            found.append(ScopeEntry(path, name, port, "" if port else reason(name)))
    listed = {(place.file, place.name) for place in found}
    found.extend(ScopeEntry(path, name, port, "") for (path, name), port in ported.items()
                 if (path, name) not in listed)
    return found


def topics() -> set[str]:
    """Every reason that a function may be out for."""
    return {why for _, why in OUT} | {ELSEWHERE}


def reason(name: str) -> str:
    """Why a function is not ported."""
    return next((why for pattern, why in OUT if re.search(pattern, name)), ELSEWHERE)
