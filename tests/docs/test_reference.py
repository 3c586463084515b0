# SPDX-License-Identifier: GPL-2.0-only
"""The reference of the Python face: every name has an example, and each example runs."""

import doctest
import pathlib
import tomllib

import pytest

import kvm_vmx

EXAMPLES = tomllib.loads((pathlib.Path(__file__).resolve().parents[2]
                          / "docs/reference_examples.toml").read_text())


def test_every_name_has_an_example():
    assert sorted(EXAMPLES) == sorted(kvm_vmx.__all__)


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_does_what_it_says(name, monkeypatch):
    monkeypatch.delenv("KVM_VMX_INSN", raising=False)
    names = {each: getattr(kvm_vmx, each) for each in kvm_vmx.__all__}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, "examples", 0)
    assert any(name in example.source for example in test.examples) or name in (
        "Module", "Vm", "Vcpu", "ExitSummary", "Cpu", "Outcome", "Lint", "Decoded")
    said = []
    failed = doctest.DocTestRunner().run(test, out=said.append).failed
    assert failed == 0, "".join(said)
