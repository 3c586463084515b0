# SPDX-License-Identifier: GPL-2.0-only
"""What one VM exit takes here, and in emulators that people use instead: the same loop of CPUID.

usage: python perf/peers/peers.py [--exits N] [--rounds N] [--json]
Bochs emulates VMX and QEMU's TCG emulates SVM; each boots guest.S, a hypervisor of one disk, whose
guest is the CPUID loop of `kvm-vmx run`. A figure is the CPU time of N exits more, divided by N, so
that what starts an emulator is not in it; with the lowest and the highest of the rounds. Debian's
Bochs has its debugger in it, which costs. What is not installed is said. Kind: measured here.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import pty
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
COUNT, DISK = 496, 16 * 63 * 512     # where guest.S has the number of exits; one cylinder
FEW = 10_000

BOCHSRC = """\
display_library: term
megs: 32
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model=corei7_sandy_bridge_2600k, ips=100000000
ata0-master: type=disk, path={disk}, mode=flat, cylinders=1, heads=16, spt=63
boot: disk
log: {log}
panic: action=fatal
clock: sync=none
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
"""
PEERS = {
    "Bochs, VMX": ("bochs", "apt-get install bochs bochs-term vgabios"),
    "QEMU TCG, SVM": ("qemu-system-x86_64", "apt-get install qemu-system-x86"),
}


def image(folder: pathlib.Path, vmx: bool) -> bytes:
    """guest.S, assembled for one of the two, without its number of exits."""
    made = folder / "guest"
    subprocess.run(["as", "--64", "--defsym", f"VMX={int(vmx)}", "-o", f"{made}.o",
                    HERE / "guest.S"], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64", "-Ttext=0x7c00", "--oformat", "binary", "-o",
                    made, f"{made}.o"], check=True)
    return made.read_bytes()


def disk(folder: pathlib.Path, code: bytes, exits: int) -> pathlib.Path:
    """A disk that boots it, for so many exits."""
    path = folder / "disk"
    code = code[:COUNT] + struct.pack("<Q", exits) + code[COUNT + 8:]
    path.write_bytes(code.ljust(DISK, b"\0"))
    return path


def ended(command, **options) -> tuple[float, int]:
    """Seconds of CPU time that a process took, and its exit status."""
    child = subprocess.Popen(command, **options)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime, child.returncode


def of_bochs(folder: pathlib.Path, code: bytes, exits: int) -> float:
    """Seconds of a run in Bochs, whose screen is a terminal of its own."""
    log, setup, script = (folder / name for name in ("log", "bochsrc", "script"))
    setup.write_text(BOCHSRC.format(disk=disk(folder, code, exits), log=log))
    script.write_text("c\n")         # what its debugger waits for
    (folder / "disk.lock").unlink(missing_ok=True)
    screen, end = pty.openpty()
    reader = threading.Thread(target=drained, args=(screen,))
    reader.start()
    seconds, _ = ended(["bochs", "-q", "-f", setup, "-rc", script], stdin=end, stdout=end,
                       stderr=end, env={**os.environ, "TERM": "xterm"})
    os.close(end)
    reader.join()
    # what guest.S leaves in AL at a good end
    if not re.search(r"\bRAX=\w*41\b", log.read_text(errors="replace")):
        raise RuntimeError("the guest did not come to its end")
    return seconds


def drained(screen: int) -> None:
    """Read what is written to a terminal until nobody has it open."""
    try:
        while os.read(screen, 1 << 16):
            pass
    except OSError:
        pass
    os.close(screen)


def of_qemu(folder: pathlib.Path, code: bytes, exits: int) -> float:
    """Seconds of a run in QEMU, without KVM."""
    seconds, status = ended(
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,+svm", "-nodefaults", "-display",
         "none", "-no-reboot", "-m", "16", "-drive",
         f"file={disk(folder, code, exits)},format=raw", "-device",
         "isa-debug-exit,iobase=0xf4,iosize=1"], stdin=subprocess.DEVNULL)
    if status != 0x21:
        raise RuntimeError(f"the guest did not come to its end: status {status}")
    return seconds


def ours(exits: int, mode: str) -> float:
    """Seconds of so many exits here, in a process that has the modules elsewhere in memory."""
    package = importlib.util.find_spec("kvm_vmx").submodule_search_locations[0]
    done = subprocess.run([sys.executable, "-P", f"{package}/measure/copied.py", HERE, "ours",
                           str(exits), mode], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def row(name: str, rounds: list[float]) -> dict:
    """ns an exit of some rounds."""
    ns = sorted(one * 1e9 for one in rounds)
    return {"name": name, "value": statistics.median(ns), "low": ns[0], "high": ns[-1],
            "unit": "ns an exit", "kind": "measured here"}


def measured(exits: int, rounds: int) -> list[dict]:
    """A row each; what is not installed has a sentence instead."""
    found = [row(f"kvm_vmx, {mode}", [ours(50 * exits, mode) / exits / 50 for _ in range(rounds)])
             for mode in ("VMCS", "eVMCS")]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for (peer, (program, cure)), run in zip(PEERS.items(), (of_bochs, of_qemu)):
            missing = next((one for one in (program, "as", "ld") if not shutil.which(one)), None)
            if missing:
                cure = cure if missing == program else "apt-get install binutils"
                found.append({"name": peer, "why": f"{missing} is not installed: {cure}"})
                continue
            try:
                code = image(folder, run is of_bochs)
                found.append(row(peer, [
                    (run(folder, code, FEW + exits) - run(folder, code, FEW)) / exits
                    for _ in range(rounds)]))
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                found.append({"name": peer, "why": str(error)})
    return found


def main(arguments) -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].partition("\n")[0])
    parser.add_argument("--exits", type=int, default=300_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    found = measured(args.exits, args.rounds)
    if args.json:
        print(json.dumps({"schema": "kvm_vmx.peers/1", "load_avg_1min": os.getloadavg()[0],
                          "rows": found}, indent=1))
        return 0
    for one in found:
        if "why" in one:
            print(f"{one['name']:<16} {one['why']}")
        else:
            print(f"{one['name']:<16} {one['value']:8,.1f} ns an exit "
                  f"[{one['low']:,.1f}, {one['high']:,.1f}], {one['kind']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
