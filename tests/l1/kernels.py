# SPDX-License-Identifier: GPL-2.0-only
"""The same guest on any L1: the port, and the own KVM of v4.19, 6.1 and 6.12."""

import each
import guests
import pytest
from images import image_of

from kvm_vmx.kernel.kernel import Kernel

TREES = {"v4.19": "tree-4.19", "6.1": "tree-6.1", "6.12": "tree-6.12"}
ENTRIES = ("vmlaunch", "vmresume")
EPT_VIOLATION, INTR_WINDOW = 48, 7


CONTROLS = {"cpu": 0x4002, "secondary": 0x401E, "exception": 0x4004}

# MOV AL from each page of the guest, and HLT.
TOUCHING = b"".join(b"\x8a\x04\x25" + page.to_bytes(4, "little")
                    for page in range(0, guests.MEMORY, 4096)) + b"\xf4"
SCRATCH = 0x9000


class KernelRun(guests.Run):
    """One vCPU of a kernel's own KVM in one mode, whose pages are mapped already, as the port's:
    an exit for a page within a delivery would have v4.19 open the interrupt window. is_refused: an
    entry is, as the test has it."""

    is_refused = False

    def trace(self):
        """Trace every exit from now on."""
        before = dict(self.vcpu.regs)
        held = self.vm.memory.read(SCRATCH, len(TOUCHING))
        self.vm.memory.write(SCRATCH, TOUCHING)
        self.vcpu.regs.update(rip=SCRATCH)
        assert self.vcpu.run().reason == "HLT"
        self.vm.memory.write(SCRATCH, held)
        self.vcpu.regs.update(**before)
        self.machine.start_trace()

    def control(self, field, bits, on=True):
        """Set or clear bits of a control field."""
        each.change_field(self.vcpu, CONTROLS[field], bits, on)

    def exits(self):
        """(reason, qualification) of each exit but for pages that KVM has yet to map."""
        entries = [record for record in self.machine.trace if record.instruction in ENTRIES]
        refused = [record for record in entries if not record.outcome.ok]
        assert bool(refused) == self.is_refused
        return [tuple(record.results[:2]) for record in entries
                if record.outcome.ok and record.results[0] & 0xFFFF != EPT_VIOLATION]


class Anywhere:
    """Runs a script on one kind of L1 in every mode; which it is, and what its exits are."""

    def __init__(self, name, image=None):
        self.name, self.image = name, image
        self.is_port, self.is_later = image is None, name.startswith("6.")

    def __repr__(self):
        return self.name

    def known(self, exits):
        """What is expected of a list of (reason, qualification, offset): a kernel's trace has no
        offset in the guest, and no exit for a page."""
        if self.is_port:
            return exits
        return [(reason, what) for reason, what, _ in exits if reason != EPT_VIOLATION]

    def window(self, offset):
        """The exit behind an interrupt that was injected: v4.19 takes one that it has injected for
        one that waits (kvm_cpu_has_injectable_intr() without its APIC), and asks for the window."""
        return [] if self.is_later else [(INTR_WINDOW, 0, offset)]

    def __call__(self, script, code, handlers=(), *, warns=False, **options):
        """As everywhere(); whether the kernel's own KVM warns."""
        if self.is_port:
            return guests.everywhere(script, code, handlers, **options)
        outcomes = []
        for enlightened in (False, True):
            with Kernel(self.image, 2, **options) as kernel:
                kvm = kernel.insmod(enlightened_vmcs=enlightened)
                run = KernelRun(kernel, kvm, code, dict(handlers))
                returned = script(run)
                outcomes.append((returned, *run.seen()))
                before = kernel.counters["vmread"]
                assert before == 0 or not kvm.enable_evmcs
                kvm.rmmod()
                assert bool(kernel.warnings) == warns
        assert outcomes[0] == outcomes[1]
        return outcomes[0]


@pytest.fixture(scope="session", params=["port", *TREES])
def anywhere(request):
    """Each L1 that there is."""
    name = request.param
    return Anywhere(name, None if name == "port" else image_of(TREES[name], request))
