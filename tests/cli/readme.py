# SPDX-License-Identifier: GPL-2.0-only
"""README's commands as they stand there, run by any Python that has kvm_vmx, from elsewhere."""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
CPUID_LOOP = bytes.fromhex("b800000000" "0fa2" "ebf7")
HOLDS, DIFFERS, TROUBLE = 0, 1, 2
# What a command may say that lacks something: each names what to get, and no more is wrong.
CURES = re.compile(
    r"pip install 'kvm_vmx\[\w+\]'|in a source checkout|give a (?:kernel|v4\.19) tree"
    r"|name one with --tree|or install linux-source|give a page of 4096 bytes")
# What takes what a reader has to bring, an image, a patch, minutes for a kernel: it parses.
BROUGHT = re.compile(r"kvm-vmx (?:kernel|try|boot|lesson \./|run --kernel|measure loop --kernel)\b")


def pasted() -> list[str]:
    """Every kvm-vmx line of README's blocks, whole, as a reader pastes it; where a block has a
    prompt, the other lines are what is printed."""
    found = []
    for language, block in BLOCK.findall(README):
        begin = r"\$ " if re.search(r"^\$ ", block, re.M) else r"(?:\.venv/bin/)?"
        found += [] if language else re.findall(rf"^{begin}(kvm-vmx .*)$", block, re.M)
    return list(dict.fromkeys(found))


def commands() -> list[str]:
    """Every kvm-vmx command line of README: of its blocks, its tables and its text, each once."""
    found = [re.sub(r"\s+# .*", "", line) for line in pasted()]
    found += re.findall(r"`(kvm-vmx [^`]*)`", BLOCK.sub("", README))
    return list(dict.fromkeys(found))


def example() -> str:
    """The example in Python."""
    (found,) = (block for language, block in BLOCK.findall(README) if language == "python")
    return found


def words(command: str) -> list[str]:
    """The arguments of a command line, with a tree of v4.19 where it names one."""
    tree = os.environ.get("KVM_VMX_TREE_4_19")
    if tree:
        command = command.replace("~/linux@v4.19", shlex.quote(tree))
    return [os.path.expanduser(word) for word in shlex.split(command, comments=True)[1:]]


def wrong(done) -> str:
    """What is wrong with a finished command, or nothing."""
    if "Traceback" in done.stderr + done.stdout:
        return "a traceback"
    if done.returncode not in (HOLDS, DIFFERS, TROUBLE):
        return f"status {done.returncode}"
    if done.returncode == TROUBLE:
        if len(done.stderr.splitlines()) != 1:
            return "trouble in more than one line"
        if not CURES.search(done.stderr):
            return "trouble that names nothing to get"
    return ""


def run(program: list[str], python: list[str], folder: pathlib.Path, **environment) -> dict:
    """{command: (seconds, the finished process, what is wrong with it)}, each run in the folder."""
    found = {}
    here = [command for command in commands() if not BROUGHT.match(command)]
    for command in [*here, "the example in Python"]:
        (folder / "FILE").write_bytes(CPUID_LOOP)       # a command may have written it anew
        begin = time.monotonic()
        line = [*program, *words(command)] if command.startswith("kvm-vmx") else [
            *python, "-c", example()]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=600,
                              env={**os.environ, **environment})
        found[command] = time.monotonic() - begin, done, wrong(done)
    return found


def main() -> int:
    """Run those of an environment, whose bin/ is named, in a folder that is named; report."""
    programs, folder = map(pathlib.Path, sys.argv[1:])
    found = run([programs / "kvm-vmx"], [programs / "python"], folder)
    for command, (seconds, done, what) in found.items():
        print(f"{what or 'ok':8} {done.returncode} {seconds:5.1f} s  {command}", flush=True)
        if done.returncode == TROUBLE or what:
            print(f"{'':19}{done.stderr.strip()}")
    return int(any(what for _, _, what in found.values()))


if __name__ == "__main__":
    sys.exit(main())
