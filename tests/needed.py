# SPDX-License-Identifier: GPL-2.0-only
"""What a test needs of the host: a capability, or a package; without it the test is skipped."""

import importlib

import pytest

from kvm_vmx import host


def capability(*names):
    """Skip the test, or the file that is being collected, where the host lacks one of these."""
    for name in names:
        if not host.has(name):
            pytest.skip(host.absent(name), allow_module_level=True)


def module(name):
    """A module of a package that is an extra."""
    capability(name.partition(".")[0])
    return importlib.import_module(name)
