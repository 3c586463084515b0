# SPDX-License-Identifier: GPL-2.0-only
"""What somebody gives to decode: a page, a text, a memory image; each VMCS that is in it."""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kvm_vmx.decode.dumps import ENDED, read_dumps
from kvm_vmx.decode.hexdump import read_hex
from kvm_vmx.decode.listed import read_listed
from kvm_vmx.decode.layouts import EVMCS_VERSION, PAGE, VMCS12_REVISION
from kvm_vmx.decode.pages import FORMS, form_of, is_vmcs, likeness, values_of

# Makes, of an image's size, what is told how far the search is.
Progress = Callable[[int], Callable[[int], None]] | None

LONGEST_TEXT = 64 << 20
SAMPLE = 64 << 10
CHUNK = 4 << 20             # of an image at a time
MOST_PAGES = 4096           # of an image: a file that is made to look like more is none
FIRST_WORDS = tuple(word.to_bytes(4, "little")
                    for word in (EVMCS_VERSION, VMCS12_REVISION, VMCS12_REVISION | 1 << 31))
# What other files of a host have.
HOST_CPUID = re.compile(r"\beax=0x[0-9a-f]+ ebx=0x", re.I)
OF_A_HOST = re.compile(r"Hyper-V: |enlightened_vmcs[:=]|kvm: (?:no|Nested)")
CURE = ("give a page of 4096 bytes, its hex dump, what dump_vmcs() prints, a list of fields by "
        "encoding or name, or a memory image")


@dataclass(frozen=True)
class FoundPage:
    """A VMCS, or an assist page, as it stands in a source: at is its offset in an image, or the
    line of a text, from 1; None where the source is no more than it."""

    form: str
    values: dict[str, int]
    page: bytes = b""
    at: int | None = None
    notes: tuple[str, ...] = field(default=())



def from_bytes(data: bytes, form: str | None = None) -> list[FoundPage]:
    """What some bytes are: a page, a text or an image, by what they hold."""
    text = as_text(data) if form != "image" else None
    if text is not None:
        return from_text(text, form)
    if len(data) <= PAGE or form in FORMS:
        return [of_page(data, form)]
    found = list(pages_of(lambda at, size: data[at:at + size], [(0, len(data))]))
    return _some(found)


def _some(found: list[FoundPage]) -> list[FoundPage]:
    if not found:
        raise ValueError(f"no VMCS at any multiple of {PAGE} of this image: give the memory of an "
                         "L1 as it is, from a page's beginning on")
    return found


def as_text(data: bytes) -> str | None:
    """The text that bytes are, None where they are something else."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")      # a PowerShell's
    if b"\0" in data or not data:
        return None
    odd = sum(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in data[:SAMPLE])
    return None if odd * 10 > min(len(data), SAMPLE) else data.decode("utf-8", "replace")


def from_text(text: str, form: str | None = None) -> list[FoundPage]:
    """The dumps of a log, the fields that it lists, or the page that a hex dump shows."""
    if form in (None, "dump"):
        dumps = read_dumps(text)
        if dumps:
            return [FoundPage("dump", one.values, at=one.line if len(dumps) > 1 else None,
                              notes=one.notes) for one in dumps]
        if form == "dump":
            raise ValueError("no line of dump_vmcs() in this text: give what it prints")
    listed = read_listed(text) if form is None else []
    if listed:
        return [FoundPage("fields", one.values, at=one.line if len(listed) > 1 else None,
                          notes=one.notes) for one in listed]
    readings = [] if HOST_CPUID.search(text) else read_hex(text)
    if not readings:
        raise ValueError(_nothing_in(text))
    best = max(readings, key=lambda data: max(likeness(data[:PAGE]).values()))
    if len(best) > PAGE:
        return from_bytes(best, form)
    return [of_page(best, form)]


def _nothing_in(text: str) -> str:
    """Why a text has nothing to decode: it may be what another command reads."""
    if HOST_CPUID.search(text):
        return ("this is a host's CPUID: give it with --cpuid, to have a VMCS judged for that host")
    if ended := ENDED.search(text):
        return (f"the log says {' '.join(ended[0].split())}, and has no dump: load kvm_intel with "
                "dump_invalid_vmcs=1 (before v5.2 it is always dumped) and give the log again")
    if OF_A_HOST.search(text):
        return f"this tells of a host, and has no VMCS: {CURE}"
    return f"neither a dump nor hexadecimal: {CURE}"


def of_page(data: bytes, form: str | None = None) -> FoundPage:
    """A page as what it looks like, or as what it is said to be; ValueError."""
    if form is not None and form not in FORMS:
        raise ValueError(f"a page cannot be a {form!r}: give {', '.join(FORMS)}")
    if len(data) < 64:
        raise ValueError(f"{len(data)} bytes are no page: {CURE}")
    if not any(data):
        raise ValueError(f"{len(data)} bytes, all of them 0: {CURE}")
    chosen = form or form_of(data)
    if not chosen:
        raise ValueError("this page looks neither like a VMCS nor like an assist page: say what "
                         f"it is (--form {', '.join(FORMS)}), or {CURE}")
    notes = [] if len(data) >= PAGE else [f"{len(data)} of the page's {PAGE} bytes are given"]
    return FoundPage(chosen, values_of(chosen, data), data, notes=tuple(notes))


def pages_of(read: Callable[[int, int], bytes], extents: list[tuple[int, int]],
             report: Callable[[int], None] = lambda done: None) -> Iterator[FoundPage]:
    """The VMCS pages of an image, whose extents have data; the rest of it is holes. Memory for a
    chunk at a time is all that this takes."""
    seen = 0
    for start, end in extents:
        for at in range(start - start % PAGE, end, CHUNK):
            chunk = memoryview(read(at, min(CHUNK, end - at)))
            for offset in _candidates(chunk):
                page = bytes(chunk[offset:offset + PAGE])
                form = form_of(page) if is_vmcs(page) else ""
                if form and form != "assist":
                    seen += 1
                    notes = (f"the search ends after {MOST_PAGES} of them",) * (seen == MOST_PAGES)
                    yield FoundPage(form, values_of(form, page), page, at + offset, notes)
                    if notes:
                        return
            report(at + len(chunk))


def _candidates(chunk: memoryview) -> list[int]:
    """Where in a chunk a page begins with a VMCS's first word."""
    whole = len(chunk) - len(chunk) % PAGE
    words = chunk[:whole].cast("I")[::PAGE // 4].tobytes()
    found = []
    for word in FIRST_WORDS:
        at = words.find(word)
        while at >= 0:
            if at % 4 == 0:
                found.append(at // 4 * PAGE)
            at = words.find(word, at + 1)
    return sorted(found)


def extents_of(handle: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data, as the file system says; all of it where it does not."""
    found, at = [], 0
    try:
        while at < size:
            start = os.lseek(handle, at, os.SEEK_DATA)
            at = os.lseek(handle, start, os.SEEK_HOLE)
            found.append((start, at))
    except OSError as error:
        if found or error.errno == 6:       # ENXIO: no more data
            return found
        return [(0, size)]
    return found


def from_file(path: str, form: str | None = None,
              progress: Progress = None) -> list[FoundPage]:
    """What a file holds; ValueError, in one line, where that is nothing of this kind."""
    if path == "-":
        return from_bytes(_limited(sys.stdin.buffer.read(LONGEST_TEXT + 1)), form)
    try:
        # nothing that could block or never end is read
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ValueError(f"{getattr(error, 'strerror', None) or error}: give a file that can be "
                         "read") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a regular file: give one, or - for standard input")
        binary = as_text(os.pread(handle, SAMPLE, 0)) is None
        if form == "image" or about.st_size > PAGE and binary:
            return _of_image(handle, about.st_size, form, progress)
        return from_bytes(_limited(_whole(handle)), form)
    except OSError as error:
        raise ValueError(f"{error.strerror}: give a file that can be read") from None
    finally:
        os.close(handle)


def _of_image(handle: int, size: int, form: str | None, progress: Progress) -> list[FoundPage]:
    if form not in (None, "image"):
        return [of_page(os.pread(handle, PAGE, 0), form)]
    report = progress(size) if progress else lambda done: None
    return _some(list(pages_of(
        lambda at, length: os.pread(handle, length, at), extents_of(handle, size), report)))


def _whole(handle: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        return file.read(LONGEST_TEXT + 1)


def _limited(data: bytes) -> bytes:
    if len(data) > LONGEST_TEXT:
        raise ValueError(f"more than {LONGEST_TEXT >> 20} MiB of text: give the part with the dump")
    return data
