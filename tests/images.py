# SPDX-License-Identifier: GPL-2.0-only
"""The images of kernels that a test runs, where a tree is here and its objects are in the cache."""

import functools

import pytest

import needed
from kvm_vmx import host
from kvm_vmx.kernel import build
from kvm_vmx.testing.kernels import TREES


def image_of(capability, request):
    """The image of a tree; compiling one takes minutes, which only --soak has."""
    needed.capability(capability, "kernel-build")
    tree = host.find(capability)
    if not is_compiled(tree) and not request.config.getoption("--soak"):
        pytest.skip(f"{tree} is not compiled yet: kvm-vmx kernel build {tree}")
    return image(tree)


@functools.cache
def is_compiled(tree):
    """That looks at each file of a tree that is a directory: once a process, too."""
    return build.is_compiled(tree)


def compiled():
    """The names of the trees that are here and compiled."""
    return [name for name, tree in TREES.items()
            if host.has(tree) and host.has("kernel-build") and is_compiled(host.find(tree))]


@functools.cache
def image(tree):
    """It is looked for once a process: that reads all that it was made of."""
    return build.build(tree)
