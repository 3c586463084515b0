# SPDX-License-Identifier: GPL-2.0-only
"""Machine.current(): the machine of this process, also where nobody has a name for it any more."""

import os

import pytest

from kvm_vmx import Machine, MachineError


def failed_cell():
    """What a notebook keeps of a cell that raised: the exception, and in it a machine."""
    def cell():
        machine = Machine(cpus=1)
        machine.cpu(0).cpl = 3
        machine.insmod(no_such_parameter=1)

    try:
        cell()
    except ValueError as error:
        return error


def test_there_is_none_before_and_after():
    assert Machine.current() is None
    with Machine(cpus=1) as machine:
        assert Machine.current() is machine
    assert Machine.current() is None
    again = Machine(cpus=1)
    assert Machine.current() is again is not machine
    del again
    assert Machine.current() is None


@pytest.mark.parametrize("options", [{"memory": 4096}, {"profile": "none"}, {"fail": {"x": 1}}])
def test_one_that_could_not_boot_is_none(options):
    with pytest.raises((MemoryError, MachineError, ValueError)):
        Machine(cpus=1, **options)
    assert Machine.current() is None
    with Machine(cpus=1) as machine:
        with pytest.raises(MachineError):
            Machine(cpus=1)
        assert Machine.current() is machine


def test_what_a_traceback_holds_is_found_and_closed():
    kept = failed_cell()
    with pytest.raises(MachineError, match=r"Machine\.current\(\)\.close\(\)"):
        Machine(cpus=1)
    Machine.current().close()
    with Machine(cpus=1) as machine:
        assert Machine.current() is machine
    assert kept.__traceback__ is not None


def test_an_oopsed_machine_is_still_the_current_one():
    with Machine(cpus=1) as machine:
        with pytest.raises(MachineError):
            machine._kernel.crash()
            machine.insmod()
        assert Machine.current() is machine


def test_a_child_of_fork_has_none():
    with Machine(cpus=1) as machine:
        pid = os.fork()
        if pid == 0:
            os._exit(Machine.current() is not None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert Machine.current() is machine
