# SPDX-License-Identifier: GPL-2.0-only
# What a machine may ask of the emulated Hyper-V; all else goes through instructions and memory.
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t, phys_mem, virt_cpu
from kvm_vmx.l0.state cimport *

# The partition has moved to a host whose TSC ticks ratio / 2^32 times as fast as the first's.
cdef void clock_migrate(l0_partition *partition, u64 ratio) noexcept nogil

# The copy is worth nothing, but the eVMCS stays active: page and clean bits are all there is.
cdef void enlightened_forget(l0_vp *vp) noexcept nogil

# Only where L2 is stopped.
# L2 leaves the boundary where it was stopped; the rest of VMLAUNCH or VMRESUME.
cdef insn_t l0_go_on(l0_vp *vp) noexcept nogil

# Does an access of L2 to an MSR exit to L1?
cdef bint msr_exits(l0_vp *vp, u32 msr, bint write) noexcept nogil

# The hook of phys_mem. What was written is read where it stands: in L1's page, or where the VMCS is
# the processor's, in that.
cdef void note_writer(virt_cpu *cpu, u64 vmcs, u64 field, u32 who, u64 where) noexcept nogil

# Python has stored into L1's memory: each member of an eVMCS that this has touched.
cdef void note_stores(const phys_mem *mem, u64 start, u64 end) noexcept nogil

# A partition of nr_vps processors after reset, or NULL without memory. mem is not owned and
# outlives it.
cdef l0_partition *partition_create(
        const phys_mem *mem, const l0_profile *profile, u32 nr_vps, u32 cache_policy, u64 seed,
        bint strict, bint watch) noexcept nogil

cdef void partition_reset(l0_partition *partition) noexcept nogil
cdef void partition_destroy(l0_partition *partition) noexcept nogil

# The first one is what an entry would say, unless it fails before it looks at a field. How many
# there are, at most room.
cdef u32 refusals(l0_vp *vp, l0_refusal *found, u32 room) noexcept nogil

# While a timer runs, L2 is interrupted by an alarm that looks at the clock.
cdef void stimers_arm(l0_vp *vp) noexcept nogil

# Let the timers that are due fire; before L1 looks at what is pending, and at an end of message.
cdef void stimers_run(l0_vp *vp) noexcept nogil

# A synthetic interrupt source fires; is its vector now pending?
cdef bint synic_signal(l0_vp *vp, u32 source) noexcept nogil

# Keep a record of each instruction of L1, the last size of them; False without memory.
cdef bint trace_start(l0_vp *vp, u64 size) noexcept nogil

# The ring stays: an instruction may be under way on another thread.
cdef void trace_stop(l0_vp *vp) noexcept nogil

# NULL, or what is wrong with it; then nothing has changed.
cdef const char *vp_restore(l0_vp *vp, const l0_saved *saved) noexcept nogil

cdef void vp_save(l0_vp *vp, l0_saved *saved) noexcept nogil

# The processor runs L1's code, too, from here on: whoever asks for that sets root_vmcs.
cdef void root_start(l0_vp *vp) noexcept nogil

# As after INIT: it waits for SIPI.
cdef void root_reset(l0_vp *vp) noexcept nogil

# Time is counted in instructions: the TSC ticks 2^shift times in each. Or it is the host's.
cdef void root_clock(l0_partition *partition, u32 shift, u64 hz, bint host) noexcept nogil

# In how many ns, at most, a processor that waits for the host's time has to look again; all ones:
# nothing is on its way.
cdef u64 root_wakes(l0_vp *vp) noexcept nogil

cdef u64 clock_reference_time(l0_partition *partition) noexcept nogil

cdef void root_save(l0_vp *vp, l0_whole *whole) noexcept nogil

# NULL, or what is wrong with it; then nothing has changed.
cdef const char *root_restore(l0_vp *vp, const l0_whole *whole) noexcept nogil

cdef void root_let_pass(l0_vp *vp, u64 instructions) noexcept nogil

# Does a processor stand still for a device? Its access is root.bus.now then.
cdef bint bus_next(l0_vp *vp) noexcept nogil

cdef void bus_answer(l0_vp *vp, u64 value) noexcept nogil

# A connection leads to a source of a processor, for messages (kind 1) or events (2); False without
# a place for it.
cdef bint port_connect(l0_vp *vp, u32 connection, u32 kind, u32 source) noexcept nogil

cdef void port_disconnect(l0_partition *partition, u32 connection) noexcept nogil

# A device raises or lowers a line of the board's I/O APIC, one of L0_IO_LINES.
cdef void io_apic_line(l0_partition *partition, u32 line, bint level) noexcept nogil

# L1, and L2 where L1 lets it, for so many instructions or less: enum l0_root_end.
cdef u32 root_run(l0_vp *vp, u64 instructions) noexcept nogil

# Does the processor run L1 now, and not L2?
cdef bint is_root(const l0_vp *vp) noexcept nogil
