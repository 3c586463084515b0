# SPDX-License-Identifier: GPL-2.0-only
"""What stands in for vmlinux, compiled with the checks of undefined behaviour that a kernel has."""

from pathlib import Path

import pytest

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
