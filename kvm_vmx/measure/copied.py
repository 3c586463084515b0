# SPDX-License-Identifier: GPL-2.0-only
"""Run as a file, before there is a package: its modules are loaded from copies of their own.

usage: python -P kvm_vmx/measure/copied.py ROOT MODULE [ARGUMENT...]

A file's pages are the same memory in every process, and where that lies can move a time for all of
them alike. What is copied into a file in memory lies elsewhere in each process, so that an interval
over processes tells of the place as well.
"""

import importlib.machinery
import os
import pathlib
import runpy
import sys
from types import ModuleType

PACKAGE = "kvm_vmx"


def from_copies() -> None:
    """From here on this process loads the package's modules from copies."""
    loader = importlib.machinery.ExtensionFileLoader
    create = loader.create_module

    def create_module(self: importlib.machinery.ExtensionFileLoader,
                      spec: importlib.machinery.ModuleSpec) -> ModuleType:
        if spec.name.partition(".")[0] != PACKAGE:
            return create(self, spec)
        assert spec.origin is not None
        # it stays open: dlopen() takes a second file of the same name for the first
        origin, file = spec.origin, os.memfd_create(spec.name)
        with open(file, "wb", closefd=False) as copy:
            copy.write(pathlib.Path(origin).read_bytes())
        spec.origin = f"/proc/self/fd/{file}"
        try:
            return create(self, spec)
        finally:
            spec.origin = origin

    # the class itself, as the finders that there are have it already
    loader.create_module = create_module    # type: ignore[method-assign]


def main() -> None:
    """Run a module of the package below ROOT as the main program."""
    root, module, *arguments = sys.argv[1:]
    sys.path.insert(0, root)
    sys.argv[:] = [module, *arguments]
    from_copies()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
