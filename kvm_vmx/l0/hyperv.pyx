# SPDX-License-Identifier: GPL-2.0-only
# The emulated Hyper-V: one module, made of its rooms.
from kvm_vmx.abi.hyperv_tlfs cimport *
from kvm_vmx.abi.processor cimport *
from kvm_vmx.abi.types cimport likely, s64, s8, u16, u32, u64, u8, unlikely
from kvm_vmx.abi.virt_cpu cimport (
    GPR_R11, GPR_R8, GPR_RAX, GPR_RBP, GPR_RBX, GPR_RCX, GPR_RDI, GPR_RDX, GPR_RSI, GPR_RSP,
    INSN_FAULT, INSN_MAKE_FAULT, INSN_OK, INSN_STATUS_FLAGS, INSN_VMFAIL_INVALID,
    INSN_VMFAIL_VALID, WRITER_PYTHON, WRITTEN_CURRENT, insn_t, irq_first, irq_is_pending,
    irq_raise, irq_settle, irq_take, phys_mem, virt_cpu, virt_cpu_ops,
)
from kvm_vmx.abi.vmx cimport *
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.stdlib cimport posix_memalign
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from kvm_vmx.l0.check_groups cimport *
from kvm_vmx.l0.state cimport *

include "vmcs/outcome.pxi"
include "guest/control_registers.pxi"
include "hv/msr.pxi"
include "hv/cpuid.pxi"
include "vmcs/enlightened.pxi"
include "vmcs/instructions.pxi"
include "guest/wait_insn.pxi"
include "guest/fetch.pxi"
include "guest/chain.pxi"
include "guest/operands.pxi"
include "guest/translate.pxi"
include "guest/ept.pxi"
include "guest/descriptors.pxi"
include "guest/interrupt_gate.pxi"
include "guest/delivery.pxi"
include "guest/waiting.pxi"
include "guest/boundary.pxi"
include "guest/decode.pxi"
include "guest/lock.pxi"
include "guest/arithmetic.pxi"
include "guest/shift_insn.pxi"
include "guest/multiply_insn.pxi"
include "guest/bit_insn.pxi"
include "guest/string_insn.pxi"
include "guest/swap_insn.pxi"
include "guest/frame_insn.pxi"
include "guest/fill_loop.pxi"
include "guest/flow.pxi"
include "guest/far_transfer.pxi"
include "guest/control_insn.pxi"
include "guest/table_insn.pxi"
include "guest/shadow_insn.pxi"
include "guest/extended_state.pxi"
include "guest/system_insn.pxi"
include "guest/msr_bitmap.pxi"
include "guest/msr_insn.pxi"
include "guest/io_insn.pxi"
include "guest/x87_insn.pxi"
include "guest/sse_insn.pxi"
include "guest/fast_call.pxi"
include "guest/compiled.pxi"
include "guest/execute.pxi"
include "guest/quick.pxi"
include "guest/decoded.pxi"
include "guest/run.pxi"
include "guest/row.pxi"
include "entry/control_checks.pxi"
include "entry/segment_checks.pxi"
include "entry/guest_checks.pxi"
include "entry/msr_lists.pxi"
include "entry/refusal.pxi"
include "entry/exit_info.pxi"
include "entry/exit.pxi"
include "entry/repeat.pxi"
include "entry/entry.pxi"
include "entry/refusals.pxi"
include "hv/stimer.pxi"
include "hv/interrupt_calls.pxi"
include "hv/synthetic_msr.pxi"
include "hv/clock.pxi"
include "hv/synic.pxi"
include "hv/flush_calls.pxi"
include "hv/hypercall.pxi"
include "hv/direct_flush.pxi"
include "hv/partition.pxi"
include "hv/reset.pxi"
include "whole/switch.pxi"
include "whole/exits.pxi"
include "whole/apic.pxi"
include "whole/apic_registers.pxi"
include "whole/bus.pxi"
include "whole/signals.pxi"
include "whole/run.pxi"
include "watch/saved_time.pxi"
include "watch/lints.pxi"
include "watch/events.pxi"
include "watch/translations.pxi"
include "watch/written.pxi"
include "watch/trace.pxi"
include "watch/saved.pxi"
