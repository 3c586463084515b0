# SPDX-License-Identifier: GPL-2.0-only
"""vmx.pyx begins as v4.19's vmx.c does: its parameters and their defaults, in that order."""

import re

from kvm_vmx import Machine
from kvm_vmx.building import ROOT

PORT = (ROOT / "kvm_vmx/l1/vmx.pyx").read_text()
VARIABLE = re.compile(
    r"^static (?:bool|unsigned int) (?:__read_mostly )?(\w+)\s*= ([^;{]+);\n"
    r"(?:#ifdef .*\n)?module_param(?:_named)?\(\s*(\w+),\s*(?:(\w+), )?(bool|uint),", re.M)
# What they steer is not ported: the APIC's end of interrupt, how the window of pauses moves.
ABSENT = {"fasteoi", "ple_window_grow", "ple_window_shrink", "ple_window_max"}
NUMBERS = {"true": "1", "false": "0"}


def kernels(tree):
    """[(name, variable, its initial value, whether it is a bool)] of vmx.c, in its order."""
    return [(name, variable, NUMBERS.get(value, value), kind == "bool")
            for variable, value, name, named, kind
            in VARIABLE.findall(tree.files["arch/x86/kvm/vmx.c"])
            if name not in ABSENT and named in ("", variable)]


def test_the_parameters_stand_first_in_the_kernels_order(tree_v419):
    port = re.findall(
        r"^cdef (?:bint|unsigned int) (\w+) = (\w+)\n(?:if IS_ENABLED.*\n)?"
        r" *module_add_param\(&vmx_module, \"(\w+)\", (?:<bint \*>)?&(\w+), (\d)\)", PORT, re.M)
    assert [(name, variable, value, kind == "1") for variable, value, name, given, kind in port
            if given == variable] == kernels(tree_v419)
    assert len(port) == 14
    assert PORT.index(port[-2][2]) < PORT.index("\ncdef inline ")


def test_each_load_begins_with_the_defaults(tree_v419):
    boolean = {name: int(value) for name, _, value, is_bool in kernels(tree_v419) if is_bool}
    with Machine(cpus=1) as machine:
        first = machine.insmod().parameters
        machine.module.rmmod()
        module = machine.insmod(**{name: 1 - value for name, value in boolean.items()
                                   if name not in ("ept", "enlightened_vmcs")})
        module.rmmod()
        assert machine.insmod().parameters == first
    assert first["vpid"] is True and first["nested"] is False
