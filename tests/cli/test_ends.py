# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx run says how a guest ended as the API does: whatever its length, whatever --exits."""

import json

import pytest
import schemed
from command import kvm_vmx, kvm_vmx_json

from kvm_vmx import Machine
from kvm_vmx.run.serial import Serial
from kvm_vmx.run.steady_state import Run

MEMORY = 64 << 10
CPUID, HLT, SHUTDOWN, IO = 10, 12, 2, 30


def cpuids(n: int) -> str:
    """n CPUIDs, counted down in ESI."""
    return f"be{n.to_bytes(4, 'little').hex()}" "31c0" "0fa2" "ffce" "75f8" if n else ""


@pytest.fixture(scope="module", params=[False, True], ids=["VMCS", "eVMCS"])
def kvm(request):
    with Machine(cpus=1) as machine:
        yield machine.insmod(enlightened_vmcs=request.param)


def alone(kvm, code):
    vm = kvm.create_vm(code=code, memory=MEMORY)
    return vm, vm.create_vcpu()


def by_command(kvm, code, exits):
    """What the command's engine finds: exits, reason, reasons, registers."""
    vm, vcpu = alone(kvm, code)
    run = Run(vcpu)
    run.steady(kvm.machine, exits)
    found = (run.exits, "INTR" if run.ended is None else run.ended.reason, run.reasons,
             dict(vcpu.regs))
    vm.destroy()
    return found


def by_api(kvm, code, exits):
    vm, vcpu = alone(kvm, code)
    summary = vcpu.run(exits=exits)
    found = summary.exits, summary.reason, summary.reasons, dict(vcpu.regs)
    vm.destroy()
    return found


# What comes behind the CPUIDs, how many exits that takes, how KVM calls the end.
ENDS = {
    "HLT": ("f4", 1, "HLT"),
    "OUT": ("e6e9" "f4", 1, "IO"),
    "IN": ("e460" "f4", 1, "IO"),
    "VMCALL, HLT": ("0f01c1" "f4", 2, "HLT"),
    "#DE": ("31c9" "f7f1" "f4", 1, "SHUTDOWN"),
    "#UD": ("0f0b" "f4", 2, "SHUTDOWN"),
    "INT": ("cd80" "f4", 1, "SHUTDOWN"),
    "INVD": ("0f08" "f4", 1, "INTERNAL_ERROR"),
}
# Every length about which a stretch, a warm-up or the one exit between them may end.
EXITS = (1, 2, 3, 9, 10, 11, 12, 99, 100, 101, 102, 103, 110, 111, 199, 200, 300, 500, 1_000,
         100_000)


def test_every_length_of_guest_ends_as_it_ends(kvm, soak):
    """Each in a soak; else those about the ends of stretches, with each other number of exits and
    what is about their own."""
    by_trap = kvm.machine._kernel.by_trap
    lengths = range(1, 301, 11) if by_trap else range(1, 301) if soak else sorted(
        {*range(1, 301, 29), *range(1, 13), *range(96, 113), *range(198, 203)})
    for length in lengths:
        code = bytes.fromhex(cpuids(length) + "f4")
        near = [exits for exits in EXITS if abs(exits - length) < 2]
        for exits in EXITS[::5] if by_trap else EXITS if soak else {
                *EXITS[length % 3::3], *near}:
            found = by_command(kvm, code, exits)
            # decided by what the guest is: its CPUIDs, and HLT if there is an exit left for it
            done = min(length, exits)
            halts = exits > length
            assert found[:3] == (done + halts, "HLT" if halts else "INTR",
                                 {CPUID: done} | ({HLT: 1} if halts else {})), (length, exits)
            assert found == by_api(kvm, code, exits), (length, exits)


@pytest.mark.soak
@pytest.mark.parametrize("name", ENDS)
def test_every_end_at_every_boundary(kvm, name, soak):
    """Each end at every second length, the next one at those between; all of them in a soak."""
    tail, own, reason = ENDS[name]
    lengths = (0, 1, 10, 99) if kvm.machine._kernel.by_trap else \
        (0, 1, 2, 8, 9, 10, 11, 49, 50, 97, 98, 99, 100, 101, 109, 110, 111, 198, 199, 200, 300)
    for length in lengths if soak else lengths[[*ENDS].index(name) % 2::2]:
        code = bytes.fromhex(cpuids(length) + tail)
        for exits in (length + own - 1, length + own, length + own + 1, 500, 1_000, 10_000):
            if exits < 1:
                continue
            found = by_command(kvm, code, exits)
            assert found == by_api(kvm, code, exits), (length, exits)
            total = length + own
            assert found[:2] == (min(total, exits), reason if exits >= total else "INTR")


def test_a_serial_port_keeps_every_byte(kvm):
    """However the run is cut, the bytes are those that the guest sent, in order."""
    code = bytes.fromhex("be2c010000" "66baf803" "89f0" "ee" "ffce" "75f9" "f4")
    sent = bytes(n & 255 for n in range(300, 0, -1))
    for exits in (1, 2, 10, 99, 100, 101, 299, 300, 301, 1_000):
        vm, vcpu = alone(kvm, code)
        run = Run(vcpu, serial=Serial())
        run.steady(kvm.machine, exits)
        assert bytes(run.serial.output) == sent[:exits]
        assert run.exits == min(exits, 301) and (run.ended is None) == (exits < 301)
        assert run.reasons == {IO: min(exits, 300)} | ({HLT: 1} if exits > 300 else {})
        vm.destroy()


def guest_file(tmp_path, code):
    path = tmp_path / "guest.bin"
    path.write_bytes(code if isinstance(code, bytes) else bytes.fromhex(code))
    return path


def modes(report):
    return [report["modes"][mode] for mode in ("vmcs", "evmcs")]


@pytest.mark.parametrize("code, exits, done", [
    (cpuids(99) + "f4", 100_000, 100), ("f4", 5, 1), ("f4", 2, 1), ("f4", 1, 1)])
def test_a_guest_that_ends_with_a_stretch_is_not_run_on(tmp_path, code, exits, done):
    report = kvm_vmx_json("run", "--guest", guest_file(tmp_path, code), "--exits", exits)
    for mode in modes(report):
        assert mode["exits"] == done and mode["reasons"].get("HLT") == 1
        assert mode["ended"] == {"reason": "HLT", "why": "the guest halted", "data": {},
                                 "fault": None, "refusal": None}
    assert report["verdict"]["holds"] and report["verdict"]["differs"] == []


def test_a_guest_whose_exits_are_up_has_not_ended():
    report = kvm_vmx_json("run", "--exits", 200, "--insn", "call")
    for mode in modes(report):
        assert mode["ended"] is None and mode["reasons"] == {"CPUID": 200}
        assert int(mode["registers"]["rip"], 16) >= 0x1000
        # too few to be timed
        assert mode["ns_per_exit"] is mode["ns_interval"] is None
    assert report["timing"] == {"rounds": 0, "measurable": None, "a_a": None}


def test_nothing_timed_is_a_dash():
    table = kvm_vmx("run", "--exits", 10, "--insn", "call").stdout
    assert [line.split() for line in table.splitlines() if line.startswith("ns, ")] == \
        [["ns,", "measured", "here", "-", "-"]]


# A guest as a first one is: it adds two numbers and prints the digit.
DIGIT = bytes.fromhex("b802000000" "bb02000000" "66baf803" "00d8" "0430" "ee" "b00a" "ee" "f4")


def hello(text: bytes) -> bytes:
    """Print what stands behind the code, up to a zero."""
    code = bytes.fromhex("488d3511000000" "66baf803" "8a06" "84c0" "7406" "ee" "48ffc6" "ebf4" "f4")
    assert code[3:7] == (len(code) - 7).to_bytes(4, "little")
    return code + text + b"\0"


def with_idt() -> bytes:
    """INT 0x21 prints A by a handler, IRETQ comes back, the guest prints B."""
    idt, gdt = 0x3000, 0x4000
    handler = bytes.fromhex("b041" "66baf803" "ee" "48cf")
    at = 0x1000 + 0x200
    gate = (at & 0xFFFF) | 0x10 << 16 | 0x8E00 << 32
    stores = b"".join(
        bytes.fromhex("48b8") + value.to_bytes(8, "little") +
        bytes.fromhex("48a3") + place.to_bytes(8, "little")
        for place, value in ((idt + 0x210, gate), (gdt + 0x10, 0x00209B0000000000),
                             (gdt + 0x18, 0x00CF93000000FFFF),
                             (0x5000, idt << 16 | 0xFFF), (0x5010, gdt << 16 | 0x1F)))
    code = stores + bytes.fromhex("0f011c2500500000" "0f01142510500000" "cd21" "b042" "66baf803"
                                  "ee" "f4")
    return code.ljust(0x200, b"\xcc") + handler


GUESTS = {
    "a digit": (DIGIT, "4\n"),
    "a line": (hello(b"Hello, world\n"), "Hello, world\n"),
    "INT and IRETQ": (with_idt(), "AB"),
    # 115200 baud, 8N1: the divisor is not printed
    "set up first": (bytes.fromhex("66bafb03" "b080" "ee" "66baf803" "b001" "ee" "66bafb03" "b003"
                                   "ee" "66bafd03" "ec" "a820" "74fb" "66baf803" "b06f" "ee"
                                   "b06b" "ee" "f4"), "ok"),
}


@pytest.mark.parametrize("name", GUESTS)
def test_serial_prints_and_goes_on(tmp_path, name):
    code, printed = GUESTS[name]
    guest = guest_file(tmp_path, code)
    report = kvm_vmx_json("run", "--guest", guest, "--serial")
    for mode in modes(report):
        assert (mode["serial"], mode["ended"]["reason"]) == (printed, "HLT")
    done = kvm_vmx("run", "--guest", guest, "--serial")
    assert done.returncode == 0
    assert f"\nThe guest printed:\n{printed.rstrip()}\n" in done.stdout


def test_without_serial_the_first_out_is_told(tmp_path):
    done = kvm_vmx("run", "--guest", guest_file(tmp_path, DIGIT))
    assert "The guest ended early: IO.\nOUT of 1 byte, 0x34, to port 0x3f8\n" in done.stdout
    data = modes(kvm_vmx_json("run", "--guest", guest_file(tmp_path, DIGIT)))[1]["ended"]["data"]
    assert data == {"direction": "out", "size": 1, "port": 0x3F8, "data": 0x34}


def test_another_port_ends_it_with_serial_too(tmp_path):
    done = kvm_vmx("run", "--serial", "--guest", guest_file(tmp_path, "e460" "f4"))
    assert "IN of 1 byte from port 0x60\n" in done.stdout


def test_a_trace_goes_on_behind_the_first_byte_too(tmp_path):
    """Two bytes and HLT: three entries in each mode."""
    trace = tmp_path / "trace.json"
    done = kvm_vmx("run", "--serial", "--trace", trace, "--guest", guest_file(tmp_path, DIGIT))
    assert done.returncode == 0
    events = json.loads(trace.read_text())["traceEvents"]
    for process in 1, 2:
        assert sum(event["pid"] == process and event["name"].startswith("VM exit: ")
                   for event in events) == 3


def test_what_a_guest_prints_moves_no_terminal(tmp_path):
    guest = guest_file(tmp_path, hello(b"\x1b[2Jx\r\n\xff\x07\xc3\xa9"))
    done = kvm_vmx("run", "--guest", guest, "--serial")
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout and "[2Jx\n" in done.stdout
    assert "\xe9" in done.stdout


def test_a_guest_that_dies_is_told(tmp_path):
    done = kvm_vmx("run", "--guest", guest_file(tmp_path, "90" "0fa2" "0f0b"))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    at = lines.index("The guest ended early: SHUTDOWN.")
    assert lines[at + 1].startswith("guest #UD at 0x1003: 0f 0b")
    assert lines[at + 2].endswith(": a triple fault") and "#DF" in lines[at + 2]
    report = kvm_vmx_json("run", "--guest", guest_file(tmp_path, "90" "0fa2" "0f0b"))
    fault = modes(report)[0]["ended"]["fault"]
    assert (fault["event"], fault["vector"], fault["rip"], fault["bytes"], fault["triple"]) == \
        ("#UD", 6, "0x1003", "0f 0b", True)
    assert fault["then"][-2] == {"event": "#DF", "vector": 8, "error_code": 0, "address": None}
    assert modes(report)[0]["reasons"] == {"EXCEPTION_NMI": 1, "TRIPLE_FAULT": 1, "CPUID": 1}


def test_running_behind_the_code_is_told(tmp_path):
    done = kvm_vmx("run", "--guest", guest_file(tmp_path, "90"))
    assert "the guest's code ends at 0x1001\n" in done.stdout


def test_a_strict_run_that_stops_has_a_verdict_in_json():
    done = kvm_vmx("run", "--exits", 200, "--strict", "--profile", "ice-lake", "--json")
    report = schemed.kept_text(done.stdout)
    assert report["verdict"]["holds"] == (done.returncode == 0)
