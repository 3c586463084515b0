# SPDX-License-Identifier: GPL-2.0-only
"""What to change so that a condition holds, by the kind of host; and what the choice costs."""

from kvm_vmx import MachineError
from kvm_vmx.conditions import Finding
from kvm_vmx.console import Trouble
from kvm_vmx.machine.booted import booted

KINDS = {
    "bare": "bare metal", "hyper-v": "a partition of Hyper-V (Azure's look the same)",
    "azure": "a VM of Azure",
    "wsl2": "WSL2", "kvm-hyper-v": "a VM of a KVM that acts as Hyper-V", "kvm": "a VM of KVM",
    "other": "a VM of another hypervisor", "unknown": "a host of which too little is known",
}
_QEMU = "QEMU: -cpu host,+vmx,hv-relaxed,hv-time,hv-vpindex,hv-vapic,hv-evmcs"
_NESTED = {
    "wsl2": "let WSL2 nest: nestedVirtualization=true under [wsl2] in .wslconfig (Windows 11)",
    "hyper-v": "expose VMX, with the VM off: Set-VMProcessor VM "
               "-ExposeVirtualizationExtensions $true",
    "azure": "choose a size of VM that nests (Dv3, Ev3 or later, of Intel, without trusted launch "
             "that forbids it)",
    "kvm": "kvm_intel nested=1 on the host beneath, and +vmx for this VM",
    "kvm-hyper-v": "kvm_intel nested=1 on the host beneath, and +vmx for this VM",
    "bare": "a processor with VMX, which the firmware shows",
    "": "expose VMX to this VM from the hypervisor beneath, and let it nest",
}
# {condition: {kind of host, "" for any other: what to change}}
CURES = {
    "hypervisor": {"": "nothing: without a hypervisor beneath there is nobody to be enlightened "
                       "to; enlightened_vmcs=1 changes nothing here and may be taken out"},
    "signature": {
        "kvm": f"let the KVM beneath act as Hyper-V, which changes what Linux uses of it: {_QEMU}",
        "kvm-hyper-v": "name it as Linux expects: hv-vendor-id='Microsoft Hv'",
        "": "nothing here: only Hyper-V, or a KVM that acts as it, offers enlightened VMCSs"},
    "leaves": {"kvm": f"let the KVM beneath act as Hyper-V, which changes what Linux uses of it: "
                      f"{_QEMU}",
               "kvm-hyper-v": f"offer more of Hyper-V: {_QEMU}",
               "": "a hypervisor beneath whose leaves reach 0x4000000a"},
    "registers": {"kvm-hyper-v": f"offer hypercalls and VP index: {_QEMU}",
                  "": "a hypervisor beneath that offers hypercalls and the VP index"},
    "nested_leaf": {
        "kvm-hyper-v": f"ask the KVM beneath for it: {_QEMU} (on Intel, with nested=1)",
        "": "see the version"},
    "isolation": {"": "a partition that is not isolated: an isolated one does not nest"},
    "config": {"": "a kernel with CONFIG_HYPERV: look for it in /boot/config-$(uname -r)"},
    "parameter": {"": "take enlightened_vmcs=0 out of /etc/modprobe.d and the kernel's command "
                      "line, and load kvm_intel again"},
    "hint": {**_NESTED,
             "kvm-hyper-v": f"ask the KVM beneath for it: {_QEMU} (on Intel, with nested=1)"},
    "version": {**_NESTED,
                "kvm-hyper-v": f"ask the KVM beneath for it: {_QEMU} (on Intel, with nested=1)"},
    "assist": {"": "bring the CPU offline and online again, then load kvm_intel again; look for "
                   "a failed WRMSR of 0x40000073 in the log"},
    "vmx": _NESTED,
    "bios": {"": "switch VT-x on in the firmware's setup; in a VM, expose it from beneath"},
}
NOTHING_FOR_SVM = ("nothing: SVM's VMCB is plain memory, which KVM reads and writes without an "
                   "exit; what Hyper-V offers there is the enlightened TLB flush and MSR bitmap")
# What would tell where nothing does.
TELLS = {
    "config": "give /boot/config-$(uname -r)",
    "assist": "as root, give or read /dev/cpu/*/msr (modprobe msr)",
    "bios": "give dmesg, or read /dev/cpu/*/msr as root",
}
TELL = "give what `cpuid -r` prints, or dmesg since the boot"


def cure(finding: Finding, kind: str) -> str:
    """What to change, or what to give where nothing tells."""
    if finding.holds is None:
        return TELLS.get(finding.id, TELL)
    if kind.endswith("-amd") and finding.id == "vmx":
        return NOTHING_FOR_SVM
    known = CURES[finding.id]
    return known.get(kind.removesuffix("-amd")) or known.get("", "")


def cost(used: bool | None, kind: str) -> str:
    """What the choice costs an exit of a guest, by the model."""
    from kvm_vmx.measure import model

    if kind.endswith("-amd"):
        return "nothing: a VMCB costs memory accesses alone"
    if kind == "bare":
        return ("nothing: VMREAD and VMWRITE do not trap here; the static key that is off costs a "
                "5-byte NOP at each of its sites")
    try:
        with booted(cpus=1, insn="call") as machine:
            plain, _ = model.counted(machine, False, exits=100)
            enlightened, _ = model.counted(machine, True, exits=100)
    except (Trouble, MachineError) as error:
        return f"cannot be counted here: {error}"
    price = model.cost_of_a_trap(plain - enlightened)
    with_, without = model.cycles(enlightened, price), model.cycles(plain, price)
    numbers = (f"{plain:g} VMREADs and VMWRITEs an exit (counted: a CPUID loop on v4.19), "
               f"{price:.0f} cycles each where they trap (modelled): {without:.0f} cycles an exit "
               f"without enlightened VMCSs, {with_:.0f} with them")
    if used:
        return f"saved, by the model: {numbers}"
    if kind in ("kvm", "other"):
        return (f"at most, by the model: {numbers}; a hypervisor beneath that shadows VMCSs spares "
                "most of it")
    return f"by the model: {numbers}"
