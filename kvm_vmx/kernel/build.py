# SPDX-License-Identifier: GPL-2.0-only
"""Make an image of a tree's kvm.ko and kvm-intel.ko: configure, compile, link with stand-ins."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from kvm_vmx import host
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import source, toolchain

CACHE = "KVM_VMX_KERNEL_CACHE"
BASE = 0x60000000
MODULES = {"kvm": "kvm_", "kvm-intel": "intel_"}
KVM = "arch/x86/kvm"

# What the image cannot do without, and what it has no use for: each change of a configuration.
WANTED = ("-m KVM -m KVM_INTEL -e HYPERV -e PARAVIRT -e HYPERVISOR_GUEST -e DEBUG_INFO "
          "-e DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT -e XEN -e XEN_PV -e UNWINDER_FRAME_POINTER "
          "-d UNWINDER_ORC -d RETPOLINE -d STACK_VALIDATION -d STACKPROTECTOR -d SECURITY_SELINUX "
          "-d RETHUNK -d CPU_UNRET_ENTRY -d CPU_IBRS_ENTRY -d SLS -d X86_KERNEL_IBT -d CFI_CLANG "
          "-d OBJTOOL_WERROR -d WERROR -d MODVERSIONS -d KVM_AMD -d MITIGATION_RETPOLINE "
          "-d MITIGATION_RETHUNK -d CPU_MITIGATIONS -d SPECULATION_MITIGATIONS -d FTRACE "
          "-d KASAN -d GCC_PLUGINS -d CALL_PADDING -d X86_5LEVEL -d LIVEPATCH -d DEBUG_INFO_BTF "
          "-d SYSTEM_TRUSTED_KEYRING -d MODULE_SIG -d FUNCTION_TRACER -d PREEMPT_DYNAMIC "
          "-d MITIGATION_CALL_DEPTH_TRACKING -d X86_CET -d X86_USER_SHADOW_STACK")

# What the headers of a tree may have or not: the stand-ins are told, so that none asks a version.
PROBES = {
    "HAVE_KMEM_CACHE_ALLOC_TRACE": ("include/linux/slab.h", r"\bkmem_cache_alloc_trace\("),
    "HAVE_KMALLOC_CACHES": (
        "include/linux/slab.h", r"\bextern struct kmem_cache \*kmalloc_caches\[KMALLOC_SHIFT_HIGH"),
    "HAVE_JUMP_ENTRY_CODE": ("include/linux/jump_label.h", r"\bjump_entry_code\("),
    "HAVE_IRQ_STACK_UNION": ("arch/x86/include/asm/processor.h", r"\bunion irq_stack_union\b"),
    "HAVE_PCPU_HOT": ("arch/x86/include/asm/current.h", r"\bstruct pcpu_hot\b"),
    "HAVE_ON_EACH_CPU": ("include/linux/smp.h", r"\bint on_each_cpu\("),
    "HAVE_FPU_INTERNAL": ("arch/x86/include/asm/fpu/internal.h", r"\S"),
    "HAVE_CRASH_VMCLEAR": ("arch/x86/include/asm/kexec.h", r"\bcrash_vmclear_loaded_vmcss\b"),
    "HAVE_ADDR_LIMIT": ("arch/x86/include/asm/processor.h", r"\baddr_limit\b"),
    "HAVE_FAST_ONLY": ("include/linux/mm.h", r"\bint get_user_pages_fast_only\("),
    "HAVE_CLEAR_USER_INLINE": (
        "arch/x86/include/asm/uaccess_64.h", r"\bstatic .*unsigned long __clear_user\("),
    "HAVE_ALLOC_WORKQUEUE": (
        "include/linux/workqueue.h", r"(?m)^alloc_workqueue\(const char|\*alloc_workqueue\("),
    "HAVE_PERF_CALLBACKS_INT": (
        "include/linux/perf_event.h", r"\bint perf_register_guest_info_callbacks\(struct"),
    "HAVE_PERF_MSRS_DATA": (
        "arch/x86/include/asm/perf_event.h", r"\bperf_guest_get_msrs\(int \*nr, void"),
    "HAVE_COUNTERS_MANY": (
        "include/linux/percpu_counter.h", r"\bpercpu_counter_destroy_many\("),
    "HAVE_STATIC_KEY_BOOL": ("include/linux/jump_label.h", r"\bbool static_key_slow_inc\("),
    "HAVE_FIND_BIT_INLINE": ("include/linux/find.h", r"\b_find_first_bit\("),
    "HAVE_COND_RESCHED": ("include/linux/sched.h", r"\bint _cond_resched\(void\);"),
    "HAVE_HYPERV_ONLINE": ("include/linux/cpuhotplug.h", r"\bCPUHP_AP_HYPERV_ONLINE\b"),
    "HAVE_NESTED_CONTROL": ("arch/x86/include/asm/hyperv-tlfs.h", r"\bnested_control;"),
    "HAVE_NOPROF": ("include/linux/slab.h", r"\bkmem_cache_alloc_noprof\("),
    "HAVE_CACHE_ARGS": ("include/linux/slab.h", r"\b__kmem_cache_create_args\("),
    "HAVE_SECTION_EARLY": ("include/linux/mmzone.h", r"\bSECTION_IS_EARLY\b"),
    "HAVE_KVM_STATIC_CALLS": ("arch/x86/include/asm/kvm_host.h", r"\bstatic_call"),
    "HAVE_VHOST_TASK": ("include/linux/sched/vhost_task.h", r"\bvhost_task_create\(bool"),
    "HAVE_SHRINKER_NAMES": ("include/linux/shrinker.h", r"__printf\(2, 3\) register_shrinker\("),
    "HAVE_EX_HANDLER": ("arch/x86/include/asm/extable.h", r"\bint insn, fixup, handler\b"),
    "HAVE_SYSCORE_DATA": ("include/linux/syscore_ops.h", r"\bregister_syscore\("),
    "HAVE_EMERGENCY_CALL": (
        "arch/x86/include/asm/reboot.h", r"\bvoid cpu_emergency_register_virt_callback\("),
    "HAVE_NOTIFIER_RANGE": (
        "include/linux/mmu_notifier.h", r"\binvalidate_range_start\)\([^;]*mmu_notifier_range \*"),
    "HAVE_FLUSH_RANGE": (
        "arch/x86/include/asm/mshyperv.h", r"\bint hyperv_flush_guest_mapping_range\("),
    "HAVE_KEXEC_LEAVES_ASSIST": (
        "arch/x86/kernel/cpu/mshyperv.c", r"if \(kexec_in_progress\b[^;]*cpuhp_remove_state\("),
    "HAVE_HYPERV_RESUME": ("arch/x86/hyperv/hv_init.c", r"\bvoid hv_resume\("),
    "HAVE_GENERIC_STATS": ("arch/x86/include/asm/kvm_host.h", r"\bkvm_vm_stat_generic generic;"),
    "HAVE_PV_CPU_OPS": ("arch/x86/include/asm/paravirt_types.h", r"\bextern struct pv_cpu_ops\b"),
}

# KASAN as a kernel has it, by calls, which the stand-ins answer; of stacks and globals none asks.
SANITIZE = ("-fsanitize=kernel-address --param=asan-instrumentation-with-call-threshold=0 "
            "--param=asan-stack=0 --param=asan-globals=0 -DSTANDIN_SANITIZED")
# What answers, and what has memory that nobody else has, does not ask.
UNASKING = ("kasan", "memory", "lib", "trap")

# What user space may execute, and what it finds there is this process's, not L1's.
SILENT = "sidt|sgdt|sldt|str|smsw|xgetbv|cpuid|rdpid|popf|popfq|lar|lsl|verr|verw"

# What the tree's own library has, where its KVM asks for it: {a symbol: the object}.
LIBRARY = {"rb_insert_color": "lib/rbtree.o", "interval_tree_insert": "lib/interval_tree.o",
           "xa_store": "lib/xarray.o", "sort": "lib/sort.o"}

Report = Callable[[str], object]


def cache() -> Path:
    """Where what was built is kept: the environment's KVM_VMX_KERNEL_CACHE, or the user's own."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    return host.cache() / "kernel"


def standins() -> dict[str, str]:
    """{name: text} of the stand-ins for vmlinux."""
    room = files("kvm_vmx.kernel") / "standins"
    return {item.name: item.read_text() for item in sorted(room.iterdir(), key=lambda i: i.name)
            if item.name.endswith((".c", ".h", ".lds"))}


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _make(tree: Path, log: Path, *what: str, flags: str = "") -> str:
    """The tree's own make. An old tree's host programs count on common symbols, a newer compiler
    warns where it was not asked to."""
    return toolchain.run(
        ["make", f"-j{os.cpu_count() or 1}", "HOSTCFLAGS=-fcommon",
         f"KCFLAGS=-w -fno-pie {flags}".strip(), *what],
        tree, log, os.environ | {"KBUILD_BUILD_TIMESTAMP": "0", "LC_ALL": "C"})


def _configure(tree: Path, config: str | None, log: Path) -> None:
    if config is None:
        _make(tree, log, "x86_64_defconfig")
    else:
        shutil.copyfile(config, tree / ".config")
    toolchain.run(["scripts/config", *WANTED.split()], tree, log)
    _make(tree, log, "olddefconfig")


def _compile(tree: str, config: str | None, to: Path, report: Report) -> None:
    """kvm.o and kvm-intel.o, in a copy of the tree that stays for the stand-ins."""
    log = to / "log"
    copy = to / "tree"
    report("copying the tree")
    source.copy(tree, copy)
    report("configuring it")
    _configure(copy, config, log)
    report("preparing it")
    _make(copy, log, "prepare", "modules_prepare")
    report("compiling kvm.o and kvm-intel.o")
    _make(copy, log, f"{KVM}/")
    for name in MODULES:
        if not (copy / KVM / f"{name}.o").exists():
            raise BuildError(f"the tree's makefiles made no {name}.o: see {log}")
    (to / "compiled").touch()


def _probes(tree: Path) -> str:
    found = ["/* SPDX-License-Identifier: GPL-2.0-only */", "/* What this tree's headers have. */"]
    for name, (header, pattern) in PROBES.items():
        path = tree / header
        if path.exists() and re.search(pattern, path.read_text(errors="replace")):
            found.append(f"#define {name} 1")
    return "\n".join(found) + "\n"


def _symbols(objects: list[Path], kind: str, log: Path) -> set[str]:
    said = toolchain.run(["nm", kind, *map(str, objects)], objects[0].parent, log)
    return {line.split()[-1] for line in said.splitlines()
            if line.strip() and not line.endswith(":")}


def _stop(names: list[str]) -> str:
    """Assembly in which every symbol that nobody defines says its name and ends the kernel."""
    lines = ['.text', '.globl standin_missing_names']
    for name in names:
        lines += [f".globl {name}", f".type {name}, @function",
                  f"{name}: lea .L_{name}(%rip), %rdi", "jmp standin_missing",
                  ".pushsection .rodata", f'.L_{name}: .asciz "{name}"', ".popsection"]
    return "\n".join(lines) + "\n"


def _link(to: Path, copy: Path, report: Report, flags: str = "") -> Path:
    """Compile the stand-ins by the tree's own makefiles and link all into one image."""
    log, room = to / "log", to / "standins"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    texts = standins()
    for name, text in texts.items():
        (room / name).write_text(text)
    (room / "probes.h").write_text(_probes(copy))
    names = [name.replace(".c", ".o") for name in texts if name.endswith(".c")]
    (room / "Kbuild").write_text("\n".join(
        [f"obj-y := {' '.join(names)}",
         *(f"CFLAGS_{name}.o := -fno-sanitize=kernel-address" for name in UNASKING), ""]))
    report("compiling the stand-ins")
    _make(copy, log, f"M={room}", *names, flags=flags)
    objects = [room / name for name in names]
    for name, prefix in MODULES.items():
        objects.append(room / f"{name}.mod.o")
        toolchain.run(
            ["objcopy", "--redefine-sym", f"init_module={prefix}init_module",
             "--redefine-sym", f"cleanup_module={prefix}cleanup_module",
             str(copy / KVM / f"{name}.o"), str(objects[-1])], room, log)
    undefined = _symbols(objects, "-u", log)
    wanted = [name for symbol, name in LIBRARY.items() if symbol in undefined]
    if wanted:
        report(f"compiling {', '.join(wanted)}")
        _make(copy, log, *wanted, flags=flags)
        objects += [copy / name for name in wanted]
    report("linking the image")
    by_script = set(re.findall(r"\b(\w+) = \.;", texts["image.lds"])) | {"kvm_init_module",
                                                                        "kvm_cleanup_module"}
    missing = sorted(_symbols(objects, "-u", log) - by_script
                     - _symbols(objects, "--defined-only", log))
    (room / "missing.S").write_text(_stop(missing))
    (room / "missing").write_text("\n".join(missing) + "\n")
    toolchain.run(["gcc", "-c", "-o", "missing.o", "missing.S"], room, log)
    script = room / "linked.lds"
    script.write_text(texts["image.lds"].replace("IMAGE_BASE", hex(BASE)))
    image = room / "image"
    toolchain.run(["ld", "-static", "-nostdlib", "-z", "noexecstack", "--no-warn-mismatch",
                   "-T", str(script), "-o", str(image), "missing.o", *map(str, objects)], room, log)
    return image


def _sites(image: Path, log: Path) -> str:
    """A line each instruction of the image that user space executes without a trap."""
    said = toolchain.run(["objdump", "-d", "--insn-width=16", str(image)], image.parent, log)
    return "".join(f"{hit[3]} {hit[1]} {hit[2].replace(' ', '')}\n" for hit in re.finditer(
        rf"^ *([0-9a-f]+):\t((?:[0-9a-f]{{2}} )+) *\t({SILENT})\b", said, re.M))


def place(tree: str, config: str | None = None) -> tuple[Path, Path]:
    """(the folder in the cache, the image in it) of TREE, made or not."""
    top = cache()
    if config is not None and not os.path.isfile(config):
        raise BuildError(f"no configuration {config!r}: give a file as .config is")
    settings = None if config is None else Path(config).read_text(errors="replace")
    to = top / _digest(source.key_of(tree, top / "stamps"), settings, WANTED)
    return to, to / f"image-{_digest(standins(), BASE, PROBES, SILENT, LIBRARY, UNASKING)}"


def is_compiled(tree: str) -> bool:
    """Whether the cache has the objects of TREE, so that an image takes seconds."""
    if not any(cache().glob("*/compiled")):
        # a whole tree need not be read to know
        return False
    return (place(tree)[0] / "compiled").exists()


def build(tree: str, config: str | None = None, report: Report = lambda what: None, *,
          sanitize: bool = False) -> Path:
    """The image of TREE (a directory, a tarball or GITDIR@REV), made where it is not in the cache.
    One that is sanitized asks before each access of memory whether somebody has it.

    BuildError in one line for whatever goes wrong; the log beside the image has all of it.
    """
    if sanitize:
        return patched(tree, config, {}, report, sanitize=True)
    with source.read_once(tree):
        to, image = place(tree, config)
        if image.exists():
            return image
        toolchain.check()
        with _alone(to):
            if not image.exists():
                _compiled(tree, config, to, report)
                _linked(to, image, report)
    return image


@contextlib.contextmanager
def _alone(to: Path) -> Iterator[None]:
    """One process at a time makes what is in a folder of the cache."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{to}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compiled(tree: str, config: str | None, to: Path, report: Report) -> None:
    if not (to / "compiled").exists():
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        _compile(tree, config, to, report)


def _linked(to: Path, image: Path, report: Report, flags: str = "") -> Path:
    linked = _link(to, to / "tree", report, flags)
    Path(f"{image}.sites").write_text(_sites(linked, to / "log"))
    os.replace(linked, image)
    return image


def patched(tree: str, config: str | None, texts: Mapping[str, str],
            report: Report = lambda what: None, *, sanitize: bool = False) -> Path:
    """The image of TREE with some files changed, {path: text}: what make compiles again of the
    objects that are there. The objects go once it is linked: a patch is tried and left.

    BuildError as of build().
    """
    base, image = place(tree, config)
    flags = (SANITIZE,) if sanitize else ()
    to = cache() / _digest(base.name, sorted(texts.items()), *flags)
    image = to / image.name
    if image.exists():
        return image
    toolchain.check()
    with _alone(base):
        _compiled(tree, config, base, report)
    with _alone(to):
        return image if image.exists() else _patched(base, image, texts, report, *flags)


def _patched(base: Path, image: Path, texts: Mapping[str, str], report: Report,
             flags: str = "") -> Path:
    to = image.parent
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    log, copy = to / "log", to / "tree"
    try:
        report("copying what is compiled")
        shutil.copytree(base / "tree", copy, symlinks=True)
        for path, text in texts.items():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_text(text, errors="surrogateescape")
        if any(Path(path).name.startswith("Kconfig") for path in texts):
            _make(copy, log, "olddefconfig")
        report("compiling what changes")
        _make(copy, log, "prepare", "modules_prepare")
        _make(copy, log, f"{KVM}/", flags=flags)
        return _linked(to, image, report, flags)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def text_of(tree: str, config: str | None, path: str, report: Report = lambda what: None
            ) -> str | None:
    """A file of TREE, from the copy that it was built in; None where it has none or none is
    needed."""
    base, _ = place(tree, config)
    with _alone(base):
        _compiled(tree, config, base, report)
    top = (base / "tree").resolve()
    file = top / path
    if top not in file.resolve().parents or not file.is_file():
        return None
    return file.read_text(errors="surrogateescape")
