# SPDX-License-Identifier: GPL-2.0-only
"""Prints the seconds of CPU time that so many exits take here, by call: ours.py EXITS eVMCS|VMCS"""

import sys
import time

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

WARM_UP = 10_000


def main(exits: str, mode: str) -> None:
    """What warms the loop up is not in it."""
    with Machine(cpus=1, insn="call") as machine:
        kvm = machine.insmod(enlightened_vmcs=mode == "eVMCS")
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=WARM_UP)
        start = time.process_time()
        vcpu.run(exits=int(exits))
        print(time.process_time() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
