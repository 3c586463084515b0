# SPDX-License-Identifier: GPL-2.0-only
"""The static-branch sites of an image, as its own jump table has them."""

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvm_vmx.kernel.image import Image

NOP, JMP, SHORT_JMP = "nop", 0xE9, 0xEB


class ImageSite(ctypes.Structure):
    """struct standin_site."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("code", "target", "key", "likely", "size")]


def of_image(image: "Image") -> list[dict[str, Any]]:
    """One dict a site, in the order of the table."""
    count = image.call("standin_sites", 0, 0)
    table = (ImageSite * count)()
    image.call("standin_sites", ctypes.addressof(table), count)
    names = image.elf.variables
    found = []
    for site in table:
        code = ctypes.string_at(site.code, site.size)
        function = (image.elf.function(site.code) or hex(site.code)).partition("+")[0]
        found.append({
            "key": names.get(site.key, hex(site.key)), "function": function,
            "address": site.code, "target": site.target, "likely": bool(site.likely),
            "bytes": code, "state": "jmp" if code[0] in (JMP, SHORT_JMP) else NOP})
    return found
