# SPDX-License-Identifier: GPL-2.0-only
"""Profiles as data: what CPUID and the capability MSRs of an emulated Hyper-V answer.

Sources: TLFS (Hyper-V Top Level Functional Specification); SDM (Intel's manual, volume 3,
appendix A for the capability MSRs); KVM 6.12 acting as Hyper-V.
"""

import dataclasses

MASK_32 = 0xFFFFFFFF
MASK_64 = 0xFFFFFFFFFFFFFFFF
MAX_LEAVES = 32
MAX_MSRS = 64

# The answers of the policy table; struct l0_profile has a member of each name.
POLICIES = (
    "bad_evmcs_pointer_is_ud",
    "vmread_serves_evmcs",
    "honour_msr_lists",
    "assist_overlay",
    "one_vp_per_evmcs",
    "aligned_evmcs_pointer",
    "reject_uncovered_controls",
)


@dataclasses.dataclass(frozen=True)
class Profile:
    """One emulated Hyper-V: numbers only.

    cpuid maps a leaf to (eax, ebx, ecx, edx), 32 bits each; msrs an MSR index to its 64-bit
    value; policies names every choice of POLICIES. vmcs_revision is what a plain VMCS and the
    VMXON region must carry in their first word.
    """

    name: str
    cpuid: dict[int, tuple[int, int, int, int]]
    msrs: dict[int, int]
    policies: dict[str, bool]
    maxphyaddr: int = 46
    enforce_cpuid: bool = False

    @property
    def vmcs_revision(self) -> int:
        """Bits 30:0 of IA32_VMX_BASIC."""
        return self.msrs[0x480] & 0x7FFFFFFF


def _text(word: str) -> int:
    return int.from_bytes(word.encode(), "little")


def _control(allowed_0: int, allowed_1: int) -> int:
    """A capability MSR: which bits must be 1, and above them which may be."""
    return allowed_1 << 32 | allowed_0


# An Ice Lake server as CPUID describes it, without XSAVE and what needs it (SDM volume 2A).
HOST_LEAVES = {
    0x0: (0x7, _text("Genu"), _text("ntel"), _text("ineI")),
    # family 6, model 106; ECX: SSE3 PCLMULQDQ VMX SSSE3 CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE
    # POPCNT AES RDRAND hypervisor; EDX: the usual set of a 64-bit processor, with PAT and MTRR
    0x1: (0x606A6, 0x00010800, 0xC2FA2223, 0x078BFBFF),
    # EBX: FSGSBASE BMI1 SMEP BMI2 ERMS INVPCID RDSEED SMAP; EDX: SPEC_CTRL STIBP
    # ARCH_CAPABILITIES SSBD
    0x7: (0x0, 0x00140789, 0x0, 0xAC000000),
    0x80000000: (0x80000008, 0x0, 0x0, 0x0),
    # ECX: LAHF LZCNT; EDX: SYSCALL NX 1-GByte pages RDTSCP long mode
    0x80000001: (0x0, 0x0, 0x00000021, 0x2C100800),
    # EAX: physical and linear address bits; the first is set from maxphyaddr
    0x80000008: (0x0000302E, 0x0, 0x0, 0x0),
}

HYPERV_LEAVES = {
    # TLFS 2.4: the highest leaf, and the vendor that v4.19 insists on
    0x40000000: (0x4000000A, _text("Micr"), _text("osof"), _text("t Hv")),
    0x40000001: (_text("Hv#1"), 0x0, 0x0, 0x0),
    # build 20348, version 10.0
    0x40000002: (0x00004F7C, 0x000A0000, 0x0, 0x0),
    # EAX: VP_RUNTIME TIME_REF_COUNT APIC_ACCESS (announces the assist page) HYPERCALL VP_INDEX
    # frequency MSRs; EDX: frequency MSRs
    0x40000003: (0x00000873, 0x0, 0x0, 0x00000100),
    # EAX: relaxed timing, enlightened VMCS; EBX: spin for ever before calling
    0x40000004: (0x00004020, 0x00000FFF, 0x0, 0x0),
    # at most 4096 virtual processors, as hyper-v calls its limits
    0x40000005: (0x00001000, 0x00001000, 0x0, 0x0),
    # EAX: versions 1 to 1, direct virtual flush (17), MSR bitmap (19); EBX: the PERF_GLOBAL_CTRL
    # fields exist. KVM 6.12 offers just these
    0x4000000A: (0x000A0101, 0x00000001, 0x0, 0x0),
}

# SDM appendix A, filtered as KVM 6.12 filters what an eVMCS of version 1 has fields for.
VMX_MSRS = {
    # revision of KVM's own VMCS, 4096 bytes, write-back, INS/OUTS information, TRUE controls
    0x480: 0x11E57ED0 | 0x1000 << 32 | 6 << 50 | 1 << 54 | 1 << 55,
    # pin-based: external interrupts, NMIs, virtual NMIs; no preemption timer, none posted
    0x481: _control(0x00000016, 0x0000003F),
    # primary: everything that bits 31:0 name but 17 and 18
    0x482: _control(0x0401E172, 0xFFF9FFFE),
    # exit: 64-bit host, acknowledge interrupts, save and load PAT and EFER
    0x483: _control(0x00036DFF, 0x003FEFFF),
    # entry: IA-32e guest, load PAT and EFER
    0x484: _control(0x000011FF, 0x0000D3FF),
    # timer rate 5, LMA stored at exit, HLT, shutdown and wait-for-SIPI, four CR3 targets
    0x485: 0x000401E5,
    # CR0: PE, NE and PG must be 1
    0x486: 0x80000021,
    0x487: 0xFFFFFFFF,
    # CR4: VMXE must be 1; PCIDE, FSGSBASE, SMEP and SMAP may be
    0x488: 0x00002000,
    0x489: 0x003327FF,
    # the highest field index in use, times 2
    0x48A: 0x0000002E,
    # secondary: EPT DESC RDTSCP X2APIC VPID WBINVD unrestricted guest RDRAND INVPCID RDSEED
    0x48B: _control(0x00000000, 0x000118FE),
    # execute-only, 4 levels, UC, WB, 2 MB, 1 GB, INVEPT, A/D; INVVPID with its four types
    0x48C: 0x00000F0106334141,
    # the TRUE forms: VM-exit debug controls, CR3 exiting may be 0
    0x48D: _control(0x00000016, 0x0000003F),
    0x48E: _control(0x04006172, 0xFFF9FFFE),
    0x48F: _control(0x00036DFB, 0x003FEFFF),
    0x490: _control(0x000011FB, 0x0000D3FF),
    # no VM functions
    0x491: 0x0,
}

OTHER_MSRS = {
    # feature control: as at reset, unlocked; the firmware of KVM's machines leaves it so
    0x3A: 0x0,
    # microcode revision
    0x8B: 0x0100000000000000,
    # MTRR capability: no variable ranges
    0xFE: 0x0,
    # architectural capabilities: not vulnerable to Meltdown, enhanced IBRS, no L1D flush needed
    0x10A: 0x0000000B,
}

PROFILES = {
    "kvm-6.12": Profile(
        name="kvm-6.12",
        cpuid={**HOST_LEAVES, **HYPERV_LEAVES},
        msrs={**OTHER_MSRS, **VMX_MSRS},
        policies={
            "bad_evmcs_pointer_is_ud": True,  # K9
            "vmread_serves_evmcs": True,  # K8
            "honour_msr_lists": False,  # hyper-v rules 2b-2
            "assist_overlay": False,  # R7
            "one_vp_per_evmcs": False,  # R30: not enforced
            "aligned_evmcs_pointer": False,  # R11: the low bits are ignored
            "reject_uncovered_controls": True,  # R18
        },
    ),
    "tlfs-strict": Profile(
        name="tlfs-strict",
        cpuid={
            **HOST_LEAVES,
            **HYPERV_LEAVES,
            # also HvCallFlushGuestPhysicalAddressSpace (18); direct virtual flush is not built
            0x4000000A: (0x000C0101, 0x00000001, 0x0, 0x0),
        },
        msrs={**OTHER_MSRS, **VMX_MSRS},
        policies={
            "bad_evmcs_pointer_is_ud": False,  # R27
            "vmread_serves_evmcs": False,  # R32
            "honour_msr_lists": True,  # R58
            "assist_overlay": True,  # R21
            "one_vp_per_evmcs": True,  # R30
            "aligned_evmcs_pointer": True,  # R27
            "reject_uncovered_controls": True,  # R63
        },
    ),
}


def _check(what: str, value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ValueError(f"{what} is {value!r}: give an integer from 0 to {limit:#x}")
    return value


def build(
    name: str = "kvm-6.12",
    cpuid: dict[int, tuple[int, int, int, int]] | None = None,
    msrs: dict[int, int] | None = None,
    maxphyaddr: int | None = None,
    enforce_cpuid: bool = False,
) -> Profile:
    """The profile of that name with single leaves, MSRs and the address width replaced.

    cpuid maps a leaf to (eax, ebx, ecx, edx); msrs an index to a value; both are taken as they
    are, also where they contradict each other. maxphyaddr is in bits, 32 to 52. enforce_cpuid
    makes a synthetic MSR that no CPUID bit announces raise #GP. Raises ValueError with one line.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: the profiles are {', '.join(sorted(PROFILES))}")
    base = PROFILES[name]
    if maxphyaddr is None:
        maxphyaddr = base.maxphyaddr
    if not isinstance(maxphyaddr, int) or not 32 <= maxphyaddr <= 52:
        raise ValueError(f"maxphyaddr is {maxphyaddr!r}: give a number of bits from 32 to 52")
    leaves = dict(base.cpuid)
    leaves[0x80000008] = (0x3000 | maxphyaddr, *leaves[0x80000008][1:])
    for leaf, registers in (cpuid or {}).items():
        _check("a CPUID leaf", leaf, MASK_32)
        if not isinstance(registers, (tuple, list)) or len(registers) != 4:
            raise ValueError(f"CPUID leaf {leaf:#x} is {registers!r}: give (eax, ebx, ecx, edx)")
        leaves[leaf] = tuple(_check(f"CPUID leaf {leaf:#x}", r, MASK_32) for r in registers)
    values = dict(base.msrs)
    for index, value in (msrs or {}).items():
        _check("an MSR index", index, MASK_32)
        values[index] = _check(f"MSR {index:#x}", value, MASK_64)
    if len(leaves) > MAX_LEAVES or len(values) > MAX_MSRS:
        raise ValueError(f"a profile has at most {MAX_LEAVES} CPUID leaves and {MAX_MSRS} MSRs")
    return dataclasses.replace(
        base, cpuid=leaves, msrs=values, maxphyaddr=maxphyaddr, enforce_cpuid=bool(enforce_cpuid)
    )
