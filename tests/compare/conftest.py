# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the comparison share: snippets read, and kernel trees where there are any."""

import os
import pathlib
import re

import pytest

from kvm_vmx.compare.opening import TreeError, find_tree, open_tree
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report

@pytest.fixture(scope="session")
def tree_v419():
    """Linux v4.19: $KVM_VMX_TREE_4_19, or what the usual places hold."""
    spec = os.environ.get("KVM_VMX_TREE_4_19") or None
    if spec is None and (found := find_tree()) and "4.19" in found:
        spec = found
    if spec is None:
        pytest.skip("no Linux v4.19 tree here: name one in $KVM_VMX_TREE_4_19")
    return open_tree(spec)


@pytest.fixture(scope="session")
def report_v419(tree_v419):
    """The whole port against v4.19."""
    return Report(Port(), tree_v419)


def debian(version):
    """Debian's tarball of a kernel, or the reason to go without it."""
    name = f"linux-source-{version}"
    for path in sorted(pathlib.Path("/usr/src").glob(f"{name}*")):
        if path.is_dir() or re.search(r"\.tar\.\w+$", path.name):
            try:
                return open_tree(str(path))
            except TreeError as error:
                pytest.fail(str(error))
    return pytest.skip(f"{name} is not installed: apt-get install {name}")


@pytest.fixture(scope="session")
def tree_v61():
    """Debian's linux-source-6.1."""
    return debian("6.1")


@pytest.fixture(scope="session")
def tree_v612():
    """Debian's linux-source-6.12."""
    return debian("6.12")
