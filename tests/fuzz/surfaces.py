# SPDX-License-Identifier: GPL-2.0-only
"""The surfaces of Python that take what others wrote, each as a function of bytes: what is refused
is refused by a ValueError of one line, and nothing else goes wrong."""

import contextlib
import functools
import pathlib
import struct

from kvm_vmx import KernelBug, Machine, MachineError
from kvm_vmx.compare import mail
from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.layout import field_table, layout
from kvm_vmx.compare.patch import Comparison
from kvm_vmx.compare.patch_lines import sides
from kvm_vmx.compare.port import Port
from kvm_vmx.console import Trouble
from kvm_vmx.l0.cpuid_dump import parse_cpuid
from kvm_vmx.l0.profile import build

REFUSED = (ValueError, TypeError, OverflowError, IndexError, KeyError, AttributeError, OSError,
           MachineError, KernelBug, MemoryError)


@contextlib.contextmanager
def refused(*kinds):
    """What is raised in here is one line of these kinds."""
    try:
        yield
    except kinds as error:
        assert "\n" not in str(error) and len(str(error)) < 1000, error


def profile(data, folder):
    """A profile's file."""
    path = pathlib.Path(folder, "mine.toml")
    path.write_bytes(data)
    with refused(ValueError):
        build(str(path)).leaves()


def dump(data, folder):
    """A host's `cpuid -r`."""
    with refused(ValueError):
        parse_cpuid(data.decode(errors="replace"))
    path = pathlib.Path(folder, "mine.txt")
    path.write_bytes(data)
    with refused(ValueError):
        build(str(path)).leaves()


class Tree:
    """A kernel's sources of one file."""

    def __init__(self, text):
        self.files = {"arch/x86/include/asm/hyperv-tlfs.h": text}

    def file(self, path):
        return CFile(path, self.files[path])

    present = file


def source(data, folder):
    """A file of a kernel's sources."""
    text = data.decode(errors="replace")
    read = CFile("arch/x86/kvm/vmx.c", text)
    for kind in ("function", "table"):
        for name in read.names(kind):
            read.function(name)
    tree = Tree(text)
    field_table(tree)
    layout(tree)


@functools.cache
def port():
    """The port, which patches are held against."""
    return Port()


def patch(data, folder):
    """A mail, a mailbox or the output of git format-patch, held against the port."""
    path = pathlib.Path(folder, "mine.mbox")
    path.write_bytes(data)
    with refused(Trouble):
        patches = mail.read(str(path))
        for one in patches:
            for hunk in one.hunks:
                sides(hunk)
        Comparison(patches, port(), None)


_open = []


def machine():
    """A machine that stays open from input to input, until the kernel has hit a BUG."""
    if _open and (not _open[0]._kernel.booted or _open[0].oopsed):
        _open.pop().close()
    if not _open:
        _open.append(Machine(cpus=2, memory=1 << 24))
    return _open[0]


def close():
    """Close what machine() has left open."""
    while _open:
        _open.pop().close()


def api(data, folder):
    """Calls of the public objects: three bytes choose one, eight are a number."""
    here = machine()
    module = here.module or here.insmod()
    found = [here, module, here.memory, here.cpu(0), here.cpu(1)]
    values = (None, True, -1, 1 << 64, 1.5, "x", b"", "GUEST_RIP", 0x1000, 8, b"\xf4")
    for choice, which, shape, number in struct.iter_unpack("<BBBq", data[:len(data) // 11 * 11]):
        target = found[choice % len(found)]
        names = [name for name in dir(target) if not name.startswith("_") and name not in (
            "close", "run", "vmlaunch", "vmresume", "go_on", "alloc", "hand_out_by")]
        name = names[which % len(names)] if names else "__repr__"
        arguments = [number if shape >> 4 + n & 1 else values[(number >> 8 * n) % len(values)]
                     for n in range(shape & 3)]
        with refused(*REFUSED):
            attribute = getattr(target, name)
            if callable(attribute):
                result = attribute(*arguments)
                if type(result).__module__.startswith("kvm_vmx") and len(found) < 40:
                    found.append(result)
            elif arguments and hasattr(getattr(type(target), name, None), "__set__"):
                setattr(target, name, arguments[0])
    for point in ("page", "kmalloc", "vmalloc", "mprotect", "msr", "hypercall"):
        here.fail(point, 0)
    here.preempt(0)
    for vm in list(here._kernel.vms):
        with refused(*REFUSED):
            vm.destroy()


SURFACES = {"profile": profile, "dump": dump, "source": source, "patch": patch, "api": api}
# What an input of theirs begins as, and is made of.
SEEDS = {
    "profile": [b'base = "kvm-6.12"\nmaxphyaddr = 39\n[cpuid.0x4000000a]\neax = 0x0101\n'
                b'source = "a"\n[cpuid.0x4.1]\neax = 1\n[msr.0x485]\nvalue = 0x401e5\n'
                b"[policy]\nhonour_msr_lists = true\n"],
    "dump": [b"CPU 0:\n   0x00000000 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e "
             b"edx=0x49656e69\n   0x40000000 0x00: eax=0x4000000a ebx=0 ecx=0 edx=0\n"],
    "source": [b"#if IS_ENABLED(CONFIG_HYPERV)\nstatic int f(u64 x)\n{\n\tif (x & 1)\n\t\treturn "
               b"-1;\n\tfor (;;) { g(x); break; }\n\tswitch (x) { case 1: default: ; }\n}\n#else\n"
               b"static const u16 t[] = { [1] = FIELD(GUEST_RIP), 2 };\n#endif\n",
               b"struct hv_enlightened_vmcs {\n\tu32 revision_id;\n\tu64 a[4];\n\tstruct { u32 b:1;"
               b" u32 c:31; } __packed d;\n} __packed;\nEVMCS1_FIELD(GUEST_RIP, guest_rip, X)"],
    "patch": [b"From: A <a@b.c>\nSubject: [PATCH] x86\n\n>> --- a/arch/x86/kvm/vmx.c\n"
              b">> +++ b/arch/x86/kvm/vmx.c\n>> @@ -1,3 +1,4 @@ static void evmcs_load(u64 a)\n"
              b">>  {\n"
              b">> -\tg(a);\n>> +\tif (a)\n>> +\t\tg(a);\n>>  }\n> Why?\nNo reason.\n"],
    "api": [struct.pack("<BBBq", n % 7, 37 * n % 251, 0x31 + n % 3, n) * 3 for n in range(40)],
}
WORDS = [b"[", b"]", b"{", b"}", b"(", b")", b"=", b'"', b"\n", b"#if ", b"#endif\n", b"/*", b"*/",
         b"\\", b"0x", b"ffffffff", b"eax", b"value", b"msr", b"cpuid", b"policy", b"base", b"\0",
         b"\xff", b"case ", b"if (", b"else ", b"do ", b"while (", b"return ", b";", b",", b"::",
         b"<<", b"? :", b"> ", b"+", b"-", b"@@ -1,2 +3,4 @@ ", b"--- a/", b"+++ b/", b"From ",
         b"wrote:\n", b"struct ", b"1e9", b"true", b"\x1b[2J", b"=3D", b"CPU 1:\n", b"'''"]
