# SPDX-License-Identifier: GPL-2.0-only
"""Reads what dump_vmcs() prints: of v4.19 to 6.12, as a log or a mail has it, and Xen's twin."""

import functools
import quopri
import re
from typing import NamedTuple

from kvm_vmx.decode.layouts import width

NUMBER = r"(?:0x)?([0-9a-fA-F]{1,16})\b"
# What stands before a line of the kernel's in logs and mails: quotes, time stamps, levels, names.
PREFIX = re.compile(
    r"^(?:[>|:]\s?|<\d+>|\(XEN\)\s*|\[[^\]\n]{0,40}\]\s?|\d{4}-\d\d-\d\dT\S+\s"
    r"|[A-Z][a-z]{2}\s+\d+\s\d\d:\d\d:\d\d\s(?:\S+\s)?|\d\d:\d\d:\d\d\s|kernel:\s?"
    r"|(?:kvm_intel|kvm|vmx|KVM|VMX):\s?|\s)*")
MOST = 4096                 # dumps of a text
STATE = re.compile(r"\*\*\*\s*(Guest|Host|Control)\s+State\s*\*\*\*")

SEGMENTS = ("CS", "DS", "SS", "ES", "FS", "GS", "LDTR", "TR")
# Of one section each: what is printed, with "#" for each number, and the fields of the numbers.
GUEST = {
    r"CR0:\s+actual=#,\s+shadow=#,\s+gh_mask=#": "GUEST_CR0 CR0_READ_SHADOW CR0_GUEST_HOST_MASK",
    r"CR4:\s+actual=#,\s+shadow=#,\s+gh_mask=#": "GUEST_CR4 CR4_READ_SHADOW CR4_GUEST_HOST_MASK",
    r"CR3\s*=\s*#": "GUEST_CR3",
    **{rf"PDPT[RE]{n}\s*=\s*#": f"GUEST_PDPTR{n}" for n in range(4)},
    r"(?<!Sysenter )RSP\s*=\s*#": "GUEST_RSP", r"(?<!CS:)RIP\s*=\s*#": "GUEST_RIP",
    r"RFLAGS\s*=\s*#": "GUEST_RFLAGS", r"DR7\s*=\s*#": "GUEST_DR7",
    r"Sysenter\s+RSP=#\s+CS:RIP=#:#":
        "GUEST_SYSENTER_ESP GUEST_SYSENTER_CS GUEST_SYSENTER_EIP",
    **{rf"\b{reg}:\s+sel=#,\s+attr=#,\s+limit=#,\s+base=#":
       " ".join(f"GUEST_{reg}_{part}" for part in ("SELECTOR", "AR_BYTES", "LIMIT", "BASE"))
       for reg in SEGMENTS},
    # Xen's, without the words
    **{rf"\b{reg}:\s+(?-i:([0-9a-f]{{4}})\s([0-9a-f]{{5}})\s([0-9a-f]{{8}})\s([0-9a-f]{{16}}))":
       " ".join(f"GUEST_{reg}_{part}" for part in ("SELECTOR", "AR_BYTES", "LIMIT", "BASE"))
       for reg in SEGMENTS},
    **{rf"{reg}:\s+limit=#,\s+base=#": f"GUEST_{reg}_LIMIT GUEST_{reg}_BASE"
       for reg in ("GDTR", "IDTR")},
    **{rf"{reg}:\s+([0-9a-f]{{8}})\s+([0-9a-f]{{16}})": f"GUEST_{reg}_LIMIT GUEST_{reg}_BASE"
       for reg in ("GDTR", "IDTR")},
    # "(effective)" and "(autoload)" are no field of the VMCS
    r"EFER(?:\(VMCS\))?\s*=\s*#(?!\s*\()": "GUEST_IA32_EFER", r"\bPAT\s*=\s*#": "GUEST_IA32_PAT",
    r"DebugCtl\s*=\s*#": "GUEST_IA32_DEBUGCTL",
    r"DebugExceptions\s*=\s*#": "GUEST_PENDING_DBG_EXCEPTIONS",
    r"PreemptionTimer\s*=\s*#": "VMX_PREEMPTION_TIMER_VALUE",
    r"PerfGlobCtl\s*=\s*#": "GUEST_IA32_PERF_GLOBAL_CTRL", r"BndCfgS\s*=\s*#": "GUEST_BNDCFGS",
    r"Interruptibility\s*=\s*#": "GUEST_INTERRUPTIBILITY_INFO",
    r"ActivityState\s*=\s*#": "GUEST_ACTIVITY_STATE",
    r"InterruptStatus\s*=\s*#": "GUEST_INTR_STATUS",
}
HOST = {
    r"(?<!CS:)RIP\s*=\s*#": "HOST_RIP", r"(?<!Sysenter )RSP\s*=\s*#": "HOST_RSP",
    **{rf"(?<![A-Z:]){reg}\s*=\s*#": f"HOST_{reg}_SELECTOR"
       for reg in ("CS", "SS", "DS", "ES", "FS", "GS", "TR")},
    **{rf"{reg}Base=#": f"HOST_{reg}_BASE" for reg in ("FS", "GS", "TR")},
    r"GDTBase=#": "HOST_GDTR_BASE", r"IDTBase=#": "HOST_IDTR_BASE",
    **{rf"CR{n}=#": f"HOST_CR{n}" for n in (0, 3, 4)},
    r"Sysenter\s+RSP=#\s+CS:RIP=#:#":
        "HOST_IA32_SYSENTER_ESP HOST_IA32_SYSENTER_CS HOST_IA32_SYSENTER_EIP",
    r"EFER\s*=\s*#": "HOST_IA32_EFER", r"\bPAT\s*=\s*#": "HOST_IA32_PAT",
    r"PerfGlobCtl\s*=\s*#": "HOST_IA32_PERF_GLOBAL_CTRL",
}
CONTROL = {
    r"PinBased=#": "PIN_BASED_VM_EXEC_CONTROL", r"CPUBased=#": "CPU_BASED_VM_EXEC_CONTROL",
    r"SecondaryExec=#": "SECONDARY_VM_EXEC_CONTROL", r"EntryControls=#": "VM_ENTRY_CONTROLS",
    r"ExitControls=#": "VM_EXIT_CONTROLS", r"ExceptionBitmap=#": "EXCEPTION_BITMAP",
    r"PFECmask=#": "PAGE_FAULT_ERROR_CODE_MASK", r"PFECmatch=#": "PAGE_FAULT_ERROR_CODE_MATCH",
    r"VMEntry:\s+intr_info=#\s+errcode=#\s+ilen=#":
        "VM_ENTRY_INTR_INFO_FIELD VM_ENTRY_EXCEPTION_ERROR_CODE VM_ENTRY_INSTRUCTION_LEN",
    r"VMExit:\s+intr_info=#\s+errcode=#\s+ilen=#":
        "VM_EXIT_INTR_INFO VM_EXIT_INTR_ERROR_CODE VM_EXIT_INSTRUCTION_LEN",
    r"\breason=#\s+qualification=#": "VM_EXIT_REASON EXIT_QUALIFICATION",
    r"IDTVectoring:\s+info=#\s+errcode=#": "IDT_VECTORING_INFO_FIELD IDT_VECTORING_ERROR_CODE",
    r"TSC Offset\s*=\s*#": "TSC_OFFSET", r"TSC Multiplier\s*=\s*#": "TSC_MULTIPLIER",
    r"TPR Threshold\s*=\s*#": "TPR_THRESHOLD", r"APIC-access addr\s*=\s*#": "APIC_ACCESS_ADDR",
    r"virt-APIC addr\s*=\s*#": "VIRTUAL_APIC_PAGE_ADDR", r"PostedIntrVec\s*=\s*#": "POSTED_INTR_NV",
    r"EPT pointer\s*=\s*#": "EPT_POINTER",
    **{rf"CR3\s[^\n]{{0,60}}?\btarget{n}=#": f"CR3_TARGET_VALUE{n}" for n in range(4)},
    r"PLE Gap=#\s+Window=#": "PLE_GAP PLE_WINDOW",
    r"Virtual processor ID\s*=\s*#": "VIRTUAL_PROCESSOR_ID",
    r"VMfunc controls\s*=\s*#": "VM_FUNCTION_CONTROL",
}
# SVI|RVI: two halves of one field
STATUS = re.compile(rf"SVI\|RVI\s*=\s*{NUMBER}\|{NUMBER}")
EFFECTIVE = re.compile(rf"EFER\s*=\s*{NUMBER}\s*\((effective|autoload)\)")
# What a log says besides of how the entry ended.
ENDED = re.compile(
    r"(?:hardware (?:error|reason)|hardware_entry_failure_reason)[ :=]+"
    r"(0x[0-9a-fA-F]{1,8}|\d{1,10})\b"
    r"|vm[-_ ]?entry fail(?:ed|ure)[^\n]{0,20}?(?:error|reason)[ :=]+"
    r"(0x[0-9a-fA-F]{1,8}|\d{1,10})\b", re.I)


Section = list[tuple[re.Pattern[str], list[str]]]


@functools.cache
def sections() -> dict[str, Section]:
    """The patterns of each section; most who import this read no dump, so that they are made here.
    "" is for a text where no line says which section it is: only these lines tell themselves."""
    found = {name: [(re.compile(text.replace("#", NUMBER)), names.split())
                    for text, names in section.items()]
             for name, section in (("Guest", GUEST), ("Host", HOST), ("Control", CONTROL))}
    found[""] = [(pattern, names) for pattern, names in found["Guest"]
                 if names[0] in ("GUEST_RFLAGS", "GUEST_INTERRUPTIBILITY_INFO", "GUEST_CR0",
                                 "GUEST_CR4", "GUEST_ACTIVITY_STATE")] + found["Control"]
    return found


class Dump(NamedTuple):
    """One dump of a log: fields by name, and what else is told of them."""

    line: int
    values: dict[str, int]
    notes: tuple[str, ...] = ()


def cleaned(text: str) -> str:
    """The lines as the kernel had them."""
    if "=3D" in text:
        text = quopri.decodestring(text.encode(errors="replace")).decode(errors="replace")
    return "\n".join(PREFIX.sub("", line, count=1) for line in text.splitlines())


def read_dumps(text: str) -> list[Dump]:
    """Every dump in a text, in order; none where it has no line of one."""
    text = cleaned(text)
    marks = list(STATE.finditer(text))
    ended = endings(text)
    starts = _starts(marks)
    dumps = []
    line = 1
    for n, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)])):
        line += text.count("\n", starts[n - 1] if n else 0, start)
        values, notes = _one(text[start:end])
        if values:
            dumps.append(Dump(line, values, tuple(notes) + ended))
        if len(dumps) == MOST:
            break
    return dumps


def endings(text: str) -> tuple[str, ...]:
    """What a log says of how the entry ended."""
    return tuple(dict.fromkeys(
        f"the log says {' '.join(hit[0].replace('(', '').split())}"
        for hit in ENDED.finditer(text)))[:3]


def _starts(marks: list[re.Match[str]]) -> list[int]:
    """Where each dump begins: at its guest state, or where a section comes a second time."""
    starts: list[int] = []
    seen: set[str] = set()
    for mark in marks:
        if not starts or mark[1] == "Guest" or mark[1] in seen:
            starts.append(mark.start())
            seen.clear()
        seen.add(mark[1])
    return starts or [0]


def _one(text: str) -> tuple[dict[str, int], list[str]]:
    """The fields of one dump, and what cannot be one."""
    parts = STATE.split(text)
    found: dict[str, int] = {}
    notes: list[str] = []
    if len(parts) == 1:
        _fill(sections()[""], text, found, notes)
    for name, body in zip(parts[1::2], parts[2::2]):
        _fill(sections()[name], body, found, notes)
        if name == "Guest" and (hit := EFFECTIVE.search(body)):
            notes.append(f"the guest's EFER is {int(hit[1], 16):#x} ({hit[2]}), which the VMCS "
                         "does not have")
        if name == "Control" and (hit := STATUS.search(body)):
            found["GUEST_INTR_STATUS"] = (int(hit[1], 16) & 0xFF) << 8 | int(hit[2], 16) & 0xFF
    return found, notes


def _fill(section: Section, body: str, found: dict[str, int], notes: list[str]) -> None:
    for pattern, names in section:
        hit = pattern.search(body)
        if hit is None:
            continue
        for name, number in zip(names, hit.groups()):
            value = int(number, 16)
            if value >> 8 * width(name):
                notes.append(f"{name}: {number} has more than {8 * width(name)} bits, and is left "
                             "out")
            else:
                found.setdefault(name, value)
