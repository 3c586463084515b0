# SPDX-License-Identifier: GPL-2.0-only
"""Numbers whose comparisons lie: what is checked is what is used, and the process lives."""

import nursery
import pytest

LIAR = """
class I(int):
    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True
from kvm_vmx import Machine
"""
CASES = {
    "stack_depth": "Machine(insn='trap').insmod().create_vm(code=b'\\xf4').create_vcpu()"
                   ".run(stack_depth=I(1 << 30))",
    "exits": "Machine().insmod().create_vm(code=b'\\xf4').create_vcpu().run(exits=I(-5))",
    "trace size": "Machine().start_trace(I(0))",
    "no_assist_page": "Machine(no_assist_page=[I(1 << 28)])",
}


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_a_number_that_lies_is_refused_like_any_other(code):
    done = nursery.python(LIAR + code)
    assert done.returncode == 1, (done.returncode, done.stderr[-300:])
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ValueError", "IndexError")), last
