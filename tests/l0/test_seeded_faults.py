# SPDX-License-Identifier: GPL-2.0-only
"""No rule without a test that fails when it is broken: faults seeded into L0, rule by rule.

With --soak every fault of faults.toml is put into a copy of the tree, L0 built again, and
one of the rule's tests must fail. Without it, that is done for a fault that needs no build.
"""

import pytest
from seeding import FAULTS, ROOT, Tree

from kvm_vmx.conform import rules

CASES = [(rule, fault) for fault in FAULTS for rule in fault["rules"]]
QUICK = "R3"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("tree"))


def pytest_generate_tests(metafunc):
    """Every fault with --soak, else the one that needs no build."""
    cases = CASES if metafunc.config.getoption("--soak") else [
        case for case in CASES if case[0] == QUICK]
    if "fault" in metafunc.fixturenames and "rule" in metafunc.fixturenames:
        metafunc.parametrize(("rule", "fault"), cases, ids=[rule for rule, _ in cases])
    if "sound" in metafunc.fixturenames:
        metafunc.parametrize("sound", sorted({rule for rule, _ in cases}))


def test_every_rule_has_its_fault():
    applicable = {rule.id for rule in rules().values() if not rule.not_applicable}
    assert {rule for rule, _ in CASES} == applicable


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(fault["rules"]))
def test_a_fault_is_one_change_of_what_is_there(fault):
    """A fault that no longer fits the source is to be written anew."""
    text = (ROOT / fault["file"]).read_text()
    assert text.count(fault["find"]) == 1 and fault["find"] != fault["replace"]
    assert fault["file"].endswith((".pxi", ".toml", ".py")) or fault["build"]


def test_a_test_of_the_rule_notices(tree, rule, fault):
    mend = tree.seed(fault)
    try:
        assert tree.failing(rule), f"no test of {rule} notices: {fault['replace']}"
    finally:
        mend()


def test_the_copy_is_sound(tree, sound):
    """Once mended, and with no fault in it, it passes: what failed above failed by the fault."""
    assert tree.failing(sound) == []
