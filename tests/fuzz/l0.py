# SPDX-License-Identifier: GPL-2.0-only
"""L0 before a fuzzer: the scene in numbers for l0.h, and both builds of it.

    l0.py build FOLDER        libFuzzer's program, from the C that setup.py has made: by clang
    l0.py unpack FOLDER       the kept inputs, a folder a surface
    l0.py keep FOLDER         keep the inputs of these folders instead
"""

import contextlib
import ctypes
import importlib.util
import pathlib
import subprocess
import sys
import sysconfig

import corpus

from world import BASE, FIELDS, GROUP_BITS, LAYOUT, REVISION, ROOT, TABLE

from kvm_vmx.l0 import hyperv
from kvm_vmx.l0.profile import build

HERE = pathlib.Path(__file__).parent
SURFACES = ("entry", "hypercall", "msr", "guest", "tables", "saved")
PROFILES = ("kvm-6.12", "tlfs-strict", "ice-lake")
# struct l0_contract
CONTRACT = ("partition_create", "partition_destroy", "l0_go_on", "vp_save", "vp_restore",
            "clock_migrate", "synic_signal", "trace_start", "root_start", "root_save",
            "root_restore", "root_run", "bus_answer")

MEMORY = 1 << 20
PAGES = dict(PML4=0x1000, PDPT=0x2000, PD=0x3000, BITMAP=0x5000, TSS=0x6000, GDT=0x7000, IDT=0x8000,
             VMXON=0x40000, VMCS=0x41000, EVMCS=0x44000, ASSIST=0x46000, CODE=0x50000,
             LISTS=0x60000, EPT=0x70000, PARAMETER=0x80000)
MSRS = (0x3A, 0x10, 0x1B, 0x48, 0x174, 0x175, 0x176, 0x1A0, 0x1D9, 0x277, 0x2FF, 0x38F,
        0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102,
        0xC0000103, *range(0x480, 0x492), *range(0x40000000, 0x40000004), 0x40000010, 0x40000020,
        0x40000021, 0x40000022, 0x40000023, *range(0x40000070, 0x40000074),
        *range(0x40000080, 0x40000085), *range(0x40000090, 0x400000A0),
        *range(0x400000B0, 0x400000B8), *range(0x40000100, 0x40000108), 0x40000118)


def _values():
    """BASE with its guest's code within this memory."""
    return BASE | {FIELDS["GUEST_RIP"]: PAGES["CODE"]}


def _memory():
    """What is in memory at first."""
    memory = bytearray(MEMORY)

    def put(gpa, value, size=8):
        memory[gpa:gpa + size] = value.to_bytes(size, "little")

    put(PAGES["PML4"], PAGES["PDPT"] | 7)
    put(PAGES["PDPT"], PAGES["PD"] | 7)
    put(PAGES["PD"], 0x87)
    for n, low in enumerate((0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00AFFB000000FFFF,
                             0x00CFF3000000FFFF, 0x00CF9B000000FFFF)):
        put(PAGES["GDT"] + 8 * n, low)
    for vector in range(256):
        handler = PAGES["CODE"] + 0x800
        put(PAGES["IDT"] + 16 * vector,
            handler & 0xFFFF | 8 << 16 | 0x8E << 40 | (handler >> 16 & 0xFFFF) << 48)
    memory[PAGES["CODE"] + 0x800:PAGES["CODE"] + 0x803] = b"\x0f\x01\xc1"
    for n in range(10):
        put(PAGES["TSS"] + 4 + 8 * n, 0xA000)
    put(PAGES["TSS"] + 102, 0x68, 2)
    memory[PAGES["CODE"]:PAGES["CODE"] + 2] = b"\x0f\xa2"
    put(PAGES["EPT"], PAGES["EPT"] + 0x1000 | 7)
    put(PAGES["EPT"] + 0x1000, PAGES["EPT"] + 0x2000 | 7)
    put(PAGES["EPT"] + 0x2000, PAGES["EPT"] + 0x3000 | 7)
    for n in range(256):
        put(PAGES["EPT"] + 0x3000 + 8 * n, n << 12 | 0x37)
    for page in (PAGES["VMXON"], PAGES["VMCS"], PAGES["VMCS"] + 0x1000):
        put(page, REVISION, 4)
    for n in range(2):
        page, assist = PAGES["EVMCS"] + (n << 12), PAGES["ASSIST"] + (n << 12)
        put(page, 1, 4)
        for encoding, member, _ in TABLE:
            if FIELDS[encoding] in BASE:
                put(page + LAYOUT[member][0], _values()[FIELDS[encoding]], LAYOUT[member][1])
        put(assist + 40, 1, 4)
        put(assist + 48, page)
    return bytes(memory)


def _pages(memory):
    """The image as C: a line of words a page that is not all zero."""
    for gpa in range(0, MEMORY, 4096):
        page = memory[gpa:gpa + 4096]
        if any(page):
            words = [int.from_bytes(page[n:n + 8], "little") for n in range(0, 4096, 8)]
            yield f"[{gpa // 8}] = " + ", ".join(f"{word:#x}" for word in words) + ","


def _profile(name):
    """(declarations, initializer) of a struct l0_profile."""
    profile, word = build(name), name.replace("-", "_").replace(".", "_")
    leaves = ", ".join(
        "{ %#x, %#x, %d, %#x, %#x, %#x, %#x }" % (function, index, indexed, *registers)
        for function, index, indexed, registers in profile.leaves())
    msrs = ", ".join("{ %#x, %#xull }" % pair for pair in sorted(profile.msrs.items()))
    policies = ", ".join(f".{name} = {value:d}" for name, value in profile.policies.items())
    return (f"static struct l0_cpuid_leaf {word}_leaf[] = {{ {leaves} }};\n"
            f"static struct l0_msr_value {word}_msr[] = {{ {msrs} }};",
            f"{{ .leaf = {word}_leaf, .nr_leaves = {len(profile.leaves())}, .msr = {word}_msr, "
            f".nr_msrs = {len(profile.msrs)}, .maxphyaddr = {profile.maxphyaddr}, "
            f".vmcs_revision = {profile.vmcs_revision:#x}, {policies}, "
            f".enforce_cpuid = {profile.enforce_cpuid:d} }}")


def scene():
    """scene.h: the machine in numbers."""
    profiles = [_profile(name) for name in PROFILES]
    fields = ", ".join(
        "{ %#x, %d, %d, %#x, %#xull }" % (FIELDS[encoding], *LAYOUT[member], (
            1 << GROUP_BITS[group] if group in GROUP_BITS else 0),
            _values().get(FIELDS[encoding], 0))
        for encoding, member, group in TABLE if FIELDS[encoding] >> 10 & 3 != 1)
    return "\n".join([
        *(f"#define {name}_PAGE {page:#x}" for name, page in PAGES.items()),
        f"#define EPTP_OFFSET {LAYOUT['ept_pointer'][0]}",
        f"#define PROC_OFFSET {LAYOUT['cpu_based_vm_exec_control'][0]}",
        f"#define PROC {BASE[FIELDS['CPU_BASED_VM_EXEC_CONTROL']]:#x}u",
        f"#define SECONDARY_OFFSET {LAYOUT['secondary_vm_exec_control'][0]}",
        f"#define CLEAN_FIELDS {LAYOUT['hv_clean_fields'][0]}",
        "struct scene_field { u32 encoding; u16 offset, size; u32 clean; u64 value; };",
        f"static const struct scene_field scene_fields[] = {{ {fields} }};",
        "#define NR_SCENE_FIELDS (sizeof(scene_fields) / sizeof(*scene_fields))",
        f"static const u32 scene_msrs[] = {{ {', '.join(map(hex, MSRS))} }};",
        "#define NR_SCENE_MSRS (sizeof(scene_msrs) / sizeof(*scene_msrs))",
        *(declared for declared, _ in profiles),
        f"static const struct l0_profile scene_profiles[] = {{ "
        f"{', '.join(text for _, text in profiles)} }};",
        "#define NR_SCENE_PROFILES (sizeof(scene_profiles) / sizeof(*scene_profiles))",
        f"static const u64 scene_memory[{MEMORY // 8}] = {{",
        *_pages(_memory()), "};", ""])


def compile_here(to):
    """Build l0.h for Python, with the scene beside it; where the result lies."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "scene.h").write_text(scene())
    target = to / "l0.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-g", "-std=gnu11", "-fwrapv", "-fno-strict-aliasing",
         "-I", str(ROOT), "-I", str(ROOT / "include"), "-I", str(to), "-pthread",
         "-x", "c", str(HERE / "l0.h"), "-o", str(target)], check=True)
    return target


def loaded(path):
    """Another L0, from a file of its own."""
    spec = importlib.util.spec_from_file_location(hyperv.__name__, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contract(module):
    """The addresses of the functions that l0.h calls, in its order."""
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = [module.__pyx_capi__[function] for function in CONTRACT]
    return (ctypes.c_void_p * len(CONTRACT))(
        *(pointer(capsule, name(capsule)) for capsule in capsules))


class Replayed:
    """An L0 under inputs of a fuzzer: the installed one unless told."""

    def __init__(self, library, module=hyperv):
        self.library = ctypes.CDLL(str(library))
        self.library.fuzz_one.restype = ctypes.c_uint64
        self.library.fuzz_one.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        assert self.library.fuzz_setup(contract(module)) == 0

    def one(self, surface, data):
        return self.library.fuzz_one(self.library.fuzz_surface(surface.encode()), data, len(data))

    @contextlib.contextmanager
    def storm(self):
        """Another thread stores into the machine's memory meanwhile."""
        assert self.library.fuzz_storm(1) == 0
        try:
            yield
        finally:
            self.library.fuzz_storm(0)


def build_fuzzer(to):
    """libFuzzer's program: L0 and l0.h under the sanitizers, with coverage."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "scene.h").write_text(scene())
    # sancov counts lines; the flags are those of setup.py as far as they change what C means
    common = ["clang", "-g", "-O1", "-std=gnu11", "-fwrapv", "-fno-strict-aliasing",
              "-fno-delete-null-pointer-checks", "-w", "-fno-sanitize-recover=undefined",
              "-I", str(ROOT), "-I", str(ROOT / "include"), "-I", str(to),
              "-I", sysconfig.get_path("include"),
              "-DCYTHON_INLINE=inline __attribute__((always_inline))", "-DFUZZER",
              *(f"-DCONFIG_{name}=1" for name in ("HYPERV", "JUMP_LABEL", "INSN_TRAP")),
              "-DCONTRACT=" + ", ".join(f'"{name}"' for name in CONTRACT)]
    made = []
    for source in (ROOT / "build/cython/kvm_vmx/l0/hyperv.c", HERE / "l0.h"):
        made.append(str(to / f"{source.stem}.o"))
        subprocess.run([*common, "-fsanitize=fuzzer-no-link,address,undefined", "-x", "c", "-c",
                        str(source), "-o", made[-1]], check=True)
    library = sysconfig.get_config_var("LIBDIR")
    subprocess.run(["clang", "-fsanitize=fuzzer,address,undefined", *made, f"-L{library}",
                    f"-Wl,-rpath,{library}", f"-lpython{sysconfig.get_python_version()}", "-lm",
                    "-o", str(to / "l0")], check=True)


def main(what, folder):
    """See above."""
    folder = pathlib.Path(folder)
    if what == "build":
        build_fuzzer(folder)
    for surface in SURFACES if what in ("unpack", "keep") else ():
        place = folder / surface
        place.mkdir(parents=True, exist_ok=True)
        if what == "keep":
            corpus.keep(surface, [path.read_bytes() for path in place.iterdir()])
            continue
        for n, data in enumerate(corpus.kept(surface)):
            (place / f"kept-{n}").write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
