# SPDX-License-Identifier: GPL-2.0-only
"""The port executes what v4.19's own code does: the record of it, on every host; the code itself,
where there is a tree."""

import functools
import pathlib

import pytest

from kvm_vmx.kernel import command, executed, scenarios

RECORD = pathlib.Path(__file__).parents[1] / "data/executed_4.19.json.xz"
CASES = [(name, mode) for name in scenarios.SCENARIOS for mode in scenarios.MODES]


def unexplained(kernel, ours):
    return [f"{d.side} alone, step {d.at}: {executed.told(d.step)}"
            for d in executed.differences(kernel, ours) if d.reason is None]


@functools.cache
def port(key):
    """What the port executes in a scenario: each is run once."""
    return command.port_steps(*key.rsplit(", ", 1))


@pytest.fixture(scope="module")
def record():
    return executed.load(RECORD)


def test_the_record_has_each_scenario_in_both_modes(record):
    assert sorted(record) == sorted(f"{name}, {mode}" for name, mode in CASES)
    assert min(map(len, record.values())) > 20


@pytest.mark.parametrize("name, mode", CASES, ids=[f"{name}, {mode}" for name, mode in CASES])
def test_port_executes_what_is_recorded_of_the_kernel(record, name, mode):
    assert unexplained(record[f"{name}, {mode}"], port(f"{name}, {mode}")) == []


def test_an_instruction_too_many_or_too_few_is_found(record):
    steps = record["cpuid loop, vmcs"]
    at = next(i for i, step in enumerate(steps) if step[1] == "vmwrite")
    assert len(unexplained(steps, steps[:at] + steps[at + 1:])) == 1
    assert len(unexplained(steps, steps[:at] + steps[at:at + 1] * 2 + steps[at + 1:])) == 1
    other = steps[at][:2] + ((steps[at][2][0], 0xbad),) + steps[at][3:]
    assert len(unexplained(steps, steps[:at] + [other] + steps[at + 1:])) == 2
    assert unexplained(steps, steps) == []


def test_each_reason_of_the_vocabulary_is_given(record):
    given = {d.reason for key, steps in record.items()
             for d in executed.differences(steps, port(key))}
    assert given == {reason.name for reason in executed.reasons()}


@pytest.mark.parametrize("name, mode", CASES, ids=[f"{name}, {mode}" for name, mode in CASES])
def test_the_kernel_executes_what_is_recorded(image, record, name, mode):
    assert command.kernel_steps(image, [name])[f"{name}, {mode}"] == record[f"{name}, {mode}"]
