# SPDX-License-Identifier: GPL-2.0-only
"""Where other people's suites are: trees of Linux, and a checkout or an image of kvm-unit-tests."""

import fcntl
import functools
import os
import pathlib

import pytest

from kvm_vmx import host

VMX_IMAGE = "x86/vmx.flat"


@pytest.fixture(scope="session")
def built():
    """built(version, test): the ELF file of a selftest's guest code, out of the user's cache."""
    from kvm_vmx.boot import selftest_build

    @functools.cache
    def build(version, test):
        place = host.find(f"tree-{version}")
        cache = selftest_build.cache_directory()
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:        # another run of the tests may build there
            fcntl.flock(lock, fcntl.LOCK_EX)
            return selftest_build.build(place, test, cache)
    return build


@pytest.fixture(scope="session")
def unit_test_images():
    """The directory of images of the checkout that $KVM_UNIT_TESTS names."""
    named = os.environ.get("KVM_UNIT_TESTS")
    if not named or not pathlib.Path(named).is_dir():
        pytest.skip("no checkout of kvm-unit-tests here: name a built one in $KVM_UNIT_TESTS")
    return pathlib.Path(named) / "x86"


@pytest.fixture(scope="session")
def vmx_image():
    """vmx.flat of kvm-unit-tests, as $KVM_UNIT_TESTS names it or its checkout."""
    named = os.environ.get("KVM_UNIT_TESTS")
    if not named:
        pytest.skip("no kvm-unit-tests here: name a built checkout, or vmx.flat, "
                    "in $KVM_UNIT_TESTS")
    path = pathlib.Path(named)
    path = path / VMX_IMAGE if path.is_dir() else path
    assert path.is_file(), f"$KVM_UNIT_TESTS names {named}, and there is no {VMX_IMAGE}"
    return path.read_bytes()
