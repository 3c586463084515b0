# SPDX-License-Identifier: GPL-2.0-only
"""Each kind of L1 that a test can run under: the port, and the own KVM of kernel trees."""

import pathlib
from typing import Any

import pytest

from kvm_vmx import host
from kvm_vmx.kernel import build
from kvm_vmx.machine.machine import Machine

PORT = "port"
# {what a test's name says: the host's capability that has the tree}
TREES = {"v4.19": "tree-4.19", "6.1": "tree-6.1", "6.12": "tree-6.12"}


class L1Kind:
    """Boots one kind of L1: l1(cpus=2, lints=True) is a Machine of the port, or one with the own
    KVM of a tree; name says which, version is (4, 19) and so on."""

    def __init__(self, name: str, image: pathlib.Path | None = None) -> None:
        self.name, self.image = name, image
        self.is_port = image is None
        self.version = tuple(map(int, ("4.19" if self.is_port else name.lstrip("v")).split(".")))

    def __repr__(self) -> str:
        return self.name

    def __call__(self, cpus: int = 2, **options: Any) -> Any:
        """A Machine, booted."""
        return Machine(cpus, kernel=self.image, **options) if self.image else \
            Machine(cpus, **options)


def kind(name: str) -> L1Kind:
    """The kind of L1 of a name; skips where there is no tree of it, or none that is built."""
    if name == PORT:
        return L1Kind(name)
    capability = TREES[name]
    for needed in (capability, "kernel-build"):
        if not host.has(needed):
            pytest.skip(host.absent(needed))
    tree = str(host.find(capability))
    if not build.is_compiled(tree):
        pytest.skip(f"{tree} is not compiled yet: kvm-vmx kernel build {tree}")
    return L1Kind(name, build.build(tree))


@pytest.fixture(scope="session", params=[PORT, *TREES])
def kernel(request: pytest.FixtureRequest) -> L1Kind:
    """Boots each kind of L1 in turn, the port and the own KVM of v4.19, 6.1 and 6.12 as far as
    their trees are here and built (kvm-vmx kernel build): with kernel(cpus=2) as machine."""
    return kind(request.param)
