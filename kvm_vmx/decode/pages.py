# SPDX-License-Identifier: GPL-2.0-only
"""What a page is: an enlightened VMCS, a plain one of KVM's or of this L0's, an assist page."""

from kvm_vmx.decode.layouts import (
    ASSIST, EVMCS_SIZE, EVMCS_VERSION, PAGE, VMCS12_REVISION, Place, evmcs, of_plain, vmcs12)

FORMS = ("evmcs", "vmcs12", "vmcs", "assist")
# Controls that no processor lets be 0 (SDM 3D A.3 to A.5): what every VMCS that was entered has.
ALWAYS = {"PIN_BASED_VM_EXEC_CONTROL": 0x16, "CPU_BASED_VM_EXEC_CONTROL": 0x4006172,
          "VM_EXIT_CONTROLS": 0x36DFB, "VM_ENTRY_CONTROLS": 0x11FB}
NO_PAGE = (1 << 64) - 1
# Of how many signs a page of this form must have so many.
SIGNS_NEEDED = 3


def signs(places: dict[str, Place], page: bytes) -> int:
    """How much speaks for a VMCS with these places: 0 to 8."""
    found = sum(places[name].of(page) & bits == bits for name, bits in ALWAYS.items())
    found += places["GUEST_RFLAGS"].of(page) & ~0x3F7FD5 == 2
    found += places["HOST_CR0"].of(page) & 0x80000001 == 0x80000001
    found += places["VMCS_LINK_POINTER"].of(page) == NO_PAGE
    return found + (places["HOST_CS_SELECTOR"].of(page) != 0)


def fields_of(places: dict[str, Place], page: bytes) -> dict[str, int]:
    """The fields that stand in what is given of the page."""
    return {name: place.of(page) for name, place in places.items()
            if place.offset + place.size <= len(page)}


def is_vmcs(page: bytes) -> bool:
    """Is this page of an image a VMCS? Its first word alone, which much begins with, is no sign."""
    places = evmcs() if page[:4] == EVMCS_VERSION.to_bytes(4, "little") else vmcs12()
    return max(signs(places, page), signs(evmcs(), page)) >= SIGNS_NEEDED


def likeness(page: bytes) -> dict[str, int]:
    """How much a page looks like each form, from 0; a known first word counts much."""
    first = int.from_bytes(page[:4], "little")
    known = first & 0x7FFFFFFF == VMCS12_REVISION
    found = {
        "evmcs": signs(evmcs(), page) + 4 * (first == EVMCS_VERSION),
        "vmcs12": signs(vmcs12(), page) + 4 * known,
        "assist": _assist_signs(page),
    }
    if known:
        # the layout of this L0 begins like an eVMCS
        found["vmcs"] = signs(evmcs(), page) + 4
        found["evmcs"] = 0
    return found


def _assist_signs(page: bytes) -> int:
    """8 for an assist page that names an eVMCS, less for one that does not."""
    values = {name: int.from_bytes(page[offset:offset + size], "little")
              for offset, size, name in ASSIST}
    pointer = values["current_nested_vmcs"]
    if values["enlighten_vmentry"] > 1 or any(page[41:48]) or any(page[57:64]):
        return 0
    if pointer & 0xFFF and pointer < NO_PAGE - 1 or any(page[640:]):
        return 0
    return 8 if pointer and values["enlighten_vmentry"] else 5 if pointer else 0


def form_of(page: bytes) -> str:
    """The form of a page, "" where it looks like none."""
    if len(page) < EVMCS_SIZE // 2 or not any(page):
        return ""
    found = likeness(page)
    best = max(found, key=lambda form: found[form])
    return best if found[best] >= SIGNS_NEEDED else ""


def values_of(form: str, page: bytes) -> dict[str, int]:
    """The VMCS fields of a page of this form; none of an assist page."""
    if form == "assist":
        return {}
    if form == "vmcs":
        return of_plain(page[:PAGE])
    return fields_of(evmcs() if form == "evmcs" else vmcs12(), page)
