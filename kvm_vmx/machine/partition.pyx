# SPDX-License-Identifier: GPL-2.0-only
"""The emulated Hyper-V from Python: physical memory, a partition, its processors as hardware."""

from libc.errno cimport errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strerror
from cpython.bytes cimport PyBytes_FromStringAndSize
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close, ftruncate

from kvm_vmx.abi.hyperv_tlfs cimport hv_enlightened_vmcs
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport *
from kvm_vmx.l0.partition cimport partition_create, partition_destroy
from kvm_vmx.l0.state cimport *

from kvm_vmx.l0.profile import build
from kvm_vmx.machine.outcome import Fault, Outcome, VMfailInvalid, VMfailValid, VMsucceed

cdef extern from "sys/mman.h" nogil:
    enum:
        MAP_NORESERVE
        MFD_CLOEXEC
    int memfd_create(const char *name, unsigned int flags)

cdef extern from *:
    """
    static const char *const l0_counter_names[] = {
    #define L0_COUNTER_NAME(name) #name,
    L0_COUNTERS(L0_COUNTER_NAME)
    };
    #define L0_LINT_NAME(name) #name,
    static const char *const l0_lint_names[] = { L0_LINTS(L0_LINT_NAME) };
    """
    const char *l0_counter_names[]
    const char *l0_lint_names[]

CACHE_POLICIES = ("always", "commit_on_success", "never", "random")
MAX_CPUS = 4096
_MASK_64 = (1 << 64) - 1


cdef class PhysicalMemory:
    """Guest-physical memory of one L1 machine: GPA 0 up to size, in bytes, all zero at first.

    The pages are mapped twice, as a kernel maps them: once linearly, once where vmalloc puts
    them. They take memory of the host only when they are touched.
    """

    def __cinit__(self, size_t size):
        cdef int fd

        if size == 0 or size & 0xfff or size > <size_t>1 << 40:
            raise ValueError(
                f"memory of {size} bytes: give a multiple of 4096, at most {1 << 40}")
        fd = memfd_create("l1-memory", MFD_CLOEXEC)
        if fd < 0 or ftruncate(fd, size) != 0:
            raise MemoryError(f"no memory file of {size} bytes: {strerror(errno).decode()}")
        self.mem.base = <u8 *>mmap(
            NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
        self.vmalloc_base = <u8 *>mmap(
            NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
        close(fd)
        self.mem.size = size
        if self.mem.base == MAP_FAILED or self.vmalloc_base == MAP_FAILED:
            raise MemoryError(f"cannot map {size} bytes: {strerror(errno).decode()}")

    def __dealloc__(self):
        if self.mem.base != NULL and self.mem.base != MAP_FAILED:
            munmap(self.mem.base, self.mem.size)
        if self.vmalloc_base != NULL and self.vmalloc_base != MAP_FAILED:
            munmap(self.vmalloc_base, self.mem.size)
        free(self.mem.unbacked)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.mem.size

    cdef check(self, gpa, length):
        if length < 0:
            raise ValueError(f"a length of {length}: give 0 or more bytes")
        if not 0 <= gpa < self.mem.size or length > self.mem.size - gpa:
            raise IndexError(
                f"{length} bytes at {gpa:#x} are outside memory, which ends at "
                f"{self.mem.size:#x}")
        if length and phys_ptr(&self.mem, gpa, length) == NULL:
            raise IndexError(f"{length} bytes at {gpa:#x} are not backed: call back() first")

    def read(self, gpa: int, length: int) -> bytes:
        """length bytes at a guest-physical address; IndexError where there is no memory."""
        self.check(gpa, length)
        return PyBytes_FromStringAndSize(<char *>self.mem.base + <u64>gpa, length)

    def write(self, gpa: int, data: bytes) -> None:
        """Store bytes at a guest-physical address; IndexError where there is no memory."""
        cdef const unsigned char[::1] view = data

        self.check(gpa, len(view))
        if len(view):
            memcpy(self.mem.base + <u64>gpa, &view[0], len(view))

    def read_u64(self, gpa: int) -> int:
        """The 8 bytes at gpa as a number, least significant first."""
        return int.from_bytes(self.read(gpa, 8), "little")

    def write_u64(self, gpa: int, value: int) -> None:
        """Store a 64-bit number at gpa, least significant byte first."""
        self.write(gpa, value.to_bytes(8, "little"))

    def back(self, gpa: int) -> None:
        """Let the page around gpa be there again, with what it held."""
        self._mark(gpa, False)

    def unback(self, gpa: int) -> None:
        """Take the page around gpa away: L0 and Python then find nothing there."""
        self._mark(gpa, True)

    def _mark(self, gpa: int, bint gone) -> None:
        cdef u64 page

        if not 0 <= gpa < self.mem.size:
            raise IndexError(f"{gpa:#x} is outside memory, which ends at {self.mem.size:#x}")
        page = <u64>gpa >> 12
        if self.mem.unbacked == NULL:
            if not gone:
                return
            self.mem.unbacked = <u64 *>calloc((self.mem.size >> 12) // 64 + 1, 8)
            if self.mem.unbacked == NULL:
                raise MemoryError("no memory for the page map")
        if gone:
            self.mem.unbacked[page // 64] |= <u64>1 << (page % 64)
        else:
            self.mem.unbacked[page // 64] &= ~(<u64>1 << (page % 64))


cdef int cache_policy_number(str name) except -1:
    if name not in CACHE_POLICIES:
        raise ValueError(
            f"no cache policy {name!r}: the policies are {', '.join(CACHE_POLICIES)}, "
            f"and random(SEED)")
    return {"always": CACHE_ALWAYS, "never": CACHE_NEVER, "random": CACHE_RANDOM,
            "commit_on_success": CACHE_COMMIT_ON_SUCCESS}[name]


cdef void fill_profile(l0_profile *to, profile):
    cdef u32 i

    for i, (function, registers) in enumerate(sorted(profile.cpuid.items())):
        to.leaf[i].function = function
        to.leaf[i].eax, to.leaf[i].ebx, to.leaf[i].ecx, to.leaf[i].edx = registers
    to.nr_leaves = len(profile.cpuid)
    for i, (index, value) in enumerate(sorted(profile.msrs.items())):
        to.msr[i].index = index
        to.msr[i].value = value
    to.nr_msrs = len(profile.msrs)
    to.maxphyaddr = profile.maxphyaddr
    to.vmcs_revision = profile.vmcs_revision
    policies = profile.policies
    to.bad_evmcs_pointer_is_ud = policies["bad_evmcs_pointer_is_ud"]
    to.vmread_serves_evmcs = policies["vmread_serves_evmcs"]
    to.honour_msr_lists = policies["honour_msr_lists"]
    to.assist_overlay = policies["assist_overlay"]
    to.one_vp_per_evmcs = policies["one_vp_per_evmcs"]
    to.aligned_evmcs_pointer = policies["aligned_evmcs_pointer"]
    to.reject_uncovered_controls = policies["reject_uncovered_controls"]
    to.enforce_cpuid = profile.enforce_cpuid


def parse_cache_policy(text: str, seed: int = 0) -> tuple[str, int]:
    """(name, seed) of a policy as a user writes it: always, never, random, random(7), ..."""
    if not isinstance(text, str):
        raise ValueError(f"cache policy {text!r}: give one of {', '.join(CACHE_POLICIES)}")
    if text.startswith("random(") and text.endswith(")"):
        number = text.removeprefix("random(").removesuffix(")")
        if not number.isascii() or not number.isdigit():
            raise ValueError(f"cache policy {text!r}: give the seed as a number, as in random(7)")
        return "random", int(number)
    return text, seed


cdef class Partition:
    """The emulated Hyper-V with its virtual processors, seen by one L1 machine.

    memory is the machine's; cpus counts the processors, 1 to 4096. profile names the Hyper-V to
    be ("kvm-6.12" or "tlfs-strict"); cpuid, msrs, maxphyaddr and enforce_cpuid change it as
    kvm_vmx.l0.profile.build says. cache_policy is how L0 uses the clean fields: "always",
    "never", "random", "random(SEED)" or "commit_on_success". Bad values raise ValueError.
    """

    def __cinit__(self, PhysicalMemory memory not None, int cpus=1, profile="kvm-6.12",
                  cache_policy="always", seed=0, bint strict=False, cpuid=None, msrs=None,
                  maxphyaddr=None, enforce_cpuid=False):
        cdef l0_profile numbers

        if not 1 <= cpus <= MAX_CPUS:
            raise ValueError(f"{cpus} processors: give a number from 1 to {MAX_CPUS}")
        self.memory = memory
        self.profile = build(profile, cpuid, msrs, maxphyaddr, enforce_cpuid)
        self.cache_policy, seed = parse_cache_policy(cache_policy, seed)
        number = cache_policy_number(self.cache_policy)
        fill_profile(&numbers, self.profile)
        self.partition = partition_create(
            &memory.mem, &numbers, cpus, number, seed & _MASK_64, strict)
        if self.partition == NULL:
            raise MemoryError(f"no memory for {cpus} processors")

    def __dealloc__(self):
        partition_destroy(self.partition)

    def __len__(self):
        return self.partition.nr_vps

    def processor(self, n: int) -> Processor:
        """Processor n as hardware; IndexError where there is none."""
        cdef Processor processor

        if not 0 <= n < self.partition.nr_vps:
            raise IndexError(f"no processor {n}: there are {self.partition.nr_vps}")
        processor = Processor.__new__(Processor)
        processor.partition = self
        processor.vp = &self.partition.vp[<u32>n]
        return processor

    def counters(self, cpu: int | None = None) -> dict[str, int]:
        """What L0 has done, by name: of one processor, or of all together."""
        if cpu is not None:
            return self.processor(cpu).counters()
        total = dict.fromkeys(self.processor(0).counters(), 0)
        for n in range(len(self)):
            for name, count in self.processor(n).counters().items():
                total[name] += count
        return total

    def lints(self) -> list[str]:
        """The names of what L0 noticed and let pass, on any processor."""
        cdef u32 i, seen = 0

        for i in range(self.partition.nr_vps):
            seen |= self.partition.vp[i].lints
        return [l0_lint_names[i].decode() for i in range(<u32>L0_NR_LINTS) if seen >> i & 1]


cdef u64 word(value) except? 0:
    """An operand as a register holds it: 64 bits, whatever the sign."""
    return <u64>(value & _MASK_64)


cdef class Processor:
    """One L1 processor as hardware: its instructions, and the registers a test may set.

    Every method is one instruction and returns an Outcome; what a processor would report
    (VMfail, a fault) is in it and never raised.
    """

    def __init__(self):
        raise TypeError("a Processor comes from Partition.processor(n)")

    cdef outcome(self, insn_t status, value=None):
        cdef u64 rflags = self.vp.cpu.rflags

        if status == INSN_OK:
            return VMsucceed(rflags, value)
        if status & INSN_FAULT:
            return Fault(INSN_FAULT_VECTOR(status), INSN_FAULT_ERROR(status), rflags)
        if status == INSN_VMFAIL_INVALID:
            return VMfailInvalid(rflags)
        if self.vp.active_evmcs != ~<u64>0:
            return VMfailValid(self.vp.copy.f.vm_instruction_error, rflags)
        return VMfailValid(self.vp.plain.f.vm_instruction_error, rflags)

    @property
    def index(self) -> int:
        """The VP index."""
        return self.vp.cpu.index

    def cpuid(self, function: int, index: int = 0) -> tuple[int, int, int, int]:
        """CPUID with EAX and ECX: (eax, ebx, ecx, edx)."""
        cdef u32 eax = <u32>word(function), ebx = 0, ecx = <u32>word(index), edx = 0

        self.vp.cpu.ops.cpuid(&self.vp.cpu, &eax, &ebx, &ecx, &edx)
        return eax, ebx, ecx, edx

    def rdmsr(self, msr: int) -> Outcome:
        """RDMSR; the value is 64 bits."""
        cdef u64 value = 0
        cdef insn_t status = self.vp.cpu.ops.rdmsr(&self.vp.cpu, <u32>word(msr), &value)
        return self.outcome(status, value if status == INSN_OK else None)

    def wrmsr(self, msr: int, value: int) -> Outcome:
        """WRMSR of a 64-bit value."""
        return self.outcome(self.vp.cpu.ops.wrmsr(&self.vp.cpu, <u32>word(msr), word(value)))

    def mov_to_cr(self, cr: int, value: int) -> Outcome:
        """MOV to CR0, CR2, CR3, CR4 or CR8."""
        return self.outcome(self.vp.cpu.ops.mov_to_cr(&self.vp.cpu, <u32>word(cr), word(value)))

    def vmxon(self, pa: int) -> Outcome:
        """VMXON with the physical address of the region."""
        return self.outcome(self.vp.cpu.ops.vmxon(&self.vp.cpu, word(pa)))

    def vmxoff(self) -> Outcome:
        """VMXOFF."""
        return self.outcome(self.vp.cpu.ops.vmxoff(&self.vp.cpu))

    def vmclear(self, pa: int) -> Outcome:
        """VMCLEAR of the VMCS at a physical address."""
        return self.outcome(self.vp.cpu.ops.vmclear(&self.vp.cpu, word(pa)))

    def vmptrld(self, pa: int) -> Outcome:
        """VMPTRLD of the VMCS at a physical address."""
        return self.outcome(self.vp.cpu.ops.vmptrld(&self.vp.cpu, word(pa)))

    def vmptrst(self) -> Outcome:
        """VMPTRST; the value is the current VMCS's address, all ones without one."""
        cdef u64 value = 0
        cdef insn_t status = self.vp.cpu.ops.vmptrst(&self.vp.cpu, &value)
        return self.outcome(status, value if status == INSN_OK else None)

    def vmread(self, field: int) -> Outcome:
        """VMREAD of a field by its encoding."""
        cdef u64 value = 0
        cdef insn_t status = self.vp.cpu.ops.vmread(&self.vp.cpu, word(field), &value)
        return self.outcome(status, value if status == INSN_OK else None)

    def vmwrite(self, field: int, value: int) -> Outcome:
        """VMWRITE of a field by its encoding."""
        return self.outcome(self.vp.cpu.ops.vmwrite(&self.vp.cpu, word(field), word(value)))

    cdef enter(self, bint launch):
        cdef insn_t status
        with nogil:
            status = self.vp.cpu.ops.vmentry(&self.vp.cpu, self.regs, launch)
        return self.outcome(status)

    def vmlaunch(self) -> Outcome:
        """VMLAUNCH: success means that L2 ran, or failed to enter, and the exit is recorded."""
        return self.enter(True)

    def vmresume(self) -> Outcome:
        """VMRESUME; see vmlaunch."""
        return self.enter(False)

    def invept(self, type: int, eptp: int = 0, gpa: int = 0) -> Outcome:
        """INVEPT: the type from the register, the EPT pointer and a reserved word from memory."""
        return self.outcome(self.vp.cpu.ops.invept(
            &self.vp.cpu, word(type), word(eptp), word(gpa)))

    def invvpid(self, type: int, vpid: int = 0, gla: int = 0) -> Outcome:
        """INVVPID: the type from the register, the VPID and a linear address from memory."""
        return self.outcome(self.vp.cpu.ops.invvpid(
            &self.vp.cpu, word(type), word(vpid), word(gla)))

    def hypercall(self, control: int, rdx: int = 0, r8: int = 0) -> Outcome:
        """VMCALL with a control word, and two registers of parameters; the value is RAX."""
        cdef insn_t status

        self.regs[GPR_RCX] = word(control)
        self.regs[GPR_RDX] = word(rdx)
        self.regs[GPR_R8] = word(r8)
        status = self.vp.cpu.ops.vmcall(&self.vp.cpu, self.regs)
        return self.outcome(status, self.regs[GPR_RAX] if status == INSN_OK else None)

    @property
    def registers(self) -> list[int]:
        """The 16 general registers of L1, by encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15."""
        return [self.regs[i] for i in range(NR_GPRS)]

    @registers.setter
    def registers(self, values: list[int]):
        if len(values) != NR_GPRS:
            raise ValueError(f"{len(values)} registers: give {NR_GPRS}")
        for i, value in enumerate(values):
            self.regs[<int>i] = word(value)

    def counters(self) -> dict[str, int]:
        """What L0 has done for this processor, by name."""
        cdef const u64 *counts = <const u64 *>&self.vp.counters
        cdef int i
        return {l0_counter_names[i].decode(): counts[i] for i in range(<int>L0_NR_COUNTERS)}

    @property
    def active_evmcs(self) -> int | None:
        """The GPA of the eVMCS that is active, or None."""
        return None if self.vp.active_evmcs == ~<u64>0 else self.vp.active_evmcs

    @property
    def evmcs_copy(self) -> bytes | None:
        """What L0 holds of the active eVMCS, laid out like it (1024 bytes); None without one."""
        if self.vp.active_evmcs == ~<u64>0:
            return None
        return PyBytes_FromStringAndSize(<char *>&self.vp.copy.f, sizeof(hv_enlightened_vmcs))

    @property
    def rip(self) -> int:
        """The instruction pointer: what the last exit loaded."""
        return self.vp.cpu.rip

    @rip.setter
    def rip(self, value: int):
        self.vp.cpu.rip = word(value)

    @property
    def rsp(self) -> int:
        """The stack pointer: what the last exit loaded."""
        return self.vp.cpu.rsp

    @property
    def rflags(self) -> int:
        """RFLAGS, where a VMX instruction leaves its outcome."""
        return self.vp.cpu.rflags

    @rflags.setter
    def rflags(self, value: int):
        self.vp.cpu.rflags = word(value)

    @property
    def cpl(self) -> int:
        """The privilege level, 0 to 3."""
        return self.vp.cpu.cpl

    @cpl.setter
    def cpl(self, value: int):
        if value not in (0, 1, 2, 3):
            raise ValueError(f"privilege level {value!r}: give 0 to 3")
        self.vp.cpu.cpl = value

    @property
    def cr0(self) -> int:
        """CR0, set without the checks of MOV to CR0."""
        return self.vp.cpu.cr0

    @cr0.setter
    def cr0(self, value: int):
        self.vp.cpu.cr0 = word(value)
        self.vp.host_loaded = 0

    @property
    def cr3(self) -> int:
        """CR3."""
        return self.vp.cpu.cr3

    @property
    def cr4(self) -> int:
        """CR4, set without the checks of MOV to CR4."""
        return self.vp.cpu.cr4

    @cr4.setter
    def cr4(self, value: int):
        self.vp.cpu.cr4 = word(value)
        self.vp.host_loaded = 0

    @property
    def efer(self) -> int:
        """IA32_EFER, set without the checks of WRMSR."""
        return self.vp.efer

    @efer.setter
    def efer(self, value: int):
        self.vp.efer = word(value)
        self.vp.unchecked = 0xffff

    @property
    def mov_ss_shadow(self) -> bool:
        """Does the instruction before, MOV to SS, block events?"""
        return bool(self.vp.mov_ss_shadow)

    @mov_ss_shadow.setter
    def mov_ss_shadow(self, value: bool):
        self.vp.mov_ss_shadow = 1 if value else 0

    @property
    def pending_interrupt(self) -> int | None:
        """The vector of the external interrupt that waits, or None."""
        return self.vp.cpu.intr & 0xff if self.vp.cpu.intr else None

    @pending_interrupt.setter
    def pending_interrupt(self, vector: int | None):
        if vector is not None and not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255 or None")
        self.vp.cpu.intr = 0 if vector is None else 0x100 | <u32>vector

    @property
    def pending_nmi(self) -> bool:
        """Does a non-maskable interrupt wait?"""
        return bool(self.vp.cpu.nmi)

    @pending_nmi.setter
    def pending_nmi(self, value: bool):
        self.vp.cpu.nmi = 1 if value else 0
