# SPDX-License-Identifier: GPL-2.0-only
"""--version: what this build is made of, and what of this host a machine can use."""

from typing import Any

from kvm_vmx.console import HOLDS, print_columns, print_json
from kvm_vmx.host import PLATFORM

SCHEMA = "kvm_vmx.version/1"
BASELINE = "v4.19"


def found(version: str) -> dict[str, Any]:
    """Version, build and host for programs."""
    import platform

    from kvm_vmx import build_info, host

    return {
        "schema": SCHEMA, "version": version, "baseline": BASELINE,
        "build": {"cython": build_info.cython, "compiler": build_info.compiler,
                  "config": {name: int(value) for name, value in build_info.config.items()}},
        "host": {
            "python": platform.python_version(), "system": platform.system(),
            "release": platform.release(), "machine": platform.machine(),
            "features": [{"name": name, "has": host.has(name),
                          "why": None if host.has(name) else host.absent(name)}
                         for name in host.CAPABILITIES]},
    }


def show(version: str, json: bool) -> int:
    """Print it."""
    told = found(version)
    if json:
        print_json(told)
        return HOLDS
    build, host = told["build"], told["host"]
    print(f"kvm-vmx {version}, baseline Linux {BASELINE}")
    print(f"built with Cython {build['cython']}, {build['compiler']}")
    print(" ".join(f"{name}={value}" for name, value in build["config"].items()))
    print(f"Python {host['python']} on {host['system']} {host['release']}, {host['machine']}")
    platform = [one for one in host["features"] if one["name"] in PLATFORM]
    print_columns([(f"  {one['name']}", "yes" if one["has"] else "no", one["why"] or "")
                   for one in platform], heads=False)
    for word, has in (("beside it", True), ("not here", False)):
        print(f"{word}: " + ", ".join(one["name"] for one in host["features"]
                                      if one not in platform and one["has"] == has))
    return HOLDS
