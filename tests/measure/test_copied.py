# SPDX-License-Identifier: GPL-2.0-only
"""A child that times loads copies of the modules, and they run in both modes."""

import json
import subprocess
import sys

from kvm_vmx import building
from kvm_vmx.measure import copied

PROBE = """
import json
from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

exits = {}
for enlightened in (False, True, False):
    with Machine(cpus=1, insn="call") as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=100)
        exits[enlightened] = machine.cpu(0).counters()["vmread"] > 100
with open("/proc/self/maps") as lines:
    mapped = sorted({line.split(None, 5)[5].strip() for line in lines if "kvm_vmx" in line})
print(json.dumps({"exits": exits, "mapped": mapped}))
"""


def test_no_module_of_the_package_is_mapped_from_its_file(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    done = subprocess.run(
        [sys.executable, "-P", copied.__file__, tmp_path, "probe"], text=True, check=True,
        capture_output=True, env={"PYTHONPATH": str(building.ROOT), "PATH": "/usr/bin:/bin"})
    found = json.loads(done.stdout)
    assert found["exits"] == {"false": True, "true": False}
    modules = [path for path in found["mapped"] if "memfd:kvm_vmx." in path]
    assert modules == found["mapped"] and len(modules) > 20
