# SPDX-License-Identifier: GPL-2.0-only
"""Reads the host that this runs on; what only root may see is named and left out."""

import errno
import glob
import os
from collections.abc import Callable

from kvm_vmx.console import Trouble
from kvm_vmx.doctor import files
from kvm_vmx.doctor.chart import Chart, quoted
from kvm_vmx.doctor.lines import AZURE_TAG
from kvm_vmx.l0.cpuid_dump import Four, Leaves
from kvm_vmx.streams import plain
from kvm_vmx.trap.engine import host_cpuid

LEAVES = (0, 1, 0x40000000, 0x40000003, 0x40000004, 0x4000000A, 0x4000000C, 0x40000100)
FEATURE_CONTROL, ASSIST_PAGE = 0x3A, 0x40000073
LOCKED, OUTSIDE_SMX = 1 << 0, 1 << 2
FILES = ("/proc/sys/kernel/osrelease", "/proc/cpuinfo", "/proc/cmdline",
         "/sys/module/kvm_intel/parameters", "/boot/config-{release}", "/proc/config.gz")
OPTIONS = "/etc/modprobe.d/*.conf"
DMI = ("sys_vendor", "product_name", "chassis_asset_tag")
MAX_RECORD, MAX_RECORDS = 8192, 100_000


def read(root: str = "", leaf_of: Callable[[int], Four | None] = host_cpuid) -> Chart:
    """Everything of this host that may be read; of another one where root is a copy of it."""
    chart = Chart()
    leaves: Leaves = {leaf: found for leaf in LEAVES if (found := leaf_of(leaf)) is not None}
    if leaves:
        files.note_cpuid(chart, leaves, lambda leaf: "CPUID {:#x} here: {:#x} {:#x} {:#x} {:#x}"
                         .format(leaf, *leaves[leaf]))
    release = os.uname().release
    for name in (*FILES, *sorted(glob.glob(root + OPTIONS))):
        path = name if name.startswith(root) and root else root + name.format(release=release)
        read_file(chart, path)
    read_dmi(chart, root)
    read_log(chart, root)
    read_msrs(chart, root)
    for name in ("kvm_intel", "kvm_amd"):
        if os.path.isdir(f"{root}/sys/module/{name}"):
            chart.note(name, True, f"{root}/sys/module/{name}")
    return chart


def read_file(chart: Chart, path: str) -> None:
    """One file, where it is there; what is refused is remembered."""
    try:
        os.stat(path)
        found = files.read(path)
    except FileNotFoundError:
        return
    except (OSError, Trouble) as error:
        if isinstance(error, OSError) or "denied" in str(error):
            chart.unread.append(f"{plain(path)}: for root alone")
        return
    chart.files.append(path)
    chart.take(found)


def read_dmi(chart: Chart, root: str) -> None:
    """What the firmware calls the machine."""
    said = {}
    for name in DMI:
        try:
            with open(f"{root}/sys/class/dmi/id/{name}", encoding="utf-8",
                      errors="replace") as file:
                said[name] = file.read(200).strip()
        except OSError:
            continue
    for name, value in said.items():
        source = quoted(f"{root}/sys/class/dmi/id/{name}", None, value)
        if value == AZURE_TAG:
            chart.note("place", "azure", source)
        elif name == "sys_vendor" and value == "QEMU":
            chart.note("place", "qemu", source)


def read_log(chart: Chart, root: str) -> None:
    """The kernel log, record by record, without waiting for another."""
    path = f"{root}/dev/kmsg"
    records: list[bytes] = []
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENOENT:
            chart.unread.append(f"the kernel log ({plain(path)}): for root alone: give it as a "
                                "file: sudo dmesg > FILE")
        return
    while len(records) < MAX_RECORDS:
        try:
            data = os.read(handle, MAX_RECORD)
        except BrokenPipeError:
            continue            # the oldest records have just gone
        except OSError:
            break               # EAGAIN: there are no more
        if not data:
            break
        records.append(data.partition(b";")[2].partition(b"\n")[0])
    os.close(handle)
    found = Chart()
    files.read_text(found, path, b"\n".join(records))
    chart.take(found)


def read_msrs(chart: Chart, root: str) -> None:
    """The two MSRs that count, by the msr driver."""
    names = sorted(glob.glob(f"{root}/dev/cpu/[0-9]*/msr"))
    without, seen = [], 0
    for path in names:
        try:
            page = read_msr(path, ASSIST_PAGE)
            control = read_msr(path, FEATURE_CONTROL)
        except PermissionError:
            chart.unread.append(f"{plain(path)} and its like: for root alone")
            return
        if page is not None:
            seen += 1
            if not page & 1:
                without.append(int(path.split("/")[-2]))
        if control is not None:
            chart.note("locked_out", control & (LOCKED | OUTSIDE_SMX) == LOCKED,
                       f"{plain(path)}: MSR {FEATURE_CONTROL:#x} is {control:#x}")
    if seen:
        chart.note("without_assist", tuple(without),
                   f"MSR {ASSIST_PAGE:#x} of {seen} CPUs in {root}/dev/cpu")


def read_msr(path: str, index: int) -> int | None:
    """An MSR, or None where there is none; PermissionError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return int.from_bytes(os.pread(handle, 8, index), "little")
        finally:
            os.close(handle)
    except PermissionError:
        raise
    except OSError:
        return None
