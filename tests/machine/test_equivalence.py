# SPDX-License-Identifier: GPL-2.0-only
"""The same guest under VMCS and eVMCS, under every cache policy: the same, byte for byte."""

import itertools

import needed
import pytest
from lengths import either

from kvm_vmx import Machine

pytestmark = pytest.mark.long
hypothesis, st = needed.module("hypothesis"), needed.module("hypothesis.strategies")
given, settings, HealthCheck = hypothesis.given, hypothesis.settings, hypothesis.HealthCheck

POLICIES = ["always", "never", "random(1)", "random(2)", "commit_on_success"]
MODES = list(itertools.product([False, True], POLICIES))
# Of a tree's own KVM in a plain run: a plain VMCS has no clean fields.
FEWER = either(
    [(False, "always"), *((True, policy) for policy in POLICIES if policy != "random(2)")], MODES)
MEMORY = 64 << 10

NOP, HLT, CPUID, VMCALL, UD2 = b"\x90", b"\xf4", b"\x0f\xa2", b"\x0f\x01\xc1", b"\x0f\x0b"


def mov(register, value):
    """MOV r32, imm32; RAX is 0."""
    return bytes([0xB8 + register]) + value.to_bytes(4, "little")


def mov64(register, value):
    """MOV r64, imm64, with R8 to R15."""
    return bytes([0x48 | register >> 3, 0xB8 | register & 7]) + value.to_bytes(8, "little")


def inc(register):
    return bytes([0x48 | register >> 3, 0xFF, 0xC0 | register & 7])


def dec(register):
    return bytes([0x48 | register >> 3, 0xFF, 0xC8 | register & 7])


def jump(distance):
    return b"\xeb" + distance.to_bytes(1, "little", signed=True)


def jump_if(condition, distance):
    return bytes([0x70 | condition]) + distance.to_bytes(1, "little", signed=True)


def looped(body):
    """body for ever."""
    return body + b"\xe9" + (-len(body) - 5).to_bytes(4, "little", signed=True)


GUESTS = {
    "cpuid loop": looped(mov(0, 0) + CPUID),
    "every leaf": looped(CPUID + inc(0) + inc(1)),
    "extended leaves": looped(mov(0, 0x80000000) + CPUID + mov(0, 0x80000008) + CPUID),
    "hypercalls": looped(mov(0, 9) + VMCALL + inc(12)),
    "hypercall results": looped(mov64(0, 1 << 63 | 5) + VMCALL + CPUID),
    "halts": looped(inc(3) + HLT),
    "cpuid, hypercall, halt": looped(inc(8) + CPUID + VMCALL + HLT),
    "a countdown between exits": looped(mov(1, 50) + dec(1) + jump_if(5, -5) + inc(14) + CPUID),
    "both ways of a branch": looped(dec(2) + jump_if(2, 3) + NOP * 3 + inc(7) + CPUID + inc(2)),
    "all of a register": looped(mov64(15, (1 << 64) - 1) + inc(15) + dec(15) + CPUID),
    "an invalid opcode": CPUID + UD2,
    "privilege of an exit at once": HLT,
    "off the end of the code": CPUID + b"\x00\x00",
}


def outcome(code, enlightened, policy, calls=(1, 2, 7, 40), profile="kvm-6.12", boot=Machine):
    """All that a guest and its user space can see of some exits."""
    with boot(cpus=2, cache_policy=policy, profile=profile) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        assert kvm.enable_evmcs == (enlightened and "enlightened_vmcs" in kvm.parameters)
        vm = kvm.create_vm(code=code, memory=MEMORY)
        vcpu = vm.create_vcpu(cpu=0)
        vcpu.trace_exits()
        seen = []
        for exits in calls:
            try:
                summary = vcpu.run(exits=exits)
            except OSError as error:
                summary = error.errno
            seen.append((summary, dict(vcpu.regs), vcpu.sregs))
        seen.append(vm.memory.read(0, MEMORY))
        seen.append(vcpu.exit_log)
        assert (machine.counters["vmread"] == 0) == kvm.enable_evmcs
        assert machine.counters["failed_entries"] == 0 and machine.lints == []
        assert machine.warnings == 0
        kvm.rmmod()
    return seen


def same(code, modes=None, boot=Machine, **options):
    """The one outcome of all modes."""
    modes = modes or (MODES if boot is Machine or boot.is_port else FEWER)
    first, *others = [outcome(code, *mode, boot=boot, **options) for mode in modes]
    for mode, other in zip(modes[1:], others):
        assert other == first, (mode, code.hex())
    return first


@pytest.mark.sweep(8)
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_cannot_tell(kernel, name, profile):
    seen = same(GUESTS[name], profile=profile, boot=kernel)
    assert len(seen[-1]) > 0


def test_the_outcome_is_worth_comparing(kernel):
    """Different guests differ, and each part of an outcome is filled."""
    calls = same(GUESTS["cpuid loop"], boot=kernel)
    assert [summary.exits for summary, *_ in calls[:-2]] == [1, 2, 7, 40]
    assert len(calls[-1]) == 50 and {record[0] for record in calls[-1]} == {10}
    assert calls[0][1]["rbx"] == int.from_bytes(b"Genu", "little")
    assert calls[-2].count(0) < MEMORY
    assert outcome(GUESTS["halts"], True, "always", boot=kernel) != calls


def test_what_each_exit_tells_user_space(kernel):
    reasons = {name: same(GUESTS[name], boot=kernel)[0][0].reason
               for name in ("halts", "cpuid loop")}
    assert reasons["halts"] == "HLT" and reasons["cpuid loop"] == "INTR"
    ended = same(GUESTS["an invalid opcode"], boot=kernel)
    assert ended[1][0].reason == "SHUTDOWN"


REGISTERS = st.integers(0, 15).filter(lambda n: n != 4)
CONSTANTS = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(
    0, 2**32 - 1)
PLAIN = st.one_of(
    st.just(NOP),
    st.builds(mov, st.integers(0, 7).filter(lambda n: n != 4), CONSTANTS),
    st.builds(mov64, REGISTERS, st.integers(0, 2**64 - 1)),
    st.builds(inc, REGISTERS), st.builds(dec, REGISTERS),
)
EXITING = st.sampled_from([CPUID, CPUID, VMCALL, HLT])


@st.composite
def skips(draw):
    """A jump, conditional or not, over some instructions."""
    over = b"".join(draw(st.lists(PLAIN | EXITING, max_size=4)))
    condition = draw(st.none() | st.integers(0, 15))
    return (jump(len(over)) if condition is None else jump_if(condition, len(over))) + over


GUEST = st.builds(
    lambda parts, end: looped(b"".join(parts) + end),
    st.lists(PLAIN | EXITING | skips(), max_size=20), EXITING)
QUIET = settings(max_examples=either(15, 25), deadline=None, derandomize=True,
                 suppress_health_check=list(HealthCheck))


@QUIET
@given(GUEST)
def test_a_made_up_guest_cannot_tell(code):
    same(code, calls=(3, 25))


# No byte of a jump: a loop without an exit runs until the timer, and takes its time.
JUMPS = {0xE9, 0xEB, *range(0x70, 0x90)}
JUNK = st.lists(st.sampled_from(sorted(set(range(256)) - JUMPS)), min_size=1, max_size=6)


@QUIET
@given(GUEST, JUNK.map(bytes))
def test_a_guest_that_goes_wrong_goes_wrong_alike(code, junk):
    """Junk in the middle: #UD, which no IDT takes, is a triple fault and KVM's SHUTDOWN."""
    same(spoiled(code, junk), calls=(3, 5))


def spoiled(code, junk):
    """Code with junk in the middle."""
    half = len(code) // 2
    return code[:half] + junk + b"\x0f\x0b" + code[half:]


@settings(QUIET, max_examples=3)
@given(GUEST, JUNK.map(bytes))
def test_made_up_guests_of_a_tree_s_own_kvm(kernel, code, junk):
    """Each mode once, which is what takes other text."""
    if kernel.is_port:
        pytest.skip("the port's are above, and more of them")
    for made, calls in ((code, (3, 25)), (spoiled(code, junk), (3, 5))):
        same(made, MODES[::len(POLICIES)], calls=calls, boot=kernel)


@pytest.mark.parametrize("enlightened", [False, True])
def test_two_guests_in_turn_on_one_cpu_are_as_they_are_alone(kernel, enlightened):
    """Each of them, run in turns of any length, ends as it does in one go."""
    codes = [GUESTS["every leaf"], GUESTS["hypercalls"]]
    alone = [outcome(code, enlightened, "always", calls=(60,), boot=kernel) for code in codes]
    for policy in POLICIES:
        with kernel(cpus=1, cache_policy=policy) as machine:
            kvm = machine.insmod(enlightened_vmcs=enlightened)
            vms = [kvm.create_vm(code=code, memory=MEMORY) for code in codes]
            vcpus = [vm.create_vcpu(cpu=0) for vm in vms]
            for turn in (1, 2, 3, 14, 40):
                for vcpu in vcpus:
                    assert vcpu.run(exits=turn).exits == turn
            for vm, vcpu, one in zip(vms, vcpus, alone):
                assert dict(vcpu.regs) == one[0][1] and vcpu.sregs == one[0][2]
                assert vm.memory.read(0, MEMORY) == one[-2]
