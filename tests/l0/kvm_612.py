# SPDX-License-Identifier: GPL-2.0-only
"""What KVM 6.12 answers an L1: its own functions, taken out of a tree, compiled and run.

The input is a processor and what L1's CPUID says; the output, the capability MSRs that such an L1
reads while it may use an eVMCS, the Hyper-V leaves that KVM supports, and which synthetic MSRs and
hypercalls come with which of their bits. The functions are the
tree's text; what stands around them in a kernel is given here, in as few words as will do.
"""

import json
import re
import subprocess

# Family 6 model 106, as a host of KVM has it: the MSRs that setup_vmcs_config() reads.
PROCESSOR = {
    0x481: 0xFF_00000016, 0x482: 0xFFF9FFFE_0401E172, 0x483: 0x007FFFFF_00036DFF,
0x484: 0x0000F3FF_000011FF, 0x485: 0x7004C1E7,
    0x48B: 0x0213FFFF_00000000, 0x48C: 0x00000F01_06734141,
}
INDEXES = (*range(0x480, 0x492),)
LEAVES = (*range(0x40000000, 0x40000006), 0x4000000A, 0x40000080, 0x40000081, 0x40000082)
# where a word of cpufeatures.h is in CPUID
WORDS = {0: (1, 0, 3), 4: (1, 0, 2), 9: (7, 0, 1), 16: (7, 0, 2), 18: (7, 0, 3),
         1: (0x80000001, 0, 3), 6: (0x80000001, 0, 2), 10: (0xD, 1, 0)}

STUBS = {
    "linux/types.h": """
#ifndef STUB_TYPES
#define STUB_TYPES
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef u8 __u8; typedef u16 __u16; typedef u32 __u32; typedef u64 __u64;
typedef int64_t __s64; typedef int64_t s64;
typedef u64 gpa_t;
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define PAGE_SIZE 4096
#define BIT(n) (1ul << (n))
#define BIT_ULL(n) (1ull << (n))
#define GENMASK_ULL(h, l) (~0ull >> (63 - (h)) & ~0ull << (l))
#define GENMASK(h, l) GENMASK_ULL(h, l)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define WARN_ON_ONCE(x) (x)
#define likely(x) (x)
#define unlikely(x) (x)
#endif
""",
    "linux/bitops.h": "", "linux/bug.h": "", "linux/bits.h": "#include <linux/types.h>\n",
    "linux/time64.h": "", "asm/page.h": "", "linux/mm.h": "", "asm/trapnr.h": "",
    "linux/const.h": "#define _BITUL(x) (1ul << (x))\n#define _BITULL(x) (1ull << (x))\n"
                     "#define _UL(x) (x##ul)\n#define _AC(x, y) (x##y)\n",
}

BEFORE = """
#define CONFIG_X86_64 1
#define CONFIG_KVM_HYPERV 1
#include <linux/types.h>
#include <stdio.h>
#include <asm/vmx.h>
#include <asm/msr-index.h>
#include <asm/cpufeatures.h>
#include <uapi/asm/processor-flags.h>
#include <asm/hyperv-tlfs.h>
#define X86_MEMTYPE_WB 6
#define KVM_MAX_VCPUS 1024
#define __user
enum { enable_apicv = 1, enable_ept = 1, enable_ept_ad_bits = 1, enable_vpid = 1,
       enable_unrestricted_guest = 1, flexpriority_enabled = 1, enable_sgx = 0 };
#define cpu_has_vmx_vmfunc() 1
#define cpu_has_vmx_basic_inout() 1
#define vmx_umip_emulated() 0
#define cpu_smt_possible() 1
#define lapic_in_kernel(vcpu) 1
static u64 processor[32];
#define rdmsrl(index, value) ((value) = processor[(index) - 0x480])
struct kvm_cpuid_entry2 { u32 function, index, flags, eax, ebx, ecx, edx; };
struct kvm_cpuid2 { u32 nent; };
static const struct kvm_cpuid_entry2 guest[];
static const unsigned int nr_guest;
static const struct kvm_cpuid_entry2 *find_entry(u32 function, u32 index)
{
	for (unsigned int i = 0; i < nr_guest; i++)
		if (guest[i].function == function && guest[i].index == index)
			return &guest[i];
	return NULL;
}
#define kvm_find_cpuid_entry(vcpu, function) ((void *)find_entry(function, 0))
#define kvm_find_cpuid_entry_index(vcpu, function, index) ((void *)find_entry(function, index))
#define feature_bit(name) (1u << (X86_FEATURE_##name & 31))
struct kvm_vcpu_hv {
	void *vcpu;
	int enforce_cpuid;
	struct { u32 features_eax, features_ebx, features_edx, enlightenments_eax,
	         enlightenments_ebx, nested_ebx; } cpuid_cache;
};
#define kvm_hv_is_syndbg_enabled(vcpu) 0
#define fallthrough __attribute__((fallthrough))
#define U32_MAX 0xffffffffu
struct kvm_vcpu { struct kvm_vcpu_hv *hv; };
#define to_hv_vcpu(vcpu) ((vcpu)->hv)
static u16 evmcs_version(struct kvm_vcpu *vcpu);
static struct nested_ops {
	u16 (*get_evmcs_version)(struct kvm_vcpu *);
} nested = { evmcs_version };
static struct { struct nested_ops *nested_ops; } kvm_x86_ops = { &nested };
"""

AFTER = """
static u16 evmcs_version(struct kvm_vcpu *vcpu) { return KVM_EVMCS_VERSION << 8 | 1; }

static u32 adjusted(u32 required, u32 optional, u32 index)
{
	u64 value = processor[index - 0x480];

	return ((required | optional) & (u32)(value >> 32)) | (u32)value;
}

/* What each bit of a word lets through that nothing does, and what each two bits of it do. */
static void offers(const char *name, size_t offset)
{
	static u32 msrs[0x1000], codes[0x10000];
	struct kvm_vcpu_hv none = { NULL, 1 }, some;
	size_t nr_msrs = 0, nr_codes = 0;

	for (u32 msr = 0x40000000; msr < 0x40001000; msr++)
		if (!hv_check_msr_access(&none, msr))
			msrs[nr_msrs++] = msr;
	for (u32 code = 0; code < 0x10000; code++)
		if (!hv_check_hypercall_access(&none, code))
			codes[nr_codes++] = code;
	for (int one = 0; one < 32; one++) {
		for (int two = one; two < 32; two++) {
			u32 mask = 1u << one | 1u << two;

			some = none;
			*(u32 *)((char *)&some + offset) = mask;
			for (size_t i = 0; i < nr_msrs; i++)
				if (hv_check_msr_access(&some, msrs[i]))
					printf("access %s %x msr %x\\n", name, mask, msrs[i]);
			for (size_t i = 0; i < nr_codes; i++)
				if (hv_check_hypercall_access(&some, codes[i]))
					printf("access %s %x call %x\\n", name, mask, codes[i]);
		}
	}
}

int main(int argc, char **argv)
{
	struct kvm_vcpu_hv hv = { NULL };
	struct kvm_vcpu vcpu = { &hv };
	struct vcpu_vmx *vmx = to_vmx(&vcpu);
	struct vmcs_config config = { 0 };
	struct kvm_cpuid2 count = { 64 };
	struct kvm_cpuid_entry2 leaf[64];

	if (find_entry(0x4000000a, 0))
		hv.cpuid_cache.nested_ebx = find_entry(0x4000000a, 0)->ebx;
	PROCESSOR
	config.pin_based_exec_ctrl = adjusted(KVM_REQUIRED_VMX_PIN_BASED_VM_EXEC_CONTROL,
		KVM_OPTIONAL_VMX_PIN_BASED_VM_EXEC_CONTROL, 0x481);
	config.cpu_based_exec_ctrl = adjusted(KVM_REQUIRED_VMX_CPU_BASED_VM_EXEC_CONTROL,
		KVM_OPTIONAL_VMX_CPU_BASED_VM_EXEC_CONTROL, 0x482);
	config.cpu_based_2nd_exec_ctrl = adjusted(KVM_REQUIRED_VMX_SECONDARY_VM_EXEC_CONTROL,
		KVM_OPTIONAL_VMX_SECONDARY_VM_EXEC_CONTROL, 0x48b) & ~SECONDARY_EXEC_ENCLS_EXITING;
	config.vmexit_ctrl = adjusted(KVM_REQUIRED_VMX_VM_EXIT_CONTROLS,
		KVM_OPTIONAL_VMX_VM_EXIT_CONTROLS, 0x483);
	config.vmentry_ctrl = adjusted(KVM_REQUIRED_VMX_VM_ENTRY_CONTROLS,
		KVM_OPTIONAL_VMX_VM_ENTRY_CONTROLS, 0x484);
	config.misc = processor[5];
	nested_vmx_setup_ctls_msrs(&config, (u32)processor[12]);
	vmx->nested.msrs = config.nested;
	nested_vmx_cr_fixed1_bits_update(&vcpu);
	ADJUST
	for (u32 index = 0x480; index <= 0x491; index++) {
		u64 value = 0;

		if (vmx_get_vmx_msr(&vmx->nested.msrs, index, &value))
			continue;
		nested_evmcs_filter_control_msr(&vcpu, index, &value);
		printf("msr %x %llx\\n", index, (unsigned long long)value);
	}
	for (u32 i = 0; i < nr_vmcs12_fields; i++)
		if (vmcs12_field_offsets[i])
			printf("field %x\\n", VMCS12_IDX_TO_ENC(i));
	kvm_get_hv_cpuid(NULL, &count, leaf);
	for (u32 i = 0; i < count.nent; i++)
		printf("leaf %x %x %x %x %x\\n", leaf[i].function, leaf[i].eax, leaf[i].ebx,
		       leaf[i].ecx, leaf[i].edx);
	if (argc > 1)
		return 0;
	offers("features_eax", offsetof(struct kvm_vcpu_hv, cpuid_cache.features_eax));
	offers("features_ebx", offsetof(struct kvm_vcpu_hv, cpuid_cache.features_ebx));
	offers("features_edx", offsetof(struct kvm_vcpu_hv, cpuid_cache.features_edx));
	offers("hints_eax", offsetof(struct kvm_vcpu_hv, cpuid_cache.enlightenments_eax));
	offers("hints_ebx", offsetof(struct kvm_vcpu_hv, cpuid_cache.enlightenments_ebx));
	return 0;
}
"""


class Tree:
    """The files of a kernel tree, and pieces of them."""

    def __init__(self, root):
        self.root, self.kvm = root, root / "arch/x86/kvm"

    def text(self, name):
        return (self.kvm / name).read_text()

    def function(self, name, file):
        """The text of one function, from the line of its name to the brace at a line's start."""
        found = re.search(rf"^[a-z][^\n;]*\b{name}\([^;{{]*\)\n\{{\n.*?^\}}\n", self.text(file),
                          re.M | re.S)
        assert found, f"no function {name} in {file}"
        return found[0]

    def defines(self, prefix, file):
        """The macros whose names begin so, with their continuation lines."""
        return "".join(re.findall(
            rf"^\s*#\s*define {prefix}\w*\b(?:[^\n]*\\\n)*[^\n]*\n", self.text(file), re.M))

    def between(self, start, end, file):
        """The text from one line to before another."""
        text = self.text(file)
        return text[text.index(start):text.index(end)]

    def struct(self, name, file):
        return re.search(rf"^struct {name} \{{.*?^\}};\n", self.text(file), re.M | re.S)[0]


def features(tree):
    """Feature: (leaf, subleaf, register, bit), of the words that WORDS knows."""
    text = (tree.root / "arch/x86/include/asm/cpufeatures.h").read_text()
    found = {}
    for name, word, bit in re.findall(
            r"#define X86_FEATURE_(\w+)\s+\(\s*(\d+)\*32\s*\+\s*(\d+)\)", text):
        if int(word) in WORDS:
            found[name] = (*WORDS[int(word)], int(bit))
    return found


def adjustments(tree, cpuid):
    """C that takes from L1 the secondary controls whose feature its CPUID lacks, by the calls in
    vmx_secondary_exec_control()."""
    body = tree.function("vmx_secondary_exec_control", "vmx/vmx.c")
    known, lines = features(tree), []

    def has(name):
        leaf, index, register, bit = known[name]
        found = cpuid.get((leaf, index) if index else leaf, (0, 0, 0, 0))
        return found[register] >> bit & 1

    calls = [(name, f"ENABLE_{name}") for name in re.findall(
        r"adjust_sec_exec_feature\(vmx, &exec_control, \w+, (\w+)\)", body)]
    calls += [(name, f"{name}_EXITING") for name in re.findall(
        r"adjust_sec_exec_exiting\(vmx, &exec_control, \w+, (\w+)\)", body)]
    calls += re.findall(
        r"adjust_sec_exec_control\(vmx, &exec_control, \w+, (\w+),\s*(\w+), \w+\)", body)
    assert len(calls) >= 5 and "X86_FEATURE_RDPID" in body
    for name, control in calls:
        if not has(name):
            lines.append(f"vmx->nested.msrs.secondary_ctls_high &= ~SECONDARY_EXEC_{control};")
    if not has("RDTSCP") and not has("RDPID"):
        lines.append("vmx->nested.msrs.secondary_ctls_high &= ~SECONDARY_EXEC_ENABLE_RDTSCP;")
    return "\n\t".join(lines)


def program(tree, cpuid):
    """The C text."""
    vmcs12 = re.search(r"^const unsigned short vmcs12_field_offsets\[\] = \{.*?^\};\n",
                       tree.text("vmx/vmcs12.c"), re.M | re.S)[0]
    filters = re.search(r"^enum evmcs_revision \{.*?^static u32 evmcs_get_supported_ctls",
                        tree.text("vmx/hyperv.c"), re.M | re.S)[0]
    filters = filters[:filters.rindex("static u32")]
    entries = ",\n".join(
        f"\t{{ {leaf:#x}, {index}, 0, {', '.join(hex(r) for r in registers)} }}"
        for leaf, index, registers in (
            (*(key if isinstance(key, tuple) else (key, 0)), value)
            for key, value in cpuid.items()))
    setup = [name for name in re.findall(
        r"^(?:static )?\w+ (nested_vmx_setup_\w+|nested_vmx_calc_vmcs_enum_msr)\(",
        tree.text("vmx/nested.c"), re.M)]
    parts = [
        BEFORE, tree.defines("KVM_EVMCS_VERSION", "vmx/hyperv_evmcs.h"),
        tree.defines("EVMCS1_SUPPORTED", "vmx/hyperv_evmcs.h"),
        tree.between("#define __KVM_REQUIRED_VMX_VM_ENTRY", "#define BUILD_CONTROLS_SHADOW",
                     "vmx/vmx.h"),
        tree.defines("VMX_VPID_EXTENT_SUPPORTED_MASK", "vmx/nested.c"),
        tree.defines("VMX_MISC_EMULATED", "vmx/nested.c"),
        tree.defines("VMCS12_IDX_TO_ENC", "vmx/nested.c"),
        tree.defines("VMCS12_REVISION", "vmx/vmcs12.h"),
        "#define VMCS12_SIZE 0x1000\n",
        tree.defines("(?:HYPERV_CPUID_S|HV_X64_SYNDBG_CAP|HV_X64_MSR_SYNDBG)", "hyperv.h"),
        tree.struct("nested_vmx_msrs", "vmx/capabilities.h"),
        tree.struct("vmcs_config", "vmx/capabilities.h"),
        "static struct vcpu_vmx { struct { struct nested_vmx_msrs msrs; } nested; } the_vmx;\n"
        "#define to_vmx(vcpu) (&the_vmx)\n"
        "#define ROL16(x, n) ((u16)((u16)(x) << (n) | (u16)(x) >> (16 - (n))))\n"
        "#define FIELD(number, name) [ROL16(number, 6)] = 1\n"
        "#define FIELD64(number, name) FIELD(number, name), [ROL16(number##_HIGH, 6)] = 1\n",
        vmcs12, "enum { nr_vmcs12_fields = ARRAY_SIZE(vmcs12_field_offsets) };\n",
        tree.defines("VMCS_FIELD_INDEX", "vmx/vmcs.h"),
        tree.function("vmcs_field_index", "vmx/vmcs.h"),
        "static const struct kvm_cpuid_entry2 guest[] = {\n" + entries + "\n};\n"
        "static const unsigned int nr_guest = ARRAY_SIZE(guest);\n",
        *(tree.function(name, "vmx/nested.c") for name in setup),
        tree.function("nested_vmx_cr_fixed1_bits_update", "vmx/vmx.c"),
        tree.function("vmx_control_msr", "vmx/nested.h")
        if "vmx_control_msr(" in tree.text("vmx/nested.h") else
        tree.function("vmx_control_msr", "vmx/nested.c"),
        tree.function("vmx_get_vmx_msr", "vmx/nested.c"),
        filters, tree.function("evmcs_get_supported_ctls", "vmx/hyperv.c"),
        tree.function("evmcs_has_perf_global_ctrl", "vmx/hyperv.c"),
        tree.function("nested_evmcs_filter_control_msr", "vmx/hyperv.c"),
        "#define copy_to_user(to, from, n) (memcpy(to, from, n), 0)\n#define E2BIG 7\n"
        "#define EFAULT 14\n#define EINVAL 22\n",
        tree.function("kvm_get_hv_cpuid", "hyperv.c"),
        tree.defines("HV_EXT_CALL_MAX", "hyperv.c"),
        tree.function("hv_check_msr_access", "hyperv.c"),
        tree.function("hv_check_hypercall_access", "hyperv.c"),
        AFTER.replace("ADJUST", adjustments(tree, cpuid)).replace("PROCESSOR", "\n\t".join(
            f"processor[{index - 0x480}] = {value:#x};" for index, value in PROCESSOR.items())),
    ]
    return "\n".join(parts)


def evaluate(root, cpuid, folder, access=True):
    """{"msr": {index: value}, "leaf": {number: [4 registers]}, "field": [encodings], "access":
    {"features_eax msr": {bits: [MSRs, or codes of calls]}}} of the tree at root; bits are one or
    two of the word. Without access, which takes the longest, that is empty."""
    tree, include = Tree(root), folder / "include"
    for name, text in STUBS.items():
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_text(text)
    (folder / "kvm.c").write_text(program(tree, cpuid))
    arch = root / "arch/x86/include"
    subprocess.run(
        ["gcc", "-std=gnu11", "-w", "-O1", "-include", "linux/types.h", "-include",
         "linux/const.h", f"-I{include}", f"-I{arch}", f"-I{arch}/uapi", f"-I{root}/include",
         f"-I{root}/include/uapi", "-o", folder / "kvm", folder / "kvm.c"],
        check=True, capture_output=True, text=True)
    found = {"msr": {}, "leaf": {}, "field": [], "access": {}}
    done = subprocess.run([folder / "kvm", *["no"] * (not access)], check=True, capture_output=True,
                          text=True)
    for line in done.stdout.splitlines():
        kind, number, *values = line.split()
        if kind == "field":
            found["field"].append(int(number, 16))
            continue
        if kind == "access":
            word, (mask, what, which) = number, values
            singles = found["access"].setdefault(f"{word} {what}", {})
            singles.setdefault(int(mask, 16), []).append(int(which, 16))
            continue
        words = [int(value, 16) for value in values]
        found[kind][int(number, 16)] = words[0] if kind == "msr" else words
    # of two bits, what neither of them brings alone
    for bits in found["access"].values():
        for mask in [mask for mask in bits if mask & mask - 1]:
            alone = {which for bit in range(32) if mask >> bit & 1
                     for which in bits.get(1 << bit, ())}
            bits[mask] = [which for which in bits[mask] if which not in alone]
            if not bits[mask]:
                del bits[mask]
    return found


def recorded(path):
    """What record() has written."""
    data = json.loads(path.read_text())
    return {
        "msr": {int(index, 16): int(value, 16) for index, value in data["msr"].items()},
        "leaf": {int(number, 16): [int(word, 16) for word in value.split()]
                 for number, value in data["leaf"].items()},
        "field": [int(encoding, 16) for encoding in data["field"].split()],
        "access": {word: {int(mask, 16): [int(which, 16) for which in value.split()]
                          for mask, value in rows.items()}
                   for word, rows in data["access"].items()},
    }


def record(path, found):
    """Write a result, for where there is no tree."""
    def text(numbers):
        return " ".join(f"{number:#x}" for number in numbers)

    data = {
        "msr": {f"{index:#x}": f"{value:#x}" for index, value in found["msr"].items()},
        "leaf": {f"{number:#x}": text(value) for number, value in found["leaf"].items()},
        "field": text(found["field"]),
        "access": {word: {f"{mask:#x}": text(numbers) for mask, numbers in sorted(rows.items())}
                   for word, rows in found["access"].items()},
    }
    path.write_text(json.dumps(data, indent=1) + "\n")
