# SPDX-License-Identifier: GPL-2.0-only
"""Build the extension modules, one a .pyx; the port's Kconfig variants from one source."""

import os
import pathlib

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = pathlib.Path(__file__).parent
CONFIG = {"CONFIG_HYPERV": 1, "CONFIG_JUMP_LABEL": 1}

# The kernel's own code model, and hidden visibility: a static key must be local to its module.
FLAGS = [
    "-std=gnu11", "-O2", "-g", "-fno-strict-aliasing", "-fwrapv",
    "-fno-delete-null-pointer-checks", "-fvisibility=hidden", "-fno-semantic-interposition",
    "-fcf-protection=none", "-fno-stack-protector", "-U_FORTIFY_SOURCE",
    f"-ffile-prefix-map={HERE.resolve()}=.",
    "-Wno-unused-function", "-Wno-unused-variable",
    "-DCYTHON_INLINE=inline __attribute__((always_inline))",
]

# A changed header rebuilds every module: none may keep an old layout.
HEADERS = sorted(
    str(path.relative_to(HERE))
    for room in ("include", "kvm_vmx")
    for path in (HERE / room).rglob("*.h")
)

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}


def extension(path):
    """The extension module of one .pyx, named by its place in the package."""
    name = ".".join(path.relative_to(HERE).with_suffix("").parts)
    return Extension(
        name,
        [str(path.relative_to(HERE))],
        include_dirs=["include", "."],
        define_macros=[(key, str(value)) for key, value in CONFIG.items()],
        extra_compile_args=FLAGS,
        depends=HEADERS,
    )


if __name__ == "__main__":
    sources = sorted((HERE / "kvm_vmx").rglob("*.pyx"))
    setup(
        ext_modules=cythonize(
            [extension(path) for path in sources],
            compiler_directives=DIRECTIVES,
            emit_linenums=True,
            build_dir="build/cython",
            nthreads=os.cpu_count(),
        ),
        options={"build_ext": {"parallel": os.cpu_count()}},
    )
