# SPDX-License-Identifier: GPL-2.0-only
"""An enlightened VMCS on the bench: a write as KVM makes it, and what page and L0's copy have."""

from kvm_vmx import Machine, fields
from kvm_vmx.machine.cpu import Cpu
from kvm_vmx.machine.fields import CLEAN_FIELDS
from kvm_vmx.machine.module import Module

ROWS = {row["vmcs_field"]: row for row in fields()}
ALL_CLEAN = 0xFFFF
# By bits 14:13 of an encoding.
KINDS = ("16", "64", "32", "l")
# Bit to group; the last one has fields of Hyper-V's own, which no VMCS has.
GROUPS: dict[int, str] = {15: "ENLIGHTENMENTSCONTROL"} | {
    int(row["clean_mask"], 16).bit_length() - 1: row["clean_field"]
    for row in ROWS.values() if row["clean_field"] not in ("NONE", "ALL")}


def accessor(field: str) -> str:
    """The name of KVM's function that writes a field."""
    return f"vmcs_write{KINDS[int(ROWS[field]['encoding'], 16) >> 13 & 3]}"


def named(mask: int) -> list[str]:
    """The groups of a mask, bit 0 first."""
    return [GROUPS[bit] for bit in range(16) if mask >> bit & 1]


def lamps(clean: int) -> str:
    """Sixteen bits, the highest first, in fours."""
    text = f"{clean & ALL_CLEAN:016b}"
    return " ".join(text[at:at + 4] for at in range(0, 16, 4))


def assist_page(machine: Machine, cpu: int) -> bytes:
    """The assist page of a CPU that has one."""
    page = machine.assist_page(cpu)
    assert page is not None
    return page


def beats(l0_sets: bool) -> str:
    """An entry in three beats, in words; l0_sets is what a run has shown of L0."""
    return ("An entry has three beats. L0 finds the bits as they are; it reads the groups again "
            "whose bit is 0, and "
            + ("sets all bits itself; " if l0_sets else "leaves the bits alone; ")
            + "behind the exit vmx_vcpu_run() sets all sixteen, which is a store of KVM's own.")


class Bench:
    """One vCPU on an eVMCS, on the CPU where it runs."""

    def __init__(self, machine: Machine, kvm: Module, code: bytes, cpu: int = 0):
        self.machine, self.port = machine, kvm.port
        self.vm = kvm.create_vm(code=code, memory=64 << 10)
        self.vcpu = self.vm.create_vcpu(cpu)
        self.before = machine.counters

    @property
    def cpu(self) -> Cpu:
        """The processor that the vCPU runs on."""
        return self.machine.cpu(self.vcpu.cpu)

    @property
    def clean(self) -> int:
        """hv_clean_fields as the page has it."""
        return self.vcpu.evmcs.clean_fields

    @clean.setter
    def clean(self, bits: int) -> None:
        self.machine.memory.write(self.vcpu.vmcs_gpa + CLEAN_FIELDS, bits.to_bytes(4, "little"))

    def write(self, field: str, value: int | None = None) -> None:
        """Write a value, or the one that the field has, through the port's accessor."""
        encoding, name = int(ROWS[field]["encoding"], 16), accessor(field)
        with self.cpu:
            if value is None:
                value = getattr(self.port, name.replace("write", "read"))(encoding)
            getattr(self.port, name)(encoding, value)

    def store(self, field: str, value: int) -> None:
        """Store into the struct, past the accessors."""
        row = ROWS[field]
        self.machine.memory.write(self.vcpu.vmcs_gpa + row["offset"],
                                  value.to_bytes(row["size"], "little"))

    def in_page(self, field: str) -> int:
        """A field as L1's page has it."""
        return self.vcpu.evmcs[field]

    def in_copy(self, field: str) -> int | None:
        """A field as L0 has it, or None while L0 has no copy."""
        copy, row = self.cpu.evmcs_copy, ROWS[field]
        if copy is None:
            return None
        return int.from_bytes(copy[row["offset"]:row["offset"] + row["size"]], "little")

    def load(self) -> None:
        """KVM's vcpu_load() and vcpu_put(), which come with any look through the accessors."""
        self.vcpu.vmcs["GUEST_RIP"]

    def counted(self) -> dict[str, int]:
        """What L0 has counted since the last call."""
        now = self.machine.counters
        grown = {name: now[name] - self.before[name] for name in now}
        self.before = now
        return grown
