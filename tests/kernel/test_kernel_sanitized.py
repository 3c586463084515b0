# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's checks of itself: what stands in for vmlinux compiled with those of undefined
behaviour, and the tree's own KVM, too, with those of each access of memory."""

from pathlib import Path

import needed
import pytest
import seeded

from kvm_vmx import host
from kvm_vmx.errors import KernelBug
from kvm_vmx.kernel import build, scenarios, toolchain
from kvm_vmx.kernel.kernel import Kernel

# Those of CONFIG_UBSAN: a kernel's pointers are no objects of C, so their checks are left out. What
# is found is an invalid opcode, with the function in which it was.
CHECKS = (" -fsanitize=bounds,shift,integer-divide-by-zero,unreachable,bool,enum,"
          "signed-integer-overflow,vla-bound,return -fsanitize-undefined-trap-on-error")
# v4.19's own (erratum: host_rsp): the exit loads a stack pointer of before.
DIES = {("stack depths", True)}


@pytest.fixture
def sanitized(image, soak, tmp_path, monkeypatch):
    """v4.19's objects with stand-ins that check themselves."""
    if not soak:
        pytest.skip("compiles the stand-ins: --soak")
    real = toolchain.run

    def run(command, *rest):
        if any(word.startswith("M=") for word in command):
            command = [word + CHECKS * word.startswith("KCFLAGS=") for word in command]
        return real(command, *rest)

    monkeypatch.setattr(toolchain, "run", run)
    base, _ = build.place(str(host.find("tree-4.19")))
    made = build._link(tmp_path, base / "tree", lambda what: None)
    Path(f"{made}.sites").write_text(build._sites(made, tmp_path / "log"))
    assert made.read_bytes().count(b"\x0f\x0b") > image.read_bytes().count(b"\x0f\x0b") + 20
    return made


def test_every_scenario_and_a_hundred_rounds_find_nothing(sanitized):
    for name, (options, scenario) in scenarios.ALL.items():
        for enlightened in scenarios.MODES.values():
            with Kernel(sanitized, scenarios.CPUS, **options) as kernel:
                if (name, enlightened) in DIES:
                    with pytest.raises(KernelBug, match="in vmx_vcpu_run"):
                        scenario(kernel, enlightened)
                else:
                    scenario(kernel, enlightened)
    with Kernel(sanitized, 2) as kernel:
        held = {}
        for n in range(100):
            kvm = kernel.insmod(n % 2 == 0)
            kvm.create_vm(scenarios.LOOP).create_vcpu(n % 2).run(exits=3)
            kvm.rmmod()
            held = held if n > 1 else kernel.allocations
            assert kernel.allocations == held


@pytest.fixture(scope="module", params=["tree-4.19", "tree-6.1", "tree-6.12"])
def asking(request):
    """(v4.19?, a tree's KVM that asks before each access, and has two faults of our own)."""
    needed.capability(request.param, "kernel-build")
    if not request.config.getoption("--soak"):
        pytest.skip("compiles a tree's KVM anew: --soak")
    return request.param == "tree-4.19", seeded.image(str(host.find(request.param)))


@pytest.mark.parametrize("leaf, said", [
    (seeded.BEHIND, rf"^KASAN: a write of 1 bytes beyond an object in {seeded.FUNCTION}\b"),
    (seeded.FREED, rf"^KASAN: a read of 1 bytes of memory that was freed in {seeded.FUNCTION}\b"),
    (seeded.TWICE, "^an object is freed twice in kfree"),
    (seeded.TWICE + 1, None)])
def test_a_fault_of_memory_ends_the_kernel_by_its_function(asking, leaf, said):
    code = b"\xb8" + leaf.to_bytes(4, "little") + bytes.fromhex("0fa2" "f4")
    with Kernel(asking[1], 1) as kernel:
        vcpu = kernel.insmod().create_vm(code).create_vcpu(0)
        if said is None:
            assert vcpu.run(exits=10).reason == "HLT"
            return
        with pytest.raises(KernelBug, match=said):
            vcpu.run(exits=10)


def test_no_scenario_touches_what_nobody_has(asking):
    is_419, image = asking
    for name, (options, scenario) in scenarios.ALL.items():
        for enlightened in scenarios.MODES.values():
            with Kernel(image, scenarios.CPUS, **options) as kernel:
                if is_419 and (name, enlightened) in DIES:
                    with pytest.raises(KernelBug, match="in vmx_vcpu_run"):
                        scenario(kernel, enlightened)
                else:
                    scenario(kernel, enlightened)
