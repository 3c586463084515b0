# SPDX-License-Identifier: GPL-2.0-only
"""Numbers whose comparisons lie: what is checked is what is used, and the process lives."""

import os

import nursery
import pytest

LIAR = """
class I(int):
    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True
from kvm_vmx import Machine
"""
# L1's own refusal of more than it has.
NO_MEMORY = "OSError: [Errno 12] create_vm"
CASES = {
    "stack_depth": "boot(insn='trap').insmod().create_vm(code=b'\\xf4').create_vcpu()"
                   ".run(stack_depth=I(1 << 30))",
    "exits": "boot().insmod().create_vm(code=b'\\xf4').create_vcpu().run(exits=I(-5))",
    "trace size": "boot().start_trace(I(0))",
    "no_assist_page": "boot(no_assist_page=[I(1 << 28)])",
    "cpu": "boot().cpu(I(1 << 28)).cpuid(0)",
    "offline": "boot().offline(I(1 << 28))",
    "vcpu": "boot().insmod().create_vm(code=b'\\xf4').create_vcpu(cpu=I(-7))",
    "fail": "boot().fail('page', I(-1))",
    "parameter": "boot().insmod(ple_gap=I(1 << 40))",
    "memory of a guest": "boot().insmod().create_vm(memory=I(1 << 50))",
    "an address": "boot().insmod().create_vm().memory.read(I(1 << 50), 8)",
    "a length": "boot().insmod().create_vm().memory.read(0, I(1 << 40))",
    "a page": "boot().insmod().create_vm().move_page(I(1 << 50))",
}


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_a_number_that_lies_is_refused_like_any_other(face, code):
    image = None if face.is_port else os.fspath(face.image)
    boot = "boot = Machine\n" if face.is_port else (
        f"boot = lambda insn=None, **options: Machine(kernel={image!r}, **options)\n")
    done = nursery.python(LIAR + boot + code)
    assert done.returncode == 1, (done.returncode, done.stderr[-300:])
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ValueError", "IndexError", NO_MEMORY)), last
