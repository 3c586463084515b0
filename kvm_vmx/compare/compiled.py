# SPDX-License-Identifier: GPL-2.0-only
"""What became of each line of the port: the C that Cython wrote, and the machine's code.

Both are read from what lies beside the sources; where nothing does, `why` says what is missing.
"""

import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
MOST = 24  # lines of either kind kept a row

LINE = re.compile(r'#line (\d+) "([^"]+)"')
PLACE = re.compile(r"^\./(kvm_vmx/\S+):(\d+)(?: \(discriminator \d+\))?$")
CODE = re.compile(r"^ +([0-9a-f]+):\t(.*)$")
SYMBOL = re.compile(r"\b__pyx_[a-z]_\w*?_(?=[a-z])")


def generated(paths, root: pathlib.Path = ROOT) -> tuple[dict, str]:
    """The C of each line, by (path, line), out of Cython's own line markers; and what is missing."""
    found, missing = {}, "no generated C beside the sources: build in place to see it"
    for path in paths:
        made = root / "build" / "cython" / pathlib.Path(path).with_suffix(".c")
        if not made.exists():
            continue
        if older(made, root / path):
            missing = f"{path} is younger than its build: build again to see its C"
            continue
        missing = ""
        place, note = None, False
        for text in made.read_text().split("\n"):
            if hit := LINE.match(text):
                place = (hit[2], int(hit[1]))
            elif place and not note and text.strip() and not text.lstrip().startswith("/*"):
                lines = found.setdefault(place, [])
                if text.strip() not in ("{", "}") and len(lines) < MOST:
                    lines.append(text.strip())
            note = (note or text.lstrip().startswith("/*")) and not text.rstrip().endswith("*/")
    return found, "" if found else missing


def machine_code(root: pathlib.Path = ROOT) -> tuple[dict, str]:
    """The instructions of each line, by (path, line), out of the modules' line tables."""
    if not shutil.which("objdump"):
        return {}, "objdump is not installed: apt-get install binutils"
    found, missing = {}, "no built module beside the sources: build in place to see its code"
    for module in sorted((root / "kvm_vmx" / "l1").rglob("*.so")):
        name = module.name.partition(".")[0]
        source = module.with_name(f"{name}.pyx")
        if not source.exists():  # another build of the same source
            continue
        if older(module, source):
            missing = f"{name}.pyx is younger than its module: build again to see its code"
            continue
        run = subprocess.run(
            ["objdump", "-dl", "--no-show-raw-insn", str(module)], capture_output=True, text=True)
        place = None
        for text in run.stdout.split("\n"):
            if hit := CODE.match(text):
                lines = found.setdefault(place, []) if place else None
                if lines is not None and len(lines) < MOST:
                    lines.append(f"{hit[1]}  {SYMBOL.sub('', ' '.join(hit[2].split()))}")
            elif hit := PLACE.match(text):
                place = (hit[1], int(hit[2]))
            elif "/" in text and ":" in text:
                place = None
    return found, "" if found else missing


def older(made: pathlib.Path, source: pathlib.Path) -> bool:
    """Whether a file was made before its source was changed."""
    return source.exists() and made.stat().st_mtime < source.stat().st_mtime
