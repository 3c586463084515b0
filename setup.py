# SPDX-License-Identifier: GPL-2.0-only
"""Build the extension modules, one a .pyx; kvm_vmx/building.py has the flags of each."""

import gc
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import re
import shutil

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent


def module_of(path):
    """A module of the package that needs nothing of it, before there is one."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


building = module_of(HERE / "kvm_vmx" / "building.py")

# Where the compiler writes which headers a module is made of.
DEPENDS = pathlib.Path("build/depends")

# What Cython writes for every module alike: one module has it, and the others share it.
SHARED = "kvm_vmx._cyutility"

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "auto_pickle": False,
}


def extension(name, source):
    """An extension module with the flags that it gets."""
    (HERE / DEPENDS).mkdir(parents=True, exist_ok=True)
    return Extension(
        name,
        [str(source)],
        include_dirs=["include", "."],
        define_macros=[*building.macros(), *building.abi()],
        py_limited_api=bool(building.abi()),
        extra_compile_args=[*building.flags(name), "-MMD", "-MF", str(DEPENDS / f"{name}.d")],
        depends=["setup.py", "kvm_vmx/building.py", *headers(name)],
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


def bare(text):
    """C without its comments, one of which names this folder, on the lines where it was."""
    literal = r'"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])+'"
    return re.sub(rf"({literal})|/\*.*?\*/",
                  lambda found: found[1] or "\n" * found[0].count("\n") or " ", text, flags=re.S)


def module_name(path):
    """The dotted name of a .pyx, by its place in the package."""
    return ".".join(path.relative_to(HERE).with_suffix("").parts)


def modules():
    """The extension modules before Cython: one a .pyx, and the one that they share."""
    return [*(extension(module_name(path), path.relative_to(HERE))
              for path in sorted((HERE / "kvm_vmx").rglob("*.pyx"))),
            extension(SHARED, shared_source())]


def shared_source():
    """Where the C of what the modules share is written."""
    return pathlib.Path("build/cython", *SHARED.split(".")).with_suffix(".c")


def translate(extensions):
    """Have Cython write the C of the modules that it has changed for, and put that in place."""
    from Cython.Build import Dependencies, cythonize
    from Cython.Compiler import Options

    # pip brings the same Cython anew for each build of its own: the version tells another one
    cythons = pathlib.Path(Dependencies.__file__).parents[1]
    now = digests()
    others = other_than_translated(now)
    Dependencies.DependencyTree.timestamp = lambda _, name: (
        0 if cythons in pathlib.Path(name).parents
        else math.inf if os.path.abspath(name) in others else os.path.getmtime(name))
    # What Cython makes lives to its end: looking for what does not takes as long as its work.
    gc.disable()
    Options.emit_code_comments = False
    made = cythonize([one for one in extensions if one.name != SHARED],
                     compiler_directives=DIRECTIVES, emit_linenums=True, build_dir="build/cython",
                     nthreads=os.cpu_count(), shared_utility_qualified_name=SHARED,
                     force=is_of_another_cython())
    gc.enable()
    texts = {one.name: one.sources for one in made}
    for one in extensions:
        one.sources = texts.get(one.name, one.sources)
    write_shared()
    translated().write_text(json.dumps(now))


def translated():
    """Where it is noted what the sources held of which there is C."""
    return HERE / "build" / "cython" / "sources.json"


def digests():
    """What the sources of Cython hold, by path."""
    return {str(path.relative_to(HERE)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((HERE / "kvm_vmx").rglob("*.p[yx][xdi]"))}


def other_than_translated(now):
    """The sources that hold something else since, whatever their time says: one that was put back
    may have its old time."""
    try:
        before = json.loads(translated().read_text())
    except (OSError, ValueError):
        return set()
    return {str(HERE / name) for name, digest in now.items() if before.get(name) != digest}


def stamp():
    """Where the Cython that has written the C is noted."""
    return HERE / shared_source().with_suffix(".version")


def is_of_another_cython():
    """Has another Cython, or none, written the C that there is?"""
    from Cython import __version__

    return not stamp().exists() or stamp().read_text() != __version__


def write_shared():
    """The C of what the modules share, written anew where it is another Cython's."""
    from Cython import __version__
    from Cython.Build.SharedModule import generate_shared_module
    from Cython.Compiler.Main import CompilationOptions

    target = HERE / shared_source()
    if not target.exists() or is_of_another_cython():
        target.parent.mkdir(parents=True, exist_ok=True)
        generate_shared_module(CompilationOptions(
            shared_c_file_path=str(target), module_name=SHARED))
        stamp().write_text(__version__)


class BuildPy(build_py):
    """Puts the headers into the package, which `compare` and the port's other builds read."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree(HERE / "include", pathlib.Path(self.build_lib) / "kvm_vmx/include",
                            dirs_exist_ok=True)


class BuildExt(build_ext):
    """build_ext that builds what changed, whoever asks for it."""

    def run(self):
        if why := building.unfit():
            raise SystemExit(f"error: {why}")
        translate(self.extensions)
        if not self.inplace and not self.editable_mode and "CFLAGS" not in os.environ:
            # the port keeps its lines, which single steps are told by; all else is for a checkout
            for one in self.extensions:
                one.extra_link_args = building.stripped(one.name)
                if one.name == building.PORT:
                    one.extra_compile_args = [*one.extra_compile_args, "-g1"]
        super().run()
        self.forget_old()
        self.write_record()
        if not self.inplace and not self.editable_mode:
            text = (HERE / "build/cython/kvm_vmx/l1/vmx.c").read_text()
            (pathlib.Path(self.build_lib) / "kvm_vmx/l1/vmx.c").write_text(bare(text))

    def forget_old(self):
        """A module that an older tree had, and this one has not or under another name, would be
        found before a .py, or before the one that is made now."""
        for room in (HERE / "kvm_vmx", pathlib.Path(self.build_lib) / "kvm_vmx"):
            made = {room.parent / self.get_ext_filename(one.name) for one in self.extensions}
            for old in room.rglob("*.so"):
                if old not in made:
                    old.unlink()

    def write_record(self):
        """Leave behind what `compare` shows of the build: see kvm_vmx/compare/build_record.py. One
        that is younger than all that it is made of is the same again."""
        paths = [str(path.relative_to(HERE)) for path in sorted(
            [*(HERE / "kvm_vmx" / "l1").rglob("*.pyx"), *(HERE / "kvm_vmx" / "l1").rglob("*.pxd")])]
        target = pathlib.Path(self.get_ext_fullpath("kvm_vmx.compare.built")).parent / "built.json"
        maker = HERE / "kvm_vmx" / "compare" / "build_record.py"
        sources = [maker, *(HERE / path for path in paths), *(
            path for path in (HERE / "build/cython/kvm_vmx/l1").rglob("*.c"))]
        if target.exists() and target.stat().st_mtime_ns > max(
                path.stat().st_mtime_ns for path in sources):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(module_of(maker).record(paths, HERE), separators=(",", ":")))

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
        options={"build_ext": {"parallel": os.cpu_count()},
                 "bdist_wheel": {"py_limited_api": building.abi() and "cp311"}},
    )
