# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx doctor: what it makes of files of hosts, as their owners have published or could."""

import gzip
import pathlib
import random

import pytest
import schemed
from command import kvm_vmx

from kvm_vmx import Machine, cli
from kvm_vmx.console import Trouble
from kvm_vmx.doctor import files, lines, live, verdict
from kvm_vmx.doctor.chart import Chart

AZURE = pathlib.Path(__file__).parents[1] / "data" / "azure_f72s_v2_cpuid_r.txt"
# Lines that kernels log, from public logs.
WSL2_AMD = """\
[    0.000000] Hypervisor detected: Microsoft Hyper-V
[    0.000000] Hyper-V: privilege flags low 0xae7f, high 0x3b8030, hints 0x902c2c, misc 0xe0bed7b6
[    0.000000] Hyper-V Host Build:26100-10.0-2-0.2605
[    0.000000] Hyper-V: Nested features: 0x4a0000
[    0.291289] kvm: no hardware support
[    0.295719] SVM: kvm: Nested Paging enabled
"""
WSL2_INTEL = """\
[    0.000000] Linux version 5.15.167.4-microsoft-standard-WSL2 (root@x) #1 SMP
[    0.000000] Command line: initrd=\\initrd.img WSL_ROOT_INIT=1 panic=-1 nr_cpus=16
[    0.000000] Hypervisor detected: Microsoft Hyper-V
[    0.000000] Hyper-V: privilege flags low 0xae7f, high 0x3b8030, hints 0x64e24, misc 0xe0bed7b2
[    0.000000] Hyper-V: Nested features: 0x3e0101
[    0.101010] smpbboot: CPU0: Intel(R) Core(TM) i7-12700H (family: 0x6, model: 0x9a)
[    0.300000] kvm_intel: Using Hyper-V Enlightened VMCS
"""
OF_4_19 = """\
kernel: Linux version 4.19.43 (gcc) #1
kernel: Hypervisor detected: Microsoft Hyper-V
kernel: Hyper-V: features 0x2e7f, hints 0xc2c
kernel: Hyper-V Host Build:17763-10.0-1-0.107
"""
CPUINFO = """\
processor\t: 0
vendor_id\t: {vendor}
flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr {flags}

processor\t: 1
vendor_id\t: {vendor}
flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr {flags}
"""
QEMU_HYPERV = """\
CPU 0:
   0x00000000 0x00: eax=0x00000016 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
   0x00000001 0x00: eax=0x000606a6 ebx=0x00010800 ecx=0xfffa3223 edx=0x1f8bfbff
   0x40000000 0x00: eax=0x40000005 ebx=0x7263694d ecx=0x666f736f edx=0x76482074
   0x40000001 0x00: eax=0x31237648 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x40000003 0x00: eax=0x00000070 ebx=0x00000000 ecx=0x00000000 edx=0x00000008
   0x40000004 0x00: eax=0x00000020 ebx=0xffffffff ecx=0x00000000 edx=0x00000000
   0x40000100 0x00: eax=0x40000101 ebx=0x4b4d564b ecx=0x564b4d56 edx=0x0000004d
CPU 1:
   0x00000000 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
"""
QEMU_EVMCS = QEMU_HYPERV.replace("eax=0x40000005", "eax=0x4000000a").replace(
    "0x40000004 0x00: eax=0x00000020", "0x40000004 0x00: eax=0x00004020").replace(
    "CPU 1",
    "   0x4000000a 0x00: eax=0x00000101 ebx=0x00000000 ecx=0x00000000 edx=0x00000000\nCPU 1")
PARAMETERS = "ept:Y\nnested:Y\nunrestricted_guest:Y\nvpid:Y\n"

# {case: (texts, used, cause, kind, words of the answer)}
CASES = {
    "amd": ([WSL2_AMD], False, "svm", "hyper-v-amd", "AMD"),
    "intel": ([WSL2_INTEL], True, "", "wsl2", "Using Hyper-V Enlightened VMCS"),
    "4.19": ([OF_4_19], False, "hint", "hyper-v", "bit 14 of CPUID 0x40000004 EAX, 0xc2c"),
    "bare": ([CPUINFO.format(vendor="GenuineIntel", flags="vmx")], False, "hypervisor", "bare",
             "no hypervisor"),
    "bare amd": ([CPUINFO.format(vendor="AuthenticAMD", flags="svm")], False, "svm", "bare-amd",
                 "AMD"),
    "kvm": (["Hypervisor detected: KVM\n"], False, "signature", "kvm", "'KVM'"),
    "kvm as hyper-v": ([QEMU_HYPERV], False, "hint", "kvm-hyper-v", "bit 14"),
    "said no": (["Command line: ro kvm-intel.enlightened_vmcs=0 quiet\n",
                 WSL2_INTEL.rpartition("[")[0]], False, "parameter",
                "wsl2", "enlightened_vmcs=0"),
    "an option": (["options kvm_intel nested=1 enlightened_vmcs=N\n"], False, "parameter",
                  "unknown", "enlightened_vmcs=0"),
    "no config": (["# CONFIG_HYPERV is not set\n", OF_4_19], False, "config", "hyper-v",
                  "without CONFIG_HYPERV"),
    "no parameter": ([PARAMETERS], False, "config", "unknown", "without CONFIG_HYPERV"),
    "on now": ([f"{PARAMETERS}enlightened_vmcs:Y\n"], True, "", "unknown", "enlightened_vmcs:Y"),
    "off now": ([f"{PARAMETERS}enlightened_vmcs:N\n"], False, "", "unknown", "enlightened_vmcs:N"),
    "built in and given up": (
        ["/sys/module/kvm_intel/parameters/enlightened_vmcs:Y\n", WSL2_AMD], False, "svm",
        "hyper-v-amd", "AMD"),
    "no vmx": ([WSL2_INTEL.replace("kvm_intel: Using Hyper-V Enlightened VMCS",
                                   "kvm_intel: VMX not supported by CPU 3")], False, "vmx", "wsl2",
               "no VMX"),
    "bios": ([WSL2_INTEL.replace("kvm_intel: Using Hyper-V Enlightened VMCS",
                                 "x86/cpu: VMX (outside TXT) disabled by BIOS")], False, "bios",
             "wsl2", "firmware"),
    "locked": ([QEMU_EVMCS, CPUINFO.format(vendor="GenuineIntel", flags="hypervisor")], False,
               "bios", "kvm-hyper-v", "firmware"),
    "evmcs of kvm": ([QEMU_EVMCS], True, "", "kvm-hyper-v", "when kvm_intel is loaded"),
    "no leaf": ([QEMU_EVMCS.replace("eax=0x4000000a", "eax=0x40000009"), "Linux version 6.1.5\n"],
                False, "nested_leaf", "kvm-hyper-v", "ends below 0x4000000a"),
    "tdx": (["Hyper-V: privilege flags low 0x2e7f, high 0x7b8030, hints 0x64e24, misc 0x0\n"
             "Hyper-V: Isolation Config: Group A 0x1, Group B 0x3\n"
             "Linux version 6.12.1\nHyper-V: Isolation Config: Group A 0x1, Group B 0xbe3\n"
             "Hyper-V: privilege flags low 0x2e7f, high 0x7b8030, hints 0x64e24, misc 0x0\n"],
            False, "isolation", "hyper-v", "TDX"),
    "nothing speaks": (["CPU0: Intel(R) Xeon(R)\n"], None, "", "unknown", "does not tell"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_host(case, tmp_path):
    texts, used, cause, kind, words = CASES[case]
    chart = Chart()
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.txt"
        path.write_text(text)
        chart.take(files.read(str(path)))
    found = verdict.judge(chart)
    assert (found.used, found.cause, found.kind) == (used, cause, kind), found.answer
    assert words in found.answer
    assert used or found.changes
    # what is told has a line that tells it
    assert all(one.evidence for one in found.findings
               if one.holds is not None and one.id != "parameter")


def test_the_evidence_names_file_line_and_value(tmp_path):
    path = tmp_path / "dmesg"
    path.write_text(OF_4_19)
    hint = next(one for one in verdict.judge(files.read(str(path))).findings if one.id == "hint")
    assert hint.evidence == (f"{path}:3: kernel: Hyper-V: features 0x2e7f, hints 0xc2c",)
    assert (hint.function, hint.file) == ("vmx_init", "arch/x86/kvm/vmx.c")


def test_a_real_azure_dump(capsys):
    assert cli.main(["doctor", str(AZURE), "--json"]) == 0
    report = schemed.kept_text(capsys.readouterr().out)
    assert report["schema"] == "kvm_vmx.doctor/1" and report["used"] and report["kind"] == "hyper-v"
    holds = {row["id"]: row["holds"] for row in report["conditions"]}
    assert holds["hint"] and holds["version"] and holds["vmx"] and holds["assist"] is None
    assert "1323 cycles" in report["cost"]
    with Machine(cpuid=str(AZURE)) as m:
        kvm = m.insmod()
        assert kvm.enable_evmcs or kvm.why_not_evmcs[0].id == "config"


def test_the_page_says_why_and_what_to_change(tmp_path):
    path = tmp_path / "wsl.txt"
    path.write_text(OF_4_19)
    done = kvm_vmx("doctor", str(path))
    assert done.returncode == 1
    assert done.stdout.startswith("KVM does not use enlightened VMCSs: the hypervisor does not ")
    for words in ("NO ", "vmx_init(), vmx.c", f"{path}:3:", "As Linux 6.12 asks: not used",
                  "ExposeVirtualizationExtensions", "8 VMREADs and VMWRITEs an exit"):
        assert words in done.stdout


def test_the_port_and_the_doctor_agree(tmp_path):
    """What a machine says in its log and what its CPUID holds, read as a host's files."""
    wrong = {0x40000004: (0x902C2C, 0xFFF, 0, 0)}
    for cpuid in ({}, wrong):
        with Machine(cpuid=cpuid) as m:
            kvm = m.insmod()
            path = tmp_path / "log"
            path.write_text("\n".join(m.dmesg))
            leaves = (tmp_path / "cpuid")
            leaves.write_text("CPU:\n" + "".join(
                "   0x{:08x} 0x00: eax=0x{:08x} ebx=0x{:08x} ecx=0x{:08x} edx=0x{:08x}\n".format(
                    leaf, *m.cpu(0).cpuid(leaf)) for leaf in live.LEAVES))
            chart = files.read(str(path))
            chart.take(files.read(str(leaves)))
            found = verdict.judge(chart, "4.19")
            why = [one.id for one in kvm.why_not_evmcs if one.id != "config"]
            assert [one.id for one in found.findings if one.holds is False] == why
            if kvm.enable_evmcs:
                assert found.used and "using Hyper-V Enlightened VMCS" in found.answer


def test_the_last_boot_counts_and_contradictions_are_told(tmp_path, capsys):
    path = tmp_path / "journal"
    path.write_text(OF_4_19 + WSL2_INTEL)
    assert verdict.judge(files.read(str(path))).used
    other = tmp_path / "other"
    other.write_text(WSL2_AMD)
    assert cli.main(["doctor", str(path), str(other), "--json"]) in (0, 1)
    told = schemed.kept_text(capsys.readouterr().out)["contradictions"]
    assert any(line.startswith("hints is 0x64e24 in ") and "0x902c2c" in line for line in told)


def test_directories_mails_archives_and_other_encodings(tmp_path):
    folder = tmp_path / "parameters"
    folder.mkdir()
    for name, value in (("ept", "Y\n"), ("enlightened_vmcs", "N\n")):
        (folder / name).write_text(value)
    assert verdict.judge(files.read(str(folder))).answer.endswith("given")
    assert verdict.judge(files.read(str(folder / "enlightened_vmcs"))).used is False
    packed = tmp_path / "config.gz"
    packed.write_bytes(gzip.compress(b"CONFIG_HYPERV=m\n"))
    assert files.read(str(packed)).value("config_hyperv") is True
    wide = tmp_path / "wide.txt"
    wide.write_text(OF_4_19, encoding="utf-16")
    assert files.read(str(wide)).value("hints") == 0xC2C
    mail = tmp_path / "mail"
    mail.write_text(">    0x40000004 0x00: eax=3D0x00064e24 ebx=3D0x00000fff ecx=3D0x0=\n"
                    "000002e edx=3D0x00000000\n>    0x40000000 0x00: eax=3D0x4000000a "
                    "ebx=3D0x7263694d ecx=3D0x666f736f edx=3D0x76482074\n")
    chart = files.read(str(mail))
    assert chart.value("hints") == 0x64E24 and f"{mail}:1:" in chart.facts["hints"].source


def test_this_host_without_any_file(capsys):
    assert cli.main(["doctor", "--json"]) in (0, 1)
    report = schemed.kept_text(capsys.readouterr().out)
    assert report["release"] and report["answer"] and len(report["conditions"]) >= 11


def host_copy(root):
    """A copy of a host's files, as far as they count."""
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text("6.1.0-13-amd64\n")
    (root / "proc/cmdline").write_text("quiet kvm_intel.enlightened_vmcs=1\n")
    (root / "sys/class/dmi/id").mkdir(parents=True)
    (root / "sys/class/dmi/id/chassis_asset_tag").write_text(
        "7783-7084-3265-9085-8269-3286-77\n")
    (root / "sys/module/kvm_intel/parameters").mkdir(parents=True)
    (root / "sys/module/kvm_intel/parameters/enlightened_vmcs").write_text("N\n")
    for cpu, value in ((0, 1), (3, 0)):
        folder = root / f"dev/cpu/{cpu}"
        folder.mkdir(parents=True)
        with (folder / "msr").open("wb") as file:
            for index, number in ((0x3A, 5), (0x40000073, value)):
                file.seek(index)
                file.write(number.to_bytes(8, "little"))


def test_a_copy_of_a_host(tmp_path):
    host_copy(tmp_path)
    leaves = {leaf: registers for leaf, registers in files.parse_cpuid(AZURE.read_text()).items()
              if not isinstance(leaf, tuple)}
    chart = live.read(str(tmp_path), leaves.get)
    found = verdict.judge(chart)
    assert (found.used, found.cause, found.kind, found.kernel) == (False, "assist", "azure", "6.1")
    assert "CPU 3" in found.answer and found.release == "6.1.0-13-amd64"


@pytest.mark.parametrize("name, text", [
    ("empty", b""), ("words", b"nothing to see\n"), ("zeros", bytes(5000)),
    ("gzip", b"\x1f\x8b" + b"rubbish" * 9), ("half", gzip.compress(WSL2_AMD.encode())[:-9]),
])
def test_what_is_no_file_of_a_host_is_one_line(name, text, tmp_path):
    path = tmp_path / name
    path.write_bytes(text)
    done = kvm_vmx("doctor", str(path))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and ": give " in done.stderr


@pytest.mark.parametrize("path", ["/dev/zero", "/nowhere", "/dev/tty", "a\0b"])
def test_what_is_no_file_at_all_is_one_line(path):
    with pytest.raises(Trouble) as caught:
        files.read(path)
    assert "\n" not in str(caught.value) and ": give " in str(caught.value)


def test_control_characters_are_shown_and_not_obeyed(tmp_path):
    path = tmp_path / "evil"
    path.write_text("Linux version 6.1\x1b[2J\nHypervisor detected: KVM\x1b]0;owned\x07\n"
                    "\x1b[31mHyper-V: privilege flags low 0xae7f, high 0x3b8030, hints 0x902c2c\n")
    done = kvm_vmx("doctor", str(path))
    assert done.returncode == 1 and "\x1b" not in done.stdout + done.stderr


# How kernels print the hypervisor's features and hints: v4.19, 5.0, 5.10 to 6.12, later ones.
FEATURES = ("Hyper-V: features 0x{0:x}, hints 0x{3:x}",
            "Hyper-V: privilege flags low 0x{0:x}, hints 0x{3:x}, misc 0x{4:x}",
            "Hyper-V: privilege flags low 0x{0:x}, high 0x{1:x}, hints 0x{3:x}, misc 0x{4:x}",
            "Hyper-V: privilege flags low {0:s}, high {1:s}, ext {2:s}, hints {3:s}, misc {4:s}")


class Alternate(int):
    """A number that prints as %#x does where it is asked for as text: 0 has no 0x."""

    def __format__(self, how):
        return format(int(self), how) if how != "s" else hex(self) if self else "0"


@pytest.mark.parametrize("form", FEATURES)
@pytest.mark.parametrize("values", [(0xAE7F, 0x3B8030, 0x62, 0x64E24, 0xE0BED7B2),
                                    (0xAE7F, 0, 0, 0, 0), (0, 0x3B8030, 0, 0x902C2C, 0)])
def test_the_features_as_each_kernel_prints_them(form, values):
    told = dict((name, value) for name, value, _ in lines.facts_of_line(
        "[    0.000000] " + form.format(*map(Alternate, values))))
    assert (told["features"], told["hints"]) == (values[0], values[3])
    assert told.get("priv_high", values[1]) == values[1]
    assert ("priv_high" in told) == ("high" in form)


def test_mutated_files_end_in_a_verdict_or_in_one_line(soak, tmp_path):
    """Bytes changed, dropped, doubled, spliced: nothing but Trouble ever comes of it."""
    dice = random.Random(14)
    seeds = [text.encode() for text in (WSL2_AMD, WSL2_INTEL, OF_4_19, QEMU_HYPERV, PARAMETERS)]
    seeds += [AZURE.read_bytes(), CPUINFO.format(vendor="GenuineIntel", flags="vmx").encode()]
    path = tmp_path / "mutant"
    ends = {"verdict": 0, "trouble": 0}
    for _ in range(100_000 if soak else 300):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 12)):
            at = dice.randrange(len(data) + 1)
            how = dice.randrange(4)
            if how == 0 and at < len(data):
                data[at] = dice.randrange(256)
            elif how == 1:
                del data[at:at + dice.randint(1, 200)]
            elif how == 2:
                data[at:at] = data[at:at + 40] * dice.randint(1, 9)
            else:
                other = dice.choice(seeds)
                data[at:at] = other[dice.randrange(len(other)):][:300]
        path.write_bytes(data)
        try:
            found = verdict.judge(files.read(str(path)))
            assert "\n" not in found.answer
            ends["verdict"] += 1
        except Trouble as trouble:
            assert "\n" not in str(trouble)
            ends["trouble"] += 1
    assert ends["verdict"] and ends["trouble"]


def test_a_long_file_takes_no_long_time(tmp_path):
    """No pattern goes over a line again and again: 8 MiB of what nearly matches is read."""
    path = tmp_path / "long"
    path.write_bytes(b"Hyper-V: features 0x " * 100_000 + b"\n" + b"a/" * 500_000 + b"kvm\n"
                     + b"flags : " + b"vmx " * 500_000 + b"\n" + b"=3D=\n" * 300_000)
    assert files.read(str(path)).value("cpuinfo_vmx") is True
