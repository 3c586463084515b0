# SPDX-License-Identifier: GPL-2.0-only
"""Takes the baselines anew: every benchmark, `kvm-vmx measure all --tier 2`, and `kvm-vmx run`.

usage: python perf/baseline.py [-o FOLDER] [--processes N] [--only NAME ...]
Writes FOLDER/NAME.json in pyperf's format for each bench_NAME.py and for measure,
FOLDER/figures.json with every row and its interval, and FOLDER/run.txt, then prints the figures of
README.md and perf/README.md from them where FOLDER is perf/baselines (the default). Each names the
machine, the compiler, and the load before it began. About 20 minutes on two quiet CPUs.
Exit status 1: a claim is missed; 2: no time was measurable, which the figures then say.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time

PERF = pathlib.Path(__file__).resolve().parent
FOLDER = PERF / "baselines"
BENCHMARKS = sorted(path.stem.removeprefix("bench_") for path in PERF.glob("bench_*.py"))
NAMES = (*BENCHMARKS, "measure", "sample")
# What a warmed-up loop needs: values of a process.
VALUES = 3


def bench(name: str, folder: pathlib.Path, processes: int) -> int:
    """One script of benchmarks; what was there before stays until it has ended well."""
    made = folder / f"{name}.json.new"
    made.unlink(missing_ok=True)
    status = called(PERF / f"bench_{name}.py", "--quiet", f"--processes={processes}",
                    f"--values={VALUES}", "--warmups=1", "-o", made)
    if status == 0:
        anonymous(made)
        made.replace(folder / f"{name}.json")
    return status


def measure(folder: pathlib.Path, tier: int = 2) -> int:
    """Every row of `measure all`: in pyperf's format, and with its interval."""
    made, load = folder / "measure.json.new", os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", "kvm_vmx", "measure", "all", "--tier", str(tier), "--json", "-o",
         made], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        return done.returncode
    anonymous(made)
    made.replace(folder / "measure.json")
    # the ticks of every round: much, and of no use without the processes
    made.with_name(f"{made.name}.rounds").unlink(missing_ok=True)
    found = json.loads(done.stdout)
    found["machine"] |= {"load_avg_1min": round(load, 2),
                         "date": datetime.date.today().isoformat()}
    rows = ",\n".join(json.dumps(row) for row in found.pop("rows"))
    (folder / "figures.json").write_text(
        f"{json.dumps(found)[:-1]}, \"rows\": [\n{rows}\n]}}\n", encoding="utf-8")
    return done.returncode


def sample(folder: pathlib.Path) -> int:
    """The main job as README shows it."""
    done = subprocess.run([sys.executable, "-m", "kvm_vmx", "run"], stdout=subprocess.PIPE,
                          text=True)
    if done.returncode == 0:
        (folder / "run.txt").write_text(done.stdout, encoding="utf-8")
    return done.returncode


def anonymous(path: pathlib.Path) -> None:
    """Where the interpreter lay is nobody's affair."""
    path.write_text(re.sub(r'"python_executable": ?"[^"]*", ?', "", path.read_text()))


def called(*command) -> int:
    """The exit status of a script of Python's."""
    return subprocess.run([sys.executable, *map(str, command)]).returncode


def main(arguments) -> int:
    """The worst of the exit statuses."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].partition("\n")[0])
    parser.add_argument("-o", dest="folder", type=pathlib.Path, default=FOLDER)
    parser.add_argument("--processes", type=int, default=4, metavar="N")
    parser.add_argument("--tier", type=int, choices=(0, 1, 2), default=2)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    args = parser.parse_args(arguments)
    args.folder.mkdir(exist_ok=True)
    worst = 0
    for name in args.only:
        load, start = os.getloadavg()[0], time.monotonic()
        if name == "measure":
            status = measure(args.folder, args.tier)
        elif name == "sample":
            status = sample(args.folder)
        else:
            status = bench(name, args.folder, args.processes)
        took = time.monotonic() - start
        print(f"{name:<12} {took:5.0f} s, load {load:.1f} before it, status {status}", flush=True)
        worst = max(worst, status)
    if args.folder.resolve() == FOLDER:
        worst = max(worst, called(PERF.parent / "dev/regenerate.py"))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
