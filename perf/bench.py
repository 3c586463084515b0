# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmarks share: a world that a process boots once, and pyperf's runner."""

import contextlib
import functools
import importlib.util
import os
import runpy
import time

import pyperf

# each process has the modules elsewhere in memory, as those of `kvm-vmx measure` have
_copied = f"{importlib.util.find_spec('kvm_vmx').submodule_search_locations[0]}/measure/copied.py"
runpy.run_path(_copied)["from_copies"]()

from kvm_vmx import Machine, build_info  # noqa: E402
from kvm_vmx.measure.loops import loaded  # noqa: E402
from kvm_vmx.measure.rounds import Loops  # noqa: E402

# What says where the package is, and which builds of the port are meant.
PLACES = ("PYTHONPATH", "XDG_CACHE_HOME", "CC", "CFLAGS", "LDFLAGS")
# Kept open as long as the process lives.
_open = contextlib.ExitStack()


@functools.cache
def world(config="hyperv", enlightened=False):
    """The world of this process: booted once, past its first exits, never unloaded."""
    machine = _open.enter_context(Machine(cpus=1))
    return _open.enter_context(loaded(machine, config, enlightened))


@functools.cache
def _loops(config, enlightened, loop):
    here = world(config, enlightened)
    return Loops(here.machine._kernel, 0, [loop(here)])


def timed(loops, config, enlightened, loop):
    """Seconds that `loops` turns of loop(world), an (address, argument), take."""
    runner = _loops(config, enlightened, loop)
    start = time.perf_counter()
    runner.timed(1, loops)
    return time.perf_counter() - start


class Runner(pyperf.Runner):
    """pyperf's runner; its workers find the package, and the port's other builds, where this
    process finds them."""

    def __init__(self, description, **options):
        super().__init__(**options)
        self.metadata["description"] = description
        self.metadata["kind"] = "measured here"
        self.metadata["compiler"] = build_info.compiler
        inherited = self.parse_args().inherit_environ or []
        self.args.inherit_environ = [*inherited, *(name for name in PLACES if name in os.environ)]
