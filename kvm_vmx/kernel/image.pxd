# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport virt_cpu, virt_cpu_ops
from kvm_vmx.machine.partition cimport Partition, process_t

cdef extern from "kvm_vmx/kernel/host_side.h" nogil:
    enum:
        LOG_RECORDS
        IMAGE_REASONS
        IMAGE_SITES
        INSN_LENGTH_MAX
        FAIL_PAGE
        FAIL_KMALLOC
        FAIL_VMALLOC
        FAIL_MSR
        FAIL_ONE_MSR
        FAIL_HYPERCALL
        NR_IMAGE_FAIL_POINTS
        IMAGE_STRUCK
    const ulong USER_SPACE
    ctypedef struct host_t "struct host":
        ulong memory
        ulong memory_size
        ulong user
        ulong pages
        unsigned char *page_kind
        unsigned int *user_frame
        unsigned char *shadow
        ulong *per_cpu
        ulong per_cpu_size
        ulong per_cpu_room
        ulong thread_pointer
        ulong without_assist
        int cpus
        int online
    ctypedef struct vmlinux_t "struct vmlinux":
        pass
    ctypedef struct log_record "struct log_record":
        int level
        ulong ip
        ulong thread
        char text[256]
    ctypedef struct image_site "struct image_site":
        u64 ip
        u8 code[16]
        u32 length
    ctypedef struct struck_t "struct struck":
        u32 cpu
        u32 number
        bint write
        bint call
    ctypedef struct image_t "struct image":
        host_t host
        vmlinux_t vmlinux
        int (*exception)(long long *regs, unsigned int vector) noexcept nogil
        image_site sites[256]
        int nr_sites
        ulong fail[NR_IMAGE_FAIL_POINTS]
        u32 one_msr
        struck_t struck[IMAGE_STRUCK]
        u32 nr_struck
        log_record *records
        u64 log_end
        void (*kick)() noexcept nogil
        void (*resched)() noexcept nogil
        u64 preempt_at
        void (*begin)(host_t *host, long where) noexcept nogil
        void (*end)() noexcept nogil
        char why[256]
        ulong where
    ctypedef struct percpu_area_t "struct percpu_area":
        virt_cpu *virt_cpu
        const vmlinux_t *vmlinux
        int cpu_number
    ctypedef struct image_call_t "struct image_call":
        ulong function
        long arg[4]
        long ret
        long where
        int cpu
        u64 exits
        u64 exits_until
        u64 reasons[80]
        void (*kick_from)(void (*how)(void *whom) noexcept nogil, void *whom) noexcept nogil
        void (*kick_till)(const void *whom) noexcept nogil
    ctypedef struct crowd_t "struct crowd":
        bint dead
        bint ends
        bint fsgsbase
        int inside
    crowd_t crowd
    image_t *the_image
    ulong this_thread()
    u64 image_idt[256][2]
    void image_fill(image_t *image)
    int image_enter(ulong stack, image_call_t *call)
    void image_has_cpu(int n, virt_cpu *cpu, const virt_cpu_ops **ops, const u64 *reasons,
                       percpu_area_t *area)
    bint crowd_alone()
    void crowd_together()
    bint crowd_has_anyone()
    bint crowd_is_gone()
    void crowd_revive()
    void crowd_forget()
    void turn_begin()
    void turn_end()


cdef extern from "kvm_vmx/kernel/watch.h" nogil:
    ctypedef struct watch_t "struct watch":
        pass
    void watch_begin(watch_t *watch, ulong start, ulong end, double patience)
    void watch_end(watch_t *watch)


cdef enum:
    # text and data, pages, user space, shadow, CPUs
    MAPPINGS = 5

cdef struct mapping_t:
    ulong start
    ulong size


cdef class Image:
    cdef image_t *image
    # seconds of processor time that the kernel may go without a VM exit; 0: any
    cdef public double patience
    cdef readonly Partition partition
    cdef process_t owner
    cdef readonly object elf
    cdef readonly object died
    # how fail() named the one MSR
    cdef str one_msr
    # what is mapped, and the text that traps, or 0: not Python's, as the collector empties lists
    # before their owner ends
    cdef mapping_t[MAPPINGS] mapped
    cdef int nr_mapped
    cdef ulong trapping
    # of what is open in the kernel: files, and pages of user space {GPA: how many}
    cdef list files
    cdef dict lent

    cdef ulong map(self, ulong size, ulong at=*) except 0
    cdef void has_mapped(self, ulong at, ulong size) noexcept
    cdef int put(self, section, ulong at) except -1
    cdef int lay_out(self, int online) except -1
    cdef int find_sites(self) except -1
    cdef int patch_sites(self) except -1
    cdef int protect(self) except -1
    cdef int forget(self) except -1
    cdef int copy(self, void *to, const void *source, size_t size) except -1
    cdef int enter(self, image_call_t *call, str name, ulong depth) except -1
    cdef int keep(self, str name, long first, long second, long ret) except -1
    cdef int close_file(self, long fd, int cpu=*) except -1
    cdef int take_back(self, long gpa) except -1
