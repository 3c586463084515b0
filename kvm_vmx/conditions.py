# SPDX-License-Identifier: GPL-2.0-only
"""What KVM asks before it uses enlightened VMCSs, as rows in the order of three kernels."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kvm_vmx.evidence import MICROSOFT, Facts

LOWEST_LEAF, HIGHEST_LEAF, NESTED_LEAF = 0x40000005, 0x4000FFFF, 0x4000000A
HYPERCALL, VP_INDEX = 1 << 5, 1 << 6
ISOLATION, TDX = 1 << 22, 3
RECOMMENDED, VERSION_MASK = 1 << 14, 0xFF
SVM_VENDORS = ("AuthenticAMD", "HygonGenuine")

BOOT, DETECTION = "arch/x86/hyperv/hv_init.c", "arch/x86/kernel/cpu/mshyperv.c"

# None: what there is does not tell.
Judgement = tuple[bool | None, str]


class AskedIn(NamedTuple):
    """Where a kernel asks: file, function, and words that its text has there."""

    file: str
    function: str
    words: str


class Rung(NamedTuple):
    """A condition of the ladder: what is asked, the facts that can tell, each kernel's place."""

    id: str
    what: str
    facts: tuple[str, ...]
    judge: Callable[[Mapping[str, Any]], Judgement]
    places: dict[str, AskedIn]


class Finding(NamedTuple):
    """How one condition ended: holds is None where nothing tells; why is a sentence."""

    id: str
    what: str
    holds: bool | None
    why: str
    evidence: tuple[str, ...]
    file: str
    function: str

    def explain(self) -> str:
        """One line for a reader."""
        found = f" [{'; '.join(self.evidence)}]" if self.evidence else ""
        return f"{self.why}: {self.function}(){found}"


def _hypervisor(f: Mapping[str, Any]) -> Judgement:
    if f.get("hypervisor") or f.get("detected") or f.get("signature"):
        return True, "a hypervisor runs beneath"
    if "hypervisor" in f or "detected" in f:
        return False, "no hypervisor runs beneath (CPUID 1 ECX[31] is 0)"
    return None, "nothing tells whether a hypervisor runs beneath"


def _leaves(f: Mapping[str, Any]) -> Judgement:
    top = f.get("max_leaf")
    if top is None:
        if f.get("detected") == "Microsoft Hyper-V":
            return True, "the kernel has taken it for Hyper-V"
        return None, "nothing tells the highest leaf"
    inside = LOWEST_LEAF <= top <= HIGHEST_LEAF
    name = f" {f['signature']!r}" if f.get("signature") else ""
    return inside, (f"the highest leaf of the hypervisor{name} is {top:#x}" + (
        "" if inside else f", which is not from {LOWEST_LEAF:#x} to {HIGHEST_LEAF:#x}"))


def _signature(f: Mapping[str, Any]) -> Judgement:
    name = f.get("signature") or f.get("detected")
    if name in (MICROSOFT, "Microsoft Hyper-V"):
        return True, "the hypervisor says that it is Hyper-V"
    if name:
        return False, (f"the hypervisor calls itself {name!r} and not {MICROSOFT!r} "
                       "(CPUID 0x40000000)")
    if f.get("hypervisor") is False or "detected" in f:
        return False, "no hypervisor says that it is Hyper-V (CPUID 0x40000000)"
    return None, "nothing tells which hypervisor it is"


def _registers(f: Mapping[str, Any]) -> Judgement:
    features = f.get("features")
    if features is None:
        return None, "nothing tells which of Hyper-V's MSRs there are"
    lost = [name for bit, name in ((HYPERCALL, "the hypercall MSR (bit 5)"),
                                   (VP_INDEX, "the VP index MSR (bit 6)")) if not features & bit]
    if lost:
        return False, f"Hyper-V does not offer {' and '.join(lost)} (CPUID 0x40000003 EAX)"
    return True, "Hyper-V offers hypercalls and the VP index"


def _nested_leaf(f: Mapping[str, Any]) -> Judgement:
    top = f.get("max_leaf")
    if top is None:
        return None if "nested" not in f else True, "the leaf of the nested features is read"
    return top >= NESTED_LEAF, (f"the highest leaf of the hypervisor, {top:#x}, "
                                f"{'reaches' if top >= NESTED_LEAF else 'ends below'} "
                                f"{NESTED_LEAF:#x}, of the nested features")


def _isolation(f: Mapping[str, Any]) -> Judgement:
    kind = f.get("isolation")
    if f.get("priv_high") is not None and not f["priv_high"] & ISOLATION:
        return True, "the partition is not isolated"
    if kind is None:
        return None, "nothing tells whether the partition is isolated"
    if kind & 0xF == TDX:
        return False, "a TDX partition has no VP assist pages (CPUID 0x4000000c EBX[3:0] is 3)"
    return True, "the partition is no TDX one"


def _config(f: Mapping[str, Any]) -> Judgement:
    built = f.get("config_hyperv")
    if built is None:
        return None, "nothing tells whether the kernel has CONFIG_HYPERV"
    return built, f"the kernel is built with{'' if built else 'out'} CONFIG_HYPERV"


def _parameter(f: Mapping[str, Any]) -> Judgement:
    asked = f.get("parameter")
    if asked is None:
        return True, "nobody has set enlightened_vmcs, and its default is 1"
    return asked, f"kvm_intel is asked for enlightened_vmcs={int(asked)}"


def _hint(f: Mapping[str, Any]) -> Judgement:
    hints = f.get("hints")
    if hints is None:
        return None, "nothing tells whether enlightened VMCSs are recommended"
    if hints & RECOMMENDED:
        return True, "the hypervisor recommends enlightened VMCSs"
    return False, ("the hypervisor does not recommend enlightened VMCSs "
                   f"(bit 14 of CPUID 0x40000004 EAX, {hints:#x}, is 0)")


def _version(f: Mapping[str, Any]) -> Judgement:
    nested = f.get("nested")
    if nested is None:
        return None, "nothing tells which version of the eVMCS there is"
    version = nested & VERSION_MASK
    if version:
        return True, f"version {version} of the eVMCS is on offer"
    return False, ("no version of the eVMCS is on offer "
                   f"(CPUID 0x4000000a EAX[7:0] of {nested:#x} is 0)")


def _assist(f: Mapping[str, Any]) -> Judgement:
    without = f.get("without_assist")
    if without is None:
        return None, "nothing tells whether each CPU has its VP assist page"
    if without:
        return False, f"no VP assist page for CPU {', '.join(map(str, without))}"
    return True, "each online CPU has its VP assist page"


def _vmx(f: Mapping[str, Any]) -> Judgement:
    vendor, vmx = f.get("vendor"), f.get("vmx")
    if vendor in SVM_VENDORS:
        return False, (f"the processor's vendor is {'AMD' if vendor == SVM_VENDORS[0] else 'Hygon'}"
                       f" ({vendor}): it has SVM and no VMX, so that KVM is kvm_amd, which has no "
                       "VMCS")
    if vmx is None:
        return None, "nothing tells whether the processor has VMX"
    return vmx, "the processor has VMX" if vmx else "the processor shows no VMX (CPUID 1 ECX[5])"


def _bios(f: Mapping[str, Any]) -> Judgement:
    locked = f.get("locked_out")
    if locked is None:
        return None, "nothing tells whether the firmware lets VMX be switched on"
    return not locked, ("the firmware keeps VMX off (IA32_FEATURE_CONTROL, MSR 0x3a)" if locked
                        else "the firmware lets VMX be switched on")


_OLD, _NEW = "arch/x86/kvm/vmx.c", "arch/x86/kvm/vmx/vmx.c"
_X86 = "arch/x86/kvm/x86.c"


def _same(file: str, function: str, words: str) -> dict[str, AskedIn]:
    """One place in all three kernels."""
    return {kernel: AskedIn(file, function, words) for kernel in ("4.19", "6.1", "6.12")}


def _init(words: str, before: str = "") -> dict[str, AskedIn]:
    """Where vmx_init() decides, which 6.12 has in a function of its own."""
    return {"4.19": AskedIn(_OLD, "vmx_init", before or words),
            "6.1": AskedIn(_NEW, "vmx_init", before or words),
            "6.12": AskedIn(_NEW, "hv_init_evmcs", words)}


RUNGS = {row.id: row for row in (
    Rung("hypervisor", "a hypervisor beneath", ("hypervisor", "detected"), _hypervisor,
              _same(DETECTION, "ms_hyperv_platform", "boot_cpu_has(X86_FEATURE_HYPERVISOR)")),
    Rung("leaves", "its leaves are enough", ("max_leaf", "detected"), _leaves,
              _same(DETECTION, "ms_hyperv_platform", "HYPERV_CPUID_MIN")),
    Rung("signature", "its name is Hyper-V's", ("hypervisor", "signature", "detected"), _signature,
              _same(DETECTION, "ms_hyperv_platform", '"Microsoft Hv"')),
    Rung("registers", "hypercalls and VP index", ("features",), _registers,
              {"4.19": AskedIn(BOOT, "hyperv_init", "HV_X64_MSR_VP_INDEX_AVAILABLE"),
               "6.1": AskedIn(DETECTION, "ms_hyperv_platform", "HV_MSR_VP_INDEX_AVAILABLE"),
               "6.12": AskedIn(DETECTION, "ms_hyperv_platform", "HV_MSR_VP_INDEX_AVAILABLE")}),
    Rung("nested_leaf", "a leaf of nested features", ("max_leaf", "nested"), _nested_leaf,
              {kernel: AskedIn(DETECTION, "ms_hyperv_init_platform",
                             "hv_max_functions_eax >= HYPERV_CPUID_NESTED_FEATURES")
               for kernel in ("6.1", "6.12")}),
    Rung("isolation", "no TDX partition", ("priv_high", "isolation"), _isolation,
              {"6.12": AskedIn(BOOT, "hyperv_init", "hv_isolation_type_tdx()")}),
    Rung("config", "CONFIG_HYPERV", ("config_hyperv",), _config,
              {"4.19": AskedIn(_OLD, "vmx_init", "IS_ENABLED(CONFIG_HYPERV)"),
               "6.1": AskedIn(_NEW, "vmx_init", "IS_ENABLED(CONFIG_HYPERV)"),
               "6.12": AskedIn(_NEW, "hv_init_evmcs", "hv_init_evmcs")}),
    Rung("parameter", "enlightened_vmcs=1", ("parameter",), _parameter,
              _init("if (!enlightened_vmcs)", "if (enlightened_vmcs &&")),
    Rung("hint", "recommended", ("hints",), _hint,
              _init("HV_X64_ENLIGHTENED_VMCS_RECOMMENDED")),
    Rung("version", "a version that KVM knows", ("nested",), _version,
              _init("KVM_EVMCS_VERSION")),
    Rung("assist", "an assist page for each CPU", ("without_assist",), _assist,
              _init("hv_get_vp_assist_page(cpu)")),
    Rung("vmx", "VMX", ("vendor", "vmx"), _vmx,
              {"4.19": AskedIn(_X86, "kvm_arch_init", "cpu_has_kvm_support()"),
               "6.1": AskedIn(_X86, "kvm_x86_vendor_init", "cpu_has_kvm_support()"),
               "6.12": AskedIn(_NEW, "__kvm_is_vmx_supported", "feature_bit(VMX)")}),
    Rung("bios", "VMX not locked out", ("locked_out",), _bios,
              {"4.19": AskedIn(_X86, "kvm_arch_init", "disabled_by_bios()"),
               "6.1": AskedIn(_X86, "kvm_x86_vendor_init", "disabled_by_bios()"),
               "6.12": AskedIn(_NEW, "__kvm_is_vmx_supported", "X86_FEATURE_MSR_IA32_FEAT_CTL")}),
)}

_PLATFORM = ("hypervisor", "leaves", "signature", "registers")
_DECISION = ("config", "parameter", "hint", "version", "assist")
# The order in which each kernel asks.
ORDER = {
    "4.19": (*_PLATFORM, *_DECISION, "vmx", "bios"),
    "6.1": (*_PLATFORM, "nested_leaf", *_DECISION, "vmx", "bios"),
    "6.12": (*_PLATFORM, "nested_leaf", "isolation", "vmx", "bios", *_DECISION),
}


def walk(facts: Facts, kernel: str = "4.19") -> list[Finding]:
    """Every condition of a kernel in its order, each with what the facts say."""
    values = {name: fact.value for name, fact in facts.items()}
    found = []
    for name in ORDER[kernel]:
        row, place = RUNGS[name], RUNGS[name].places[kernel]
        holds, why = row.judge(values)
        evidence = tuple(dict.fromkeys(
            facts[fact].source for fact in row.facts if fact in facts))
        found.append(Finding(row.id, row.what, holds, why, evidence, place.file, place.function))
    return found
