# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the L2 processor share."""

import functools

import pytest
from guest import Guest


@pytest.fixture(params=["plain", "evmcs"])
def guest(request):
    """guest(code, **fields): a Guest, under either kind of VMCS."""
    return functools.partial(Guest, request.param)
