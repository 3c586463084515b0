# SPDX-License-Identifier: GPL-2.0-only
"""Objects that lie: types made past their makers, lists that change as they are read; the process
lives, and what is refused is refused in one line."""

import nursery
import pytest

# Every extension type of the package without its maker's arguments, and all that it can do.
RAW = """
import importlib, pathlib, sys
import kvm_vmx
root = pathlib.Path(kvm_vmx.__file__).parent
found = 0
for path in sorted(root.rglob("*.so")):
    name = ".".join([*path.relative_to(root.parent).parts[:-1], path.name.partition(".")[0]])
    if name.startswith("kvm_vmx.l1."):
        continue            # functions of C alone
    module = importlib.import_module(name)
    for kind in [value for value in vars(module).values() if isinstance(value, type)
                 and value.__module__ == name and "__dict__" not in vars(value)]:
        found += 1
        for arguments in ((), (None,), (0,), (b"",), (1 << 45, 1)):
            try:
                made = kind.__new__(kind, *arguments)
            except Exception as error:
                assert "\\n" not in str(error), error
                continue
            for attribute in dir(made):
                if attribute in ("__class__", "__new__", "__init__", "__reduce__",
                                 "__reduce_ex__", "__subclasshook__", "__init_subclass__"):
                    continue
                for given in ((), (0,), (0, 0), (None, None, None)):
                    print(kind.__name__, arguments, attribute, given, file=sys.stderr)
                    try:
                        value = getattr(made, attribute)
                        if callable(value):
                            value(*given)
                        elif not attribute.startswith("__"):
                            setattr(made, attribute, 0)
                    except Exception:
                        pass
assert found > 8, found
"""

LISTS = {
    "registers grow": "c.registers = grown(16)",
    "registers shrink": "c.registers = shrunk(16)",
    "debug registers shrink": "c.debug_registers = shrunk(5)",
    "registers of a closed machine": "c.registers = [Close()] + [0] * 15",
    "an operand closes the machine": "c.wrmsr(Close(), Close())",
    "a hypercall closes the machine": "c.hypercall(2, 0, Close(), (Close(),))",
    "a parameter closes the machine": "kvm.create_vm(code=b'\\xf4').create_vcpu().regs.update("
                                      "rax=Close())",
}
BEGIN = """
from kvm_vmx import Machine
m = Machine(insn=%r)
kvm = m.insmod()
c = m.cpu(0)
class Evil(int):
    def __new__(kind, act):
        self = int.__new__(kind, 7)
        self.act = act
        return self
    def __and__(self, other):
        self.act()
        return 7
    __index__ = __int__ = lambda self: self.__and__(0)
def grown(n):
    evil = Evil(lambda: found.append(evil) if len(found) < 100_000 else None)
    found = [evil] * n
    return found
def shrunk(n):
    found = [Evil(lambda: found.clear())] * n
    return found
Close = lambda: Evil(m.close)
"""


def run(code):
    return nursery.python(code)


def test_types_made_past_their_makers():
    done = run(RAW)
    assert done.returncode == 0, (done.returncode, done.stderr[-400:])


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_values_that_act_as_they_are_read(insn):
    for name, code in LISTS.items():
        done = run(BEGIN % insn + code)
        assert done.returncode in (0, 1), (name, done.returncode, done.stderr[-400:])


@pytest.mark.parametrize("name", ["bench_entry_test", "bench_flip_key", "bench_write16"])
def test_measured_loops_are_not_for_callers(name):
    done = run("from kvm_vmx import Machine\nm = Machine()\nport = m.insmod().port\n"
               f"with m.cpu(0): port.{name}(-1)")
    assert "has no callable" in done.stderr and done.returncode == 1
