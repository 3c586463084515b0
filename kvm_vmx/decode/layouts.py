# SPDX-License-Identifier: GPL-2.0-only
"""Where the fields of a VMCS stand in a page: the enlightened one's, KVM's vmcs12, L0's own."""

import functools
from typing import NamedTuple

from kvm_vmx.abi.constants import (
    FEATURE_CONTROL_LOCKED, FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX, MSR_IA32_FEATURE_CONTROL,
    X86_CR4_VMXE)
from kvm_vmx.abi.numbers import Field
from kvm_vmx.machine.fields import fields, other_members
from kvm_vmx.machine.partition import Partition, PhysicalMemory

PAGE = 4096
# What a firmware leaves for VMXON.
FEATURES = FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX
EVMCS_SIZE = 1024
EVMCS_VERSION = 1
# KVM's number of its layout, in bits 30:0 of the first word; this L0's plain VMCS has it too.
VMCS12_REVISION = 0x11E57ED0

# The VP assist page: offset, size, name (TLFS, Nested Virtualization; VTL: Virtual Secure Mode).
ASSIST = (
    (0, 4, "apic_assist"), (8, 4, "vtl_entry_reason"), (16, 8, "vtl_ret_x64rax"),
    (24, 8, "vtl_ret_x64rcx"), (32, 4, "nested_features"), (36, 4, "nested_hypercall_controls"),
    (40, 1, "enlighten_vmentry"), (48, 8, "current_nested_vmcs"),
    (56, 1, "synthetic_time_unhalted_timer_expired"))

# KVM's vmcs12 from offset 40 on: widths in bytes and what comes in that width; a number is so
# many places that are empty.
VMCS12 = (
    (8, """IO_BITMAP_A IO_BITMAP_B MSR_BITMAP VM_EXIT_MSR_STORE_ADDR VM_EXIT_MSR_LOAD_ADDR
    VM_ENTRY_MSR_LOAD_ADDR TSC_OFFSET VIRTUAL_APIC_PAGE_ADDR APIC_ACCESS_ADDR
    POSTED_INTR_DESC_ADDR EPT_POINTER EOI_EXIT_BITMAP0 EOI_EXIT_BITMAP1 EOI_EXIT_BITMAP2
    EOI_EXIT_BITMAP3 XSS_EXIT_BITMAP GUEST_PHYSICAL_ADDRESS VMCS_LINK_POINTER GUEST_IA32_DEBUGCTL
    GUEST_IA32_PAT GUEST_IA32_EFER GUEST_IA32_PERF_GLOBAL_CTRL GUEST_PDPTR0 GUEST_PDPTR1
    GUEST_PDPTR2 GUEST_PDPTR3 GUEST_BNDCFGS HOST_IA32_PAT HOST_IA32_EFER
    HOST_IA32_PERF_GLOBAL_CTRL VMREAD_BITMAP VMWRITE_BITMAP VM_FUNCTION_CONTROL EPTP_LIST_ADDRESS
    PML_ADDRESS ENCLS_EXITING_BITMAP TSC_MULTIPLIER 1 CR0_GUEST_HOST_MASK CR4_GUEST_HOST_MASK
    CR0_READ_SHADOW CR4_READ_SHADOW CR3_TARGET_VALUE0 CR3_TARGET_VALUE1 CR3_TARGET_VALUE2
    CR3_TARGET_VALUE3 EXIT_QUALIFICATION GUEST_LINEAR_ADDRESS GUEST_CR0 GUEST_CR3 GUEST_CR4
    GUEST_ES_BASE GUEST_CS_BASE GUEST_SS_BASE GUEST_DS_BASE GUEST_FS_BASE GUEST_GS_BASE
    GUEST_LDTR_BASE GUEST_TR_BASE GUEST_GDTR_BASE GUEST_IDTR_BASE GUEST_DR7 GUEST_RSP GUEST_RIP
    GUEST_RFLAGS GUEST_PENDING_DBG_EXCEPTIONS GUEST_SYSENTER_ESP GUEST_SYSENTER_EIP HOST_CR0
    HOST_CR3 HOST_CR4 HOST_FS_BASE HOST_GS_BASE HOST_TR_BASE HOST_GDTR_BASE HOST_IDTR_BASE
    HOST_IA32_SYSENTER_ESP HOST_IA32_SYSENTER_EIP HOST_RSP HOST_RIP 8"""),
    (4, """PIN_BASED_VM_EXEC_CONTROL CPU_BASED_VM_EXEC_CONTROL EXCEPTION_BITMAP
    PAGE_FAULT_ERROR_CODE_MASK PAGE_FAULT_ERROR_CODE_MATCH CR3_TARGET_COUNT VM_EXIT_CONTROLS
    VM_EXIT_MSR_STORE_COUNT VM_EXIT_MSR_LOAD_COUNT VM_ENTRY_CONTROLS VM_ENTRY_MSR_LOAD_COUNT
    VM_ENTRY_INTR_INFO_FIELD VM_ENTRY_EXCEPTION_ERROR_CODE VM_ENTRY_INSTRUCTION_LEN TPR_THRESHOLD
    SECONDARY_VM_EXEC_CONTROL VM_INSTRUCTION_ERROR VM_EXIT_REASON VM_EXIT_INTR_INFO
    VM_EXIT_INTR_ERROR_CODE IDT_VECTORING_INFO_FIELD IDT_VECTORING_ERROR_CODE
    VM_EXIT_INSTRUCTION_LEN VMX_INSTRUCTION_INFO GUEST_ES_LIMIT GUEST_CS_LIMIT GUEST_SS_LIMIT
    GUEST_DS_LIMIT GUEST_FS_LIMIT GUEST_GS_LIMIT GUEST_LDTR_LIMIT GUEST_TR_LIMIT GUEST_GDTR_LIMIT
    GUEST_IDTR_LIMIT GUEST_ES_AR_BYTES GUEST_CS_AR_BYTES GUEST_SS_AR_BYTES GUEST_DS_AR_BYTES
    GUEST_FS_AR_BYTES GUEST_GS_AR_BYTES GUEST_LDTR_AR_BYTES GUEST_TR_AR_BYTES
    GUEST_INTERRUPTIBILITY_INFO GUEST_ACTIVITY_STATE GUEST_SYSENTER_CS HOST_IA32_SYSENTER_CS
    VMX_PREEMPTION_TIMER_VALUE 7"""),
    (2, """VIRTUAL_PROCESSOR_ID POSTED_INTR_NV GUEST_ES_SELECTOR GUEST_CS_SELECTOR
    GUEST_SS_SELECTOR GUEST_DS_SELECTOR GUEST_FS_SELECTOR GUEST_GS_SELECTOR GUEST_LDTR_SELECTOR
    GUEST_TR_SELECTOR GUEST_INTR_STATUS HOST_ES_SELECTOR HOST_CS_SELECTOR HOST_SS_SELECTOR
    HOST_DS_SELECTOR HOST_FS_SELECTOR HOST_GS_SELECTOR HOST_TR_SELECTOR GUEST_PML_INDEX"""))


class Place(NamedTuple):
    """A field's place in a page; group is the clean group of an eVMCS, "" elsewhere."""

    offset: int
    size: int
    group: str = ""

    def of(self, page: bytes) -> int:
        """The value there, 0 behind the end of what is given."""
        return int.from_bytes(page[self.offset:self.offset + self.size], "little")


@functools.cache
def evmcs() -> dict[str, Place]:
    """The places of an enlightened VMCS, by VMCS field, in the table's order."""
    found = {row["vmcs_field"]: Place(row["offset"], row["size"], row["clean_field"])
             for row in fields()}
    return found | {name: place for name, place in _others().items() if name in Field.__members__}


@functools.cache
def synthetic() -> dict[str, Place]:
    """The places of an enlightened VMCS that are no field of a VMCS, in the order of the page."""
    found = _others()
    clean = found["hv_clean_fields"].offset
    found |= {"abort": Place(4, 4), "hv_synthetic_controls": Place(clean + 8, 4),
              "hv_enlightenments_control": Place(clean + 12, 4)}
    return {name: place for name, place in sorted(found.items(), key=lambda pair: pair[1])
            if name not in Field.__members__}


def _others() -> dict[str, Place]:
    return {name: Place(row["offset"], row["size"], row["clean_field"])
            for name, row in other_members().items()}


@functools.cache
def clean_masks() -> dict[str, int]:
    """The clean bit of each group that has one."""
    found = {row["clean_field"]: int(row["clean_mask"], 16) for row in fields()
             if row["clean_field"] not in ("NONE", "ALL")} | {"ENLIGHTENMENTSCONTROL": 1 << 15}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


@functools.cache
def vmcs12() -> dict[str, Place]:
    """The places of KVM's vmcs12, as it has been from v4.19 on."""
    found, offset = {}, 40
    for size, names in VMCS12:
        for name in names.split():
            if name.isdigit():
                offset += int(name) * size
            else:
                found[name] = Place(offset, size)
                offset += size
    return found


def width(name: str) -> int:
    """Of a field, in bytes, by bits 14:13 of its encoding."""
    return (2, 8, 4, 8)[Field[name] >> 13 & 3]


def of_plain(page: bytes) -> dict[str, int]:
    """The fields of a plain VMCS of this L0's, which alone knows its layout: as VMREAD has them."""
    memory = PhysicalMemory(4 * PAGE)
    partition = Partition(memory)
    cpu = partition.processor(0)
    revision = partition.profile.vmcs_revision.to_bytes(4, "little")
    memory.write(0, revision)
    memory.write(PAGE, revision + page[4:].ljust(PAGE - 4, b"\0"))
    cpu.wrmsr(MSR_IA32_FEATURE_CONTROL, FEATURES)
    cpu.cr4 |= X86_CR4_VMXE
    cpu.vmxon(0)
    cpu.vmptrld(PAGE)
    found = {field.name: cpu.vmread(field) for field in Field if not field.name.endswith("_HIGH")}
    return {name: outcome.value for name, outcome in found.items() if outcome.value is not None}
