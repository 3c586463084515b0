# SPDX-License-Identifier: GPL-2.0-only
"""Trees and ports in which one thing outside the functions is otherwise, and what tells it."""

from typing import NamedTuple

from kvm_vmx.compare import trees

VMX = "arch/x86/kvm/vmx.c"
TABLE = "arch/x86/kvm/vmx_evmcs.h"
TLFS = "arch/x86/include/asm/hyperv-tlfs.h"
UAPI = "arch/x86/include/uapi/asm/vmx.h"
JUMP = "include/linux/jump_label.h"


class Seed(NamedTuple):
    """A change of a file, and the kind and the name of the row that must tell it."""

    file: str
    old: str
    new: str
    kind: str
    name: str


KERNEL = [
    Seed(TABLE, "EVMCS1_FIELD(GUEST_RSP, guest_rsp,", "EVMCS1_FIELD(GUEST_RSP, guest_rip,",
         "field", "GUEST_RSP"),
    Seed(TABLE, "HV_VMX_ENLIGHTENED_CLEAN_FIELD_CRDR),", "HV_VMX_ENLIGHTENED_CLEAN_FIELD_NONE),",
         "field", "CR0_GUEST_HOST_MASK"),
    Seed(TABLE, "ROL16(number, 6)]", "ROL16(number, 5)]", "macro", "EVMCS1_FIELD"),
    Seed(TABLE, "	u16 offset;\n", "	u32 offset;\n", "member", "evmcs_field.offset"),
    Seed(TLFS, "	u32 hv_clean_fields;", "	u64 hv_clean_fields;", "member",
         "hv_enlightened_vmcs.hv_clean_fields"),
    Seed(TLFS, "	u32 hv_clean_fields;", "	u64 hv_clean_fields;", "member",
         "hv_enlightened_vmcs.hv_padding_32"),
    Seed(TLFS, "	u64 host_cr0;\n	u64 host_cr3;\n", "	u64 host_cr3;\n	u64 host_cr0;\n", "order",
         "struct hv_enlightened_vmcs"),
    Seed(TLFS, "CLEAN_FIELD_GUEST_BASIC		BIT(10)", "CLEAN_FIELD_GUEST_BASIC		BIT(11)",
         "constant", "HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_BASIC"),
    Seed(TLFS, "	__u32 enlighten_vmentry;", "	__u64 enlighten_vmentry;", "member",
         "hv_vp_assist_page.enlighten_vmentry"),
    Seed(VMX, "#define KVM_EVMCS_VERSION 1", "#define KVM_EVMCS_VERSION 2", "constant",
         "KVM_EVMCS_VERSION"),
    Seed(VMX, "enlightened_vmcs = true;", "enlightened_vmcs = false;", "variable",
         "enlightened_vmcs"),
    Seed(VMX, "static bool __read_mostly enable_vpid = 1;",
         "static int __read_mostly enable_vpid = 1;",
         "variable", "enable_vpid"),
    Seed(VMX, "module_param(enlightened_vmcs, bool, 0444)",
         "module_param(enlightened_vmcs, int, 0444)",
         "parameter", "enlightened_vmcs"),
    Seed(VMX, "module_param_named(vpid, enable_vpid,", "module_param_named(vpid, enable_vnmi,",
         "parameter", "vpid"),
    Seed(VMX, "DEFINE_STATIC_KEY_FALSE(enable_evmcs)", "DEFINE_STATIC_KEY_TRUE(enable_evmcs)",
         "key",
         "enable_evmcs"),
    Seed(VMX, "	MSR_SYSCALL_MASK, MSR_LSTAR,", "	MSR_LSTAR, MSR_SYSCALL_MASK,", "table",
         "vmx_msr_index"),
    Seed(VMX, "	bool nmi_known_unmasked;", "	int nmi_known_unmasked;", "member",
         "loaded_vmcs.nmi_known_unmasked"),
    Seed(VMX, "	u64 		      msr_host_kernel_gs_base;\n", "", "member",
         "vcpu_vmx.msr_host_kernel_gs_base"),
    Seed(VMX, "	EPT_POINTERS_CHECK = 0,", "	EPT_POINTERS_CHECK = 1,", "constant",
         "EPT_POINTERS_CHECK"),
    Seed(VMX, "#define NR_AUTOLOAD_MSRS 8", "#define NR_AUTOLOAD_MSRS 16", "constant",
         "NR_AUTOLOAD_MSRS"),
    Seed(VMX, "#define KVM_GUEST_CR0_MASK (X86_CR0_NW | X86_CR0_CD)",
         "#define KVM_GUEST_CR0_MASK (X86_CR0_NW)", "constant", "KVM_GUEST_CR0_MASK"),
    Seed(VMX, "	CHECK_OFFSET(hdr, 0);\n", "", "function", "vmx_check_vmcs12_offsets"),
    Seed(VMX, "	[EXIT_REASON_CPUID]                   = handle_cpuid,",
         "	[EXIT_REASON_CPUID]                   = handle_halt,", "table",
         "kvm_vmx_exit_handlers"),
    Seed(VMX, "static void vmx_l1d_flush(", "static inline void vmx_l1d_flush(", "attributes",
         "vmx_l1d_flush"),
    Seed(VMX, "static void vmx_vcpu_put(struct kvm_vcpu *vcpu)\n{",
         "static noinline void vmx_vcpu_put(struct kvm_vcpu *vcpu)\n{", "attributes",
         "vmx_vcpu_put"),
    Seed(VMX, "static int __init vmx_init(void)\n{",
         "static int newcomer(void)\n{\n	return 1;\n}\n\n"
         "static int __init vmx_init(void)\n{", "function", "newcomer"),
    Seed(UAPI, "#define EXIT_REASON_CPUID               10",
         "#define EXIT_REASON_CPUID               11",
         "constant", "EXIT_REASON_CPUID"),
    Seed("arch/x86/include/asm/vmx.h", "	GUEST_RIP                       = 0x0000681e,",
         "	GUEST_RIP                       = 0x0000681c,", "constant", "GUEST_RIP"),
    Seed("arch/x86/include/asm/msr-index.h", "#define MSR_IA32_VMX_BASIC              0x00000480",
         "#define MSR_IA32_VMX_BASIC              0x00000481", "constant", "MSR_IA32_VMX_BASIC"),
    Seed(JUMP, "#define JUMP_TYPE_TRUE		1UL", "#define JUMP_TYPE_TRUE		3UL", "constant",
         "JUMP_TYPE_TRUE"),
]

FIELDS, ABI = "include/asm/evmcs_fields.h", "include/asm/hyperv-tlfs.h"
PORT, EVMCS = "kvm_vmx/l1/vmx.pyx", "kvm_vmx/l1/vmx_evmcs.pxd"

PORTS = [
    Seed(FIELDS, "EVMCS_FIELD(GUEST_RSP, guest_rsp,", "EVMCS_FIELD(GUEST_RSP, guest_rip,", "field",
         "GUEST_RSP"),
    Seed(FIELDS, "EVMCS_FIELD(HOST_CR3, host_cr3, HOST_GRP1)\n", "", "field", "HOST_CR3"),
    Seed(ABI, "	u32 hv_clean_fields;", "	u64 hv_clean_fields;", "member",
         "hv_enlightened_vmcs.hv_clean_fields"),
    Seed(ABI, "#define HV_X64_MSR_VP_INDEX 0x40000002", "#define HV_X64_MSR_VP_INDEX 0x40000003",
         "constant", "HV_X64_MSR_VP_INDEX"),
    Seed(EVMCS, "[ROL16(number, 6)]", "[ROL16(number, 7)]", "macro", "EVMCS_FIELD"),
    Seed(EVMCS, "        u16 clean_field;\n", "        u32 clean_field;\n", "member",
         "evmcs_field.clean_field"),
    Seed(PORT, "hv_clean_fields &= (mask)", "hv_clean_fields |= (mask)", "macro",
         "evmcs_clean_fields_and"),
    Seed(PORT, "    #define KVM_EVMCS_VERSION 1", "    #define KVM_EVMCS_VERSION 2", "constant",
         "KVM_EVMCS_VERSION"),
    Seed(PORT, "    DEFINE_STATIC_KEY_FALSE(enable_evmcs);",
         "    DEFINE_STATIC_KEY_TRUE(enable_evmcs);",
         "key", "enable_evmcs"),
    Seed(PORT, "cdef bint enlightened_vmcs = 1\n", "cdef bint enlightened_vmcs = 0\n",
         "variable", "enlightened_vmcs"),
    Seed(PORT, '"vpid", &enable_vpid, 1)', '"vpid", &enable_vnmi, 1)', "parameter", "vpid"),
    Seed(PORT, "    NR_AUTOLOAD_MSRS = 8\n", "    NR_AUTOLOAD_MSRS = 9\n", "constant",
         "NR_AUTOLOAD_MSRS"),
    Seed(PORT, "MSR_SYSCALL_MASK, MSR_LSTAR,", "MSR_LSTAR, MSR_SYSCALL_MASK,", "table",
         "vmx_msr_index"),
    Seed(PORT, "    EPT_POINTERS_MISMATCH = 2\n", "    EPT_POINTERS_MISMATCH = 3\n", "constant",
         "EPT_POINTERS_MISMATCH"),
    Seed(PORT, "    u64 entry_time\n", "    u32 entry_time\n", "member", "loaded_vmcs.entry_time"),
    Seed("kvm_vmx/l1/lapic.pxd", "#define lapic_in_kernel(vcpu) 0",
         "#define lapic_in_kernel(vcpu) 1", "macro", "lapic_in_kernel"),
    Seed("include/linux/list.h", "	head->next = link;\n", "", "function", "list_add"),
]


def sown(text: str, seeds) -> str:
    """A file's text with some seeds in it."""
    for seed in seeds:
        assert text.count(seed.old), seed
        text = text.replace(seed.old, seed.new, 1)
    return text


def by_file(seeds) -> dict:
    """The seeds of each file; those that change the same text one after the other."""
    files = {}
    for seed in seeds:
        if all(other.old != seed.old for other in files.setdefault(seed.file, [])):
            files[seed.file].append(seed)
    return files


def with_text(tree, path: str, text: str):
    """The tree with another text of one file."""
    other = trees.Tree(tree.title, {**tree.files, path: text}, tree.config)
    other.parsed = {key: file for key, file in tree.parsed.items() if key[0] != path}
    other.spoken = {key: words for key, words in tree.spoken.items() if key != path}
    other.known = {key: found for key, found in tree.known.items()
                   if found is not None and path != found.path == key[1]}
    return other
