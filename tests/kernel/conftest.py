# SPDX-License-Identifier: GPL-2.0-only
"""The images that these tests run, where a tree is here and its objects are in the cache."""

import pytest
from images import image_of

from kvm_vmx.kernel.kernel import Kernel


@pytest.fixture(scope="session")
def image(request):
    """v4.19's."""
    return image_of("tree-4.19", request)


@pytest.fixture(scope="session")
def later(request):
    """6.12's."""
    return image_of("tree-6.12", request)


@pytest.fixture(scope="session", params=["tree-6.1", "tree-6.12"])
def any_later(request):
    """6.1's and 6.12's."""
    return image_of(request.param, request)


@pytest.fixture
def kernel(image):
    """A kernel with two CPUs, just booted."""
    with Kernel(image, 2, lints=True) as booted:
        yield booted
