# SPDX-License-Identifier: GPL-2.0-only
"""A machine's options in two groups, each of which is a value; any of them by its own name."""

import dataclasses
import re
import typing

import pytest

from kvm_vmx import L1, HyperV, Machine
from kvm_vmx.machine.options import Options

NO_EVMCS = {0x40000004: (0, 0xFFF, 0, 0)}


def test_the_groups_say_all_there_is():
    both = [field.name for kind in (HyperV, L1) for field in dataclasses.fields(kind)]
    assert len(both) == len(set(both)) == 16
    assert set(typing.get_type_hints(Options)) == set(both)
    for kind in (HyperV, L1):
        assert set(typing.get_type_hints(kind)) <= set(re.findall(r"\w+", kind.__doc__))


def test_a_group_is_a_value():
    assert repr(HyperV()) == "HyperV()" and repr(L1(memory=1 << 20)) == "L1(memory=1048576)"
    seen = HyperV(lints=True, cpuid=NO_EVMCS)
    assert seen == HyperV(cpuid=NO_EVMCS, lints=True) != HyperV()
    assert repr(seen) == f"HyperV(cpuid={NO_EVMCS}, lints=True)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.lints = False


@pytest.mark.parametrize("how", [
    dict(hypervisor=HyperV(cpuid=NO_EVMCS, lints=True), l1=L1(possible_cpus=3)),
    dict(hypervisor=HyperV(cpuid=NO_EVMCS), lints=True, possible_cpus=3),
    dict(hypervisor=HyperV(lints=False), cpuid=NO_EVMCS, lints=True, l1=L1(possible_cpus=9),
         possible_cpus=3),
    dict(cpuid=NO_EVMCS, lints=True, possible_cpus=3)])
def test_by_group_or_by_name(how):
    with Machine(1, **how) as machine:
        module = machine.insmod()
        assert (machine.cpus, machine.possible_cpus, module.enable_evmcs) == (1, 3, False)
        assert machine.lints and "recommend" in machine.lints[-1].explain()


@pytest.mark.parametrize("how, kind, said", [
    (dict(profil="bare"), TypeError, "'profil'.*profile"), (dict(cpu=1), TypeError, "'cpu'.*cpuid"),
    (dict(hypervisor="tlfs-strict"), ValueError, "HyperV"), (dict(l1=HyperV()), ValueError, "L1"),
    (dict(hypervisor=HyperV(cache_policy="some")), ValueError, "some"),
    (dict(l1=L1(memory=4095)), ValueError, "4096"), (dict(l1=L1(possible_cpus=0)), ValueError, "0"),
    (dict(l1=L1(no_assist_page=[7])), ValueError, "7")])
def test_what_is_wrong_is_said(how, kind, said):
    with pytest.raises(kind, match=said) as error:
        Machine(**how)
    assert "\n" not in str(error.value) and Machine.current() is None
