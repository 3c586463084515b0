# SPDX-License-Identifier: GPL-2.0-only
# L0's record of a guest's last event, and of what its delivery met, as data.
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l0.state cimport l0_chain, l0_chained


cdef inline list chain_events(const l0_chain *chain):
    cdef const l0_chained *event
    cdef u32 i

    found = []
    for i in range(chain.length):
        event = &chain.event[i]
        found.append({
            "info": event.info, "error": event.error, "payload": event.payload,
            "rip": event.rip, "bits": event.code_bits, "decoded": bool(event.decoded),
            "code": event.code[:event.have]})
    return found
