# SPDX-License-Identifier: GPL-2.0-only
"""Reads the files of a host, whatever they are: nothing that is in one may stop the reader."""

import gzip
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, TypeAlias

from kvm_vmx.console import Trouble
from kvm_vmx.doctor.chart import Chart, quoted
from kvm_vmx.doctor.lines import (
    KERNEL_LOG, MAX_LINE, NEW_BOOT, PARAMETER, facts_of_line)
from kvm_vmx.evidence import MICROSOFT, facts_of_cpuid
from kvm_vmx.l0.cpuid_dump import Leaves, parse_cpuid
from kvm_vmx.streams import plain

MAX_BYTES = 16 << 20
MAX_ENTRIES = 1000
WANTED = ("give dmesg, what `cpuid -r` prints, /proc/cpuinfo, a kernel's configuration or "
          "/sys/module/kvm_intel/parameters")
# Only a line with one of these can tell anything.
WORTH = re.compile(r"Hyper|kvm|KVM|Linux version|CPU0: |endor|lags|enlightened|VMX|paravirt|DMI:"
                   r"|CONFIG_HYPERV|7783-|^\d+\.\d+\.\d+|^[ >]*(?:\S*/)?\w+\s*[:=]\s*\w+\s*$")
SOFT_BREAK, QUOTED = re.compile(r"=[ \t]*$"), re.compile(r"=([0-9A-F]{2})")
CPUID_LINE = re.compile(r"0x([0-9a-fA-F]{1,8})\s+0x0*:\s*eax=")
KVM_LEAF = 0x40000100
# with their numbers, where they have some
Lines: TypeAlias = Sequence[tuple[int | None, str]]


def read(path: str) -> Chart:
    """What a file or a directory of parameters tells; Trouble where it is nothing of the kind."""
    chart = Chart()
    if path == "-":
        read_text(chart, "standard input", bounded(sys.stdin.buffer, path))
    elif os.path.isdir(path):
        read_directory(chart, path)
    else:
        name = os.path.basename(path)
        data = contents(path)
        if name == "enlightened_vmcs" and data.strip() in (b"Y", b"N"):
            data = b"enlightened_vmcs:" + data
        read_text(chart, path, data)
    if chart.empty:
        raise Trouble(f"{plain(path)}: nothing in it tells of a processor or of KVM: {WANTED}")
    chart.files = [path]
    return chart


def contents(path: str) -> bytes:
    """A file's bytes, unpacked where they are gzip's; Trouble where it can't be read. Nothing
    that could block is opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Trouble(f"{plain(path)}: not a regular file: {WANTED}")
            data = bounded(file, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Trouble(f"{plain(path)}: {reason}: give a file that can be read") from None
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return bounded(file, path)
    except (OSError, EOFError, zlib.error):
        raise Trouble(f"{plain(path)}: gzip that cannot be unpacked: {WANTED}") from None


def bounded(file: BinaryIO | gzip.GzipFile, path: str) -> bytes:
    """What there is to read, or Trouble where it does not end."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Trouble(f"{plain(path)}: larger than {MAX_BYTES >> 20} MiB: {WANTED}")
    return data


def read_directory(chart: Chart, path: str) -> None:
    """A directory of parameters: one file each, with its value."""
    lines = []
    try:
        names = sorted(os.listdir(path))[:MAX_ENTRIES]
    except OSError as error:
        raise Trouble(f"{plain(path)}: {error.strerror}: give a directory that can be read") \
            from None
    for name in names:
        try:
            value = contents(os.path.join(path, name))[:100].decode(errors="replace").strip()
        except Trouble:
            continue            # some are for root alone
        lines.append(f"{name}:{value}")
    read_lines(chart, path, [(None, line) for line in lines])


def read_text(chart: Chart, where: str, data: bytes) -> None:
    """Every line of a file, with its number; of more than one boot, the last."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):          # what PowerShell's > writes
        text = data.decode("utf-16", errors="replace")
    else:
        text = data.decode("utf-8-sig", errors="replace")
    found: Iterable[tuple[int, str]] = (
        unquoted(text) if "=3D" in text else enumerate(text.splitlines(), 1))
    lines = [(number, line[:MAX_LINE]) for number, line in found]
    read_lines(chart, where, lines)
    read_cpuid(chart, where, lines)


def unquoted(text: str) -> list[tuple[int, str]]:
    """The lines of a mail in quoted-printable, each with the number that it begins at."""
    found, begun, number = [], "", 0
    for here, line in enumerate(text.splitlines(), 1):
        number = number or here
        if SOFT_BREAK.search(line) and len(begun) < MAX_BYTES:
            begun += SOFT_BREAK.sub("", line)
            continue
        found.append((number, QUOTED.sub(lambda hit: chr(int(hit[1], 16)), begun + line)))
        begun, number = "", 0
    return found + ([(number, begun)] if begun else [])


def read_lines(chart: Chart, where: str, lines: Lines) -> None:
    """What the lines tell one by one, and what follows from a line that is not there."""
    parameter = log = ""
    for number, line in lines:
        if not WORTH.search(line):
            continue
        if NEW_BOOT.search(line) and chart.value("release"):
            chart.facts.clear()
            chart.weak.clear()
            chart.contradictions.clear()
        for name, value, weak in facts_of_line(line):
            source = quoted(where, number, told(name, value, line))
            if name == "place" and chart.value("place"):
                continue
            chart.note(name, value, source, weak=weak or name == "vendor" and not value)
        if PARAMETER.search(line):
            parameter = parameter or quoted(where, number, line)
        elif KERNEL_LOG.search(line):
            log = log or quoted(where, number, line)
    if parameter and "used_now" not in chart.facts:
        # the parameter is there wherever CONFIG_HYPERV is
        chart.note("config_hyperv", False, f"{plain(where)}: no enlightened_vmcs in it", weak=True)
    elif log and chart.empty:
        chart.note("log", True, log, weak=True)


def told(name: str, value: object, line: str) -> str:
    """The line of a fact, or of flags what counts of them."""
    if name in ("hypervisor", "cpuinfo_vmx") and line.lower().startswith("flags"):
        flag = "vmx" if name == "cpuinfo_vmx" else name
        return f"flags with{'' if value else 'out'} {flag}"
    return line


def read_cpuid(chart: Chart, where: str, lines: Lines) -> None:
    """The leaves of a `cpuid -r`, where there are any."""
    at: dict[int, tuple[int | None, str]] = {}
    for number, line in lines:
        if (hit := CPUID_LINE.search(line)) is not None:
            at.setdefault(int(hit[1], 16), (number, line))
    try:
        leaves = parse_cpuid("\n".join(line for _, line in lines))
    except ValueError:
        return
    note_cpuid(chart, leaves, lambda leaf: quoted(where, *at.get(leaf, (None, f"leaf {leaf:#x}"))))


def note_cpuid(chart: Chart, leaves: Leaves, source: Callable[[int], str]) -> None:
    """What CPUID tells, and who stands behind a Hyper-V."""
    for name, fact in facts_of_cpuid(leaves, source).items():
        chart.note(name, fact.value, fact.source)
    behind = facts_of_cpuid({0x40000000: leaves.get(KVM_LEAF, (0, 0, 0, 0))}, source)
    if chart.value("signature") == MICROSOFT and \
            behind["signature"].value.startswith("KVMKVMKVM"):
        chart.note("nested_kvm", True, source(KVM_LEAF))
