# SPDX-License-Identifier: GPL-2.0-only
# What a processor's ring holds of the trace, as records for Python.

cdef extern from *:
    """
    static const struct { const char *name; int operands, results; } l0_traced[] = {
    #define L0_TRACED(name, operands, results) { #name, operands, results },
    INSN_ALL(L0_TRACED)
    };
    """
    ctypedef struct traced_insn "__typeof__(*l0_traced)":
        const char *name
        int operands
        int results
    const traced_insn l0_traced[]

cdef outcome_of(const l0_trace_record *record):
    """The outcome, its RFLAGS as far as the instruction reports in them."""
    why = refusal_of(&record.refusal)
    if record.status == INSN_OK:
        return VMsucceed(why=why)
    if record.status & INSN_FAULT:
        return Fault(INSN_FAULT_VECTOR(record.status), INSN_FAULT_ERROR(record.status), why=why)
    if record.status == INSN_VMFAIL_INVALID:
        return VMfailInvalid(rflags=3, why=why)
    return VMfailValid(record.result[0], why=why)


cdef list records_of(l0_vp *vp):
    """What a processor's ring holds, the oldest first; what an instruction writes over meanwhile
    is left out."""
    cdef u64 i, size = vp.trace.size, end = vp.trace.end
    cdef l0_trace_record copy
    cdef const l0_trace_record *record = &copy
    cdef const traced_insn *insn

    found = []
    for i in range(end - size if end > size else 0, end):
        copy = vp.trace.record[i % size]
        if vp.trace.end > i + size:
            continue
        insn = &l0_traced[record.insn]
        name = insn.name.decode()
        outcome = outcome_of(record)
        results = ()
        if outcome.ok:
            results = tuple(record.result[j] for j in range(insn.results))
        if record.insn == TRACED_cpuid:
            results = tuple(word >> shift & 0xFFFFFFFF for word in results for shift in (0, 32))
        operands = tuple(record.operand[j] for j in range(insn.operands))
        if name in ("vmread", "vmwrite"):
            operands = (Field.of(operands[0]), *operands[1:])
        found.append(TraceRecord(
            record.sequence, vp.cpu.index, name, operands, outcome, results,
            record.l2_instructions, record.groups_reread, record.bytes_reread))
    return found
