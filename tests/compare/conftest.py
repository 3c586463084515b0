# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the comparison share: snippets read, and kernel trees where there are any."""

import pathlib
import re

import pytest

from kvm_vmx.compare.found import default_tree
from kvm_vmx.compare.opening import TreeError, open_tree
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report


@pytest.fixture(scope="session")
def tree_v419():
    """Linux v4.19: the tree that `compare` takes without --tree."""
    try:
        return open_tree(default_tree())
    except TreeError as error:
        pytest.skip(str(error))


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
