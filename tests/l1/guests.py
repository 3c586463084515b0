# SPDX-License-Identifier: GPL-2.0-only
"""Guests of machine code with tables of their own, run in every mode with one expected outcome."""

import itertools

from kvm_vmx import Machine

POLICIES = ["always", "never", "random(1)", "commit_on_success"]
MODES = list(itertools.product([False, True], POLICIES))
MEMORY = 64 << 10
CODE, IDT, GDT, DATA, HANDLERS, TABLES = 0x1000, 0x4000, 0x5000, 0x5800, 0x6000, MEMORY - 0x3000
CS, DS = 0x10, 0x18
STACK = TABLES

# What a handler leaves behind: the byte of its vector, counted up, at DATA + vector.
IRETQ = "48cf"


def gate(vector):
    """A 64-bit interrupt gate to the handler of a vector."""
    handler = HANDLERS + 64 * vector
    return (handler | CS << 16 | 0x8E << 40).to_bytes(8, "little") + bytes(8)


def counting(vector, more=""):
    """A handler: INC byte [DATA + vector], what else it does, IRETQ."""
    return bytes.fromhex("fe0425" + (DATA + vector).to_bytes(4, "little").hex() + more + IRETQ)


# A handler of a fault goes on behind the instruction: ADD qword [RSP + n], length.
def skipping(length, error_code=False):
    return ("4883c408" if error_code else "") + "48830424" + f"{length:02x}"


class Run:
    """One vCPU in one mode: what it was made to do, and what user space sees."""

    def __init__(self, machine, kvm, code, handlers):
        self.machine, self.kvm = machine, kvm
        self.vm = kvm.create_vm(code=bytes.fromhex(code), memory=MEMORY)
        self.vcpu = self.vm.create_vcpu(cpu=0)
        for vector, more in handlers.items():
            self.vm.memory.write(IDT + 16 * vector, gate(vector))
            self.vm.memory.write(HANDLERS + 64 * vector, counting(vector, more))
        for selector, value in ((CS, 0x00AF9B000000FFFF), (DS, 0x00CF93000000FFFF)):
            self.vm.memory.write(GDT + selector, value.to_bytes(8, "little"))
        sregs = self.vcpu.sregs
        sregs["idt"] = {"base": IDT, "limit": 0xFFF}
        sregs["gdt"] = {"base": GDT, "limit": 0xFF}
        self.vcpu.sregs = sregs
        self.trace()

    @property
    def cpu(self):
        """The processor that it runs on."""
        return self.machine.cpu(0)

    def trace(self):
        """Note every exit from now on."""
        self.vcpu.trace_exits()

    def control(self, field, bits, on=True):
        """Set or clear bits of a control field with the port's own accessor."""
        encoding = {"cpu": 0x4002, "secondary": 0x401E, "exception": 0x4004}[field]
        self.vcpu._raw.load(0)
        port = self.kvm.port
        with self.cpu:
            (port.vmcs_set_bits if on else port.vmcs_clear_bits)(encoding, bits)

    def count(self, vector):
        """How often the guest's handler of a vector has run."""
        return self.vm.memory.read(DATA + vector, 1)[0]

    def exits(self):
        """(reason, qualification, offset in the code) of each exit."""
        return [(reason, what, rip - CODE) for reason, what, rip in self.vcpu.exit_log]

    def seen(self):
        """All that a guest and its user space can see."""
        return (self.exits(), dict(self.vcpu.regs), self.vcpu.sregs,
                self.vm.memory.read(0, MEMORY))


def everywhere(script, code, handlers=(), **options):
    """Run script(run) in every mode; the one outcome: what it returned, and what is seen."""
    outcomes = {}
    for enlightened, policy in MODES:
        with Machine(cpus=2, cache_policy=policy, **options) as machine:
            kvm = machine.insmod(enlightened_vmcs=enlightened)
            run = Run(machine, kvm, code, dict(handlers))
            returned = script(run)
            outcomes[enlightened, policy] = (returned, *run.seen())
            assert machine.counters["vmread"] == 0 or not kvm.enable_evmcs
            kvm.rmmod()
    first = outcomes[MODES[0]]
    for mode, outcome in outcomes.items():
        for ours, theirs in zip(outcome, first):
            assert ours == theirs, mode
    return first
