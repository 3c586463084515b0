# SPDX-License-Identifier: GPL-2.0-only
"""Build the extension modules, one a .pyx; the port's Kconfig variants from one source."""

import importlib.util
import json
import os
import pathlib
import re
import shutil

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).parent
CONFIG = {"CONFIG_HYPERV": 1, "CONFIG_JUMP_LABEL": 1, "CONFIG_INSN_TRAP": 1}

# kvm-intel built again with another Kconfig, from the same source.
PORT = "kvm_vmx.l1.vmx"
VARIANTS = {
    "vmx_no_hyperv": {"CONFIG_HYPERV": 0},
    "vmx_no_jump_label": {"CONFIG_JUMP_LABEL": 0},
    # the tree before the patch: v4.19 tests its key without CONFIG_HYPERV too
    "vmx_before": {"CONFIG_HYPERV": 0, "BEFORE_EVMCS": 1},
    # instructions by call alone: what the opcodes beside them cost is the difference to this
    "vmx_by_call": {"CONFIG_INSN_TRAP": 0},
    # each store into a VMCS says where it stands: what a machine with lints loads
    "vmx_watched": {"CONFIG_WATCHED": 1},
}
# What stores into a VMCS, in the order of the source.
ACCESSORS = ("vmcs_write16", "vmcs_write32", "vmcs_write64", "vmcs_writel", "vmcs_clear_bits",
             "vmcs_set_bits")

# The kernel's own code model, and hidden visibility: a static key must be local to its module.
# No vectors, as in the kernel: two fields read as one wait for the stores to both.
FLAGS = [
    "-std=gnu11", "-O2", "-g", "-fno-strict-aliasing", "-fwrapv",
    "-fno-delete-null-pointer-checks", "-fvisibility=hidden", "-fno-semantic-interposition",
    "-fcf-protection=none", "-fno-stack-protector", "-U_FORTIFY_SOURCE",
    "-fno-tree-vectorize",
    f"-ffile-prefix-map={HERE.resolve()}=.",
    "-Wno-unused-function", "-Wno-unused-variable",
    "-DCYTHON_INLINE=inline __attribute__((always_inline))",
]

# Where the compiler writes which headers a module is made of.
DEPENDS = pathlib.Path("build/depends")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}


def extension(name, source, **config):
    """An extension module, with the Kconfig switches that it wants otherwise than CONFIG."""
    (HERE / DEPENDS).mkdir(parents=True, exist_ok=True)
    config = CONFIG | config
    text = " ".join(f"{key}={value}" for key, value in config.items())
    return Extension(
        name,
        [str(source)],
        include_dirs=["include", "."],
        define_macros=[*((key, str(value)) for key, value in config.items()),
                       ("BUILD_CONFIG", f'"{text}"')],
        extra_compile_args=[*FLAGS, "-MMD", "-MF", str(DEPENDS / f"{name}.d")],
        depends=["setup.py", *headers(name)],
    )


def headers(name):
    """The headers that a module was made of, so that none keeps an old layout: those that the
    compiler found, or all where it has not been asked yet, or one of them has gone."""
    rule = HERE / DEPENDS / f"{name}.d"
    if rule.exists():
        found = [word for word in rule.read_text().partition(":")[2].split()
                 if word.endswith(".h")]
        if all((HERE / word).exists() for word in found):
            return found
    return sorted(str(path.relative_to(HERE)) for room in ("include", "kvm_vmx")
                  for path in (HERE / room).rglob("*.h"))


def module_name(path):
    """The dotted name of a .pyx, by its place in the package."""
    return ".".join(path.relative_to(HERE).with_suffix("").parts)


def watched(text):
    """The port's C with each call of an accessor, behind their definitions, told to who watches."""
    prefix = re.search(rf"\w+(?=_{ACCESSORS[-1]}\()", text)[0]
    accessors = [f"{prefix}_{name}" for name in ACCESSORS]
    begin = re.search(rf"^static .*\b{accessors[-1]}\([^;]*\{{$", text, re.M).end()
    end = text.index("\n}\n", begin) + 3
    lines = [f"#define {name}(field, operand) WATCHED({name}, field, operand)"
             for name in accessors]
    return "\n".join((text[:end], *lines, text[end:]))


def variant(port, name):
    """The port's generated C under another module name; rewritten only when it changed."""
    source = pathlib.Path(port.sources[0])
    package, _, old = PORT.rpartition(".")
    text = source.read_text().replace(f'"{PORT}"', f'"{package}.{name}"')
    text = text.replace(f"PyInit_{old}", f"PyInit_{name}")
    if VARIANTS[name].get("CONFIG_WATCHED"):
        text = watched(text)
    target = source.with_name(f"{name}.c")
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
    return extension(f"{package}.{name}", target, **VARIANTS[name])


def modules():
    """All extension modules: one a .pyx, and the port's variants."""
    built = cythonize(
        [extension(module_name(path), path.relative_to(HERE))
         for path in sorted((HERE / "kvm_vmx").rglob("*.pyx"))],
        compiler_directives=DIRECTIVES,
        emit_linenums=True,
        build_dir="build/cython",
        nthreads=os.cpu_count(),
    )
    port = next(module for module in built if module.name == PORT)
    return built + [variant(port, name) for name in VARIANTS]


class BuildPy(build_py):
    """Puts the headers into the package: `compare` reads them beside the sources."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree(HERE / "include", pathlib.Path(self.build_lib) / "kvm_vmx/include",
                            dirs_exist_ok=True)


class BuildExt(build_ext):
    """build_ext that builds what changed, whoever asks for it, and may leave the port's variants
    out: --quick."""

    user_options = [*build_ext.user_options, (
        "quick", None, "without the other builds of the port, which are removed: none is stale")]
    boolean_options = [*build_ext.boolean_options, "quick"]

    def initialize_options(self):
        super().initialize_options()
        self.quick = False

    def run(self):
        if self.quick:
            package = PORT.rpartition(".")[0]
            for name in VARIANTS:
                (HERE / self.get_ext_filename(f"{package}.{name}")).unlink(missing_ok=True)
            self.extensions = [module for module in self.extensions
                               if module.name.rpartition(".")[2] not in VARIANTS]
        super().run()
        self.write_record()

    def write_record(self):
        """Leave behind what `compare` shows of the build: see kvm_vmx/compare/compiled.py."""
        spec = importlib.util.spec_from_file_location(
            "compiled", HERE / "kvm_vmx" / "compare" / "compiled.py")
        compiled = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compiled)
        paths = [str(path.relative_to(HERE)) for path in sorted(
            [*(HERE / "kvm_vmx" / "l1").rglob("*.pyx"), *(HERE / "kvm_vmx" / "l1").rglob("*.pxd")])]
        target = pathlib.Path(self.get_ext_fullpath("kvm_vmx.compare.built")).parent / "built.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(compiled.record(paths, HERE), separators=(",", ":")))

    def build_extension(self, ext):
        # Whoever builds in an empty folder, as pip does, begins with what stands in place.
        here, there = (pathlib.Path(path) for path in (
            HERE / self.get_ext_filename(ext.name), self.get_ext_fullpath(ext.name)))
        if here.exists() and not there.exists() and not self.force:
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(here, there)
        super().build_extension(ext)


if __name__ == "__main__":
    setup(
        ext_modules=modules(),
        cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
        options={"build_ext": {"parallel": os.cpu_count()}},
    )
