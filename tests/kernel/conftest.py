# SPDX-License-Identifier: GPL-2.0-only
"""The image that these tests run: of v4.19, where a tree is here and its objects are in the cache."""

import pytest

import needed
from kvm_vmx import host
from kvm_vmx.kernel import build
from kvm_vmx.kernel.kernel import Kernel


@pytest.fixture(scope="session")
def image(request):
    """The image of v4.19; compiling its tree takes minutes, which only --soak has."""
    needed.capability("tree-4.19", "kernel-build")
    tree = host.find("tree-4.19")
    if not build.is_compiled(tree) and not request.config.getoption("--soak"):
        pytest.skip(f"v4.19 is not compiled yet: kvm-vmx kernel build {tree}")
    return build.build(tree)


@pytest.fixture
def kernel(image):
    """A kernel with two CPUs, just booted."""
    with Kernel(image, 2, lints=True) as booted:
        yield booted
