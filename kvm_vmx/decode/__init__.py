# SPDX-License-Identifier: GPL-2.0-only
"""Reads a VMCS that somebody has: a page, a dump, an image; and has L0 judge it."""

import os
from collections.abc import Mapping
from typing import Any

from kvm_vmx.abi.numbers import Field
from kvm_vmx.decode import inputs
from kvm_vmx.decode.printed import Decoded
from kvm_vmx.decode.judge import ANY, NAMES, Judge, processor
from kvm_vmx.decode.layouts import evmcs, width
from kvm_vmx.decode.memory_image import MemoryImage
from kvm_vmx.decode.result import LOOKED_AT, others_of, stray_bytes

__all__ = ["Decoded", "decode", "decode_all"]

Source = bytes | bytearray | memoryview | str | os.PathLike[str] | Mapping[Any, int]


def decode(source: Source, *, profile: str | None = None, cpuid: Any = None,
           msrs: Mapping[int, int] | None = None, form: str | None = None,
           enlightened: bool | None = None,
           memory: str | os.PathLike[str] | None = None) -> Decoded:
    """The VMCS of a source, and every check of VM entry that refuses it; see decode_all().
    ValueError where there is not one alone."""
    found = decode_all(source, profile=profile, cpuid=cpuid, msrs=msrs, form=form,
                       enlightened=enlightened, memory=memory)
    if len(found) != 1:
        raise ValueError(f"{len(found)} of them are in this: decode_all() has each")
    return found[0]


def decode_all(source: Source, *, profile: str | None = None, cpuid: Any = None,
               msrs: Mapping[int, int] | None = None, form: str | None = None,
               enlightened: bool | None = None,
               progress: inputs.Progress = None,
               memory: str | os.PathLike[str] | None = None) -> list[Decoded]:
    """Each VMCS of a source, judged by L0.

    source is the bytes of a page or an image, a text of several lines (what dump_vmcs() prints, a
    list of fields, or a hex dump), the name of a file that holds one of these, or a mapping of
    VMCS fields to values, such as vcpu.evmcs. profile, cpuid and msrs say which L0 to ask, as
    those of Machine do; without a profile it is a processor that offers every control there is, so
    that only what no processor takes is refused. form says what the source is ("evmcs", "vmcs12",
    "vmcs", "assist", "dump", "image") where that is not seen; enlightened has the fields of a dump
    judged as those of an eVMCS. memory names a file of L1's memory from address 0 on: the checks
    of what stands there are asked too. ValueError, in one line, for what cannot be read.
    """
    judge = Judge(processor(profile, cpuid, msrs), None if memory is None else MemoryImage(memory))
    name, found = _found(source, form, progress)
    against = _against(profile, cpuid, msrs)
    return [_decoded(name, one, judge, against, enlightened) for one in found]


def _found(source: Any, form: str | None, progress: Any) -> tuple[str, list[inputs.FoundPage]]:
    """What the source is called, and each state in it."""
    if isinstance(source, Mapping):
        return "fields", [inputs.FoundPage("fields", _checked(source))]
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes", inputs.from_bytes(bytes(source), form)
    if isinstance(source, str) and "\n" in source:
        return "text", inputs.from_text(source, form)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"a {type(source).__name__} is nothing to decode: give bytes, text, the "
                         "name of a file, or a mapping of fields")
    path = os.fspath(source)
    return str(path), inputs.from_file(path, form, progress)


def _checked(values: Mapping[Any, int]) -> dict[str, int]:
    """Fields by name, each as wide as it may be; ValueError."""
    found = {}
    for key, value in values.items():
        number = Field.of(key)
        if not isinstance(number, Field) or number.name not in NAMES:
            raise ValueError(f"no field {key!r}: kvm_vmx.Field names the fields")
        if not isinstance(value, int) or value < 0 or value >> 8 * width(number.name):
            raise ValueError(f"{number.name} is {value!r}: give {8 * width(number.name)} bits")
        found[number.name] = int(value)
    return found


def _against(profile: str | None, cpuid: Any, msrs: Mapping[int, int] | None) -> str:
    """Which L0 was asked, in words."""
    named = [] if profile in (None, ANY) else [f"profile {profile}"]
    named += ["the CPUID given"] * (cpuid is not None) + ["the MSRs given"] * bool(msrs)
    return " with ".join(named) or "any processor, whatever controls it offers"


def _decoded(name: str, found: inputs.FoundPage, judge: Judge, against: str,
             enlightened: bool | None) -> Decoded:
    as_evmcs = found.form == "evmcs" if enlightened is None else enlightened
    answer = judge.judge(found.form, found.values, found.page if found.form == "evmcs" else b"",
                         as_evmcs)
    known = evmcs() if as_evmcs else NAMES
    missing = () if found.form == "assist" else tuple(
        field for field in known if field not in found.values and field in LOOKED_AT)
    return Decoded(
        name, found.form, found.values, others_of(found), against, answer.refusals, answer.lints,
        missing, answer.unasked, found.notes + tuple(stray_bytes(found)), found.at, found.page)
