# SPDX-License-Identifier: GPL-2.0-only
"""Options of the test suite."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the soaks at full length")
    parser.addoption("--golden", action="store_true", help="write the lessons' golden texts anew")


@pytest.fixture
def soak(request):
    """Is this the long run?"""
    return request.config.getoption("--soak")
