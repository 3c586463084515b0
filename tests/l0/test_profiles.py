# SPDX-License-Identifier: GPL-2.0-only
"""Profiles as data: the shipped ones, a user's own, and what is wrong with a bad one."""

import os
import random

import pytest
from command import kvm_vmx
from world import ROOT, World

from kvm_vmx.l0.profile import POLICIES, PROFILES, build, load

WHOLE = (ROOT / "kvm_vmx/profiles/kvm-6.12.toml").read_text()


def write(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_the_shipped_profiles_are_complete():
    assert set(PROFILES) == {"kvm-6.12", "tlfs-strict", "ice-lake", "bare"}
    for name, profile in PROFILES.items():
        assert profile.name == name and profile.title
        assert set(profile.policies) == set(POLICIES)
        assert profile.vmcs_revision == 0x11E57ED0
        assert all(0x40000000 + n in profile.cpuid for n in range(11))


def test_every_value_has_its_source():
    profile = PROFILES["kvm-6.12"]
    keys = {f"cpuid.{leaf:#x}" for leaf in profile.cpuid}
    keys |= {f"msr.{index:#x}" for index in profile.msrs}
    keys |= {f"policy.{name}" for name in POLICIES} | {"maxphyaddr", "enforce_cpuid"}
    assert set(profile.sources) == keys and all(profile.sources.values())
    for name in ("tlfs-strict", "ice-lake", "bare"):
        assert all(PROFILES[name].sources.values())


@pytest.mark.rule("R64")
def test_ice_lake_offers_what_has_no_field():
    plain, rich = PROFILES["kvm-6.12"].msrs, PROFILES["ice-lake"].msrs
    for index in (0x481, 0x483, 0x48B):
        assert rich[index] >> 32 & ~(plain[index] >> 32)
    assert not plain[0x48B] >> 32 & (1 << 25 | 1 << 17 | 1 << 9) and rich[0x48B] >> 57 & 1


def test_bare_is_a_processor_without_a_hypervisor():
    """SDM 2A, CPUID: ECX[31] of leaf 1 is 0 in every processor, and 0x40000000 up are no leaves."""
    bare, lake = PROFILES["bare"], PROFILES["ice-lake"]
    assert bare.cpuid[1] == (*lake.cpuid[1][:2], lake.cpuid[1][2] & ~(1 << 31), lake.cpuid[1][3])
    assert not any(any(bare.cpuid[0x40000000 + n]) for n in range(11))
    machine = World(profile="bare")
    assert machine.cpu.cpuid(0x40000000) == (0, 0, 0, 0) and machine.cpu.rdmsr(0x480).ok
    # what only leaves announce is not there: the first of an L1's hypercall page
    more = bare.msrs[0x48B] & ~lake.msrs[0x48B], bare.msrs[0x481] & ~lake.msrs[0x481]
    # shadow VMCSs, page-modification logging; the virtual APIC
    assert more == ((1 << 14 | 1 << 17 | 0x301) << 32, 1 << (32 + 7))


def test_a_file_changes_what_it_names(tmp_path):
    path = write(tmp_path, """
        title = "mine"
        base = "tlfs-strict"
        maxphyaddr = { value = 39, source = "the box in the corner" }
        enforce_cpuid = true
        [cpuid.0x4000000A]
        eax = 0x0101
        [cpuid.1073741826]
        ebx = 7
        [msr.0x8b]
        value = 5
        source = "its firmware"
        [policy]
        assist_overlay = false
    """)
    profile, base = build(path), PROFILES["tlfs-strict"]
    assert profile.title == "mine" and profile.maxphyaddr == 39 and profile.enforce_cpuid
    assert profile.cpuid[0x4000000A] == (0x101, 0, 0, 0)
    assert profile.cpuid[0x40000002] == (0, 7, 0, 0)
    # without EBX[0] of the leaf PERF_GLOBAL_CTRL is not on offer, either
    unannounced = {index: base.msrs[index] & ~(1 << bit)
                   for index, bit in ((0x483, 44), (0x48F, 44), (0x484, 45), (0x490, 45))}
    assert profile.msrs == {**base.msrs, **unannounced, 0x8B: 5}
    assert profile.policies == {**base.policies, "assist_overlay": False}
    assert profile.sources["msr.0x8b"] == "its firmware"
    assert profile.sources["maxphyaddr"] == "the box in the corner"
    world = World(profile=path)
    assert world.cpu.rdmsr(0x8B).value == 5 and world.cpu.cpuid(0x80000008)[0] & 0xFF == 39
    world = World(profile=path, maxphyaddr=46, enforce_cpuid=False)
    assert world.partition.profile.maxphyaddr == 46


def test_a_file_without_a_base(tmp_path):
    assert load(write(tmp_path, WHOLE)).cpuid == PROFILES["kvm-6.12"].cpuid
    with pytest.raises(ValueError, match="msr.0x480 is missing.*base"):
        load(write(tmp_path, "title = 'nothing'"))


BAD = {
    "not TOML": ("a = = 1", "Invalid value"),
    "an unknown key": ("speed = 3", "no key speed: there are title, base"),
    "an unknown base": ("base = 'xen'", "no profile 'xen': the profiles are bare"),
    "a base that is none": ("base = 5", "base is 5: give a text"),
    "an unknown policy": ("policy.assist = true", "no key policy.assist: there are bad_evmcs"),
    "a policy that is none": ("policy.assist_overlay = 1", "policy.assist_overlay is 1: give true"),
    "policies that are none": ("policy = 5", "policy is 5: give a table"),
    "a leaf with a name": ("[cpuid.first]", "cpuid.first: name it by its number"),
    "a negative leaf": ("[cpuid.-1]", "cpuid.-1: name it by its number"),
    "a leaf that is none": ("cpuid.0x1 = 5", "cpuid.0x1 is 5: give a table of eax"),
    "an unknown register": ("[cpuid.0x1]\nesi = 1", "no key cpuid.0x1.esi: there are eax"),
    "a wide register": ("[cpuid.0x1]\neax = 0x100000000", "cpuid.0x1.eax is 4294967296: give"),
    "a negative register": ("[cpuid.0x1]\nebx = -1", "cpuid.0x1.ebx is -1: give an integer"),
    "a register in words": ("[cpuid.0x1]\necx = 'x'", "cpuid.0x1.ecx is 'x': give an integer"),
    "a leaf's source": ("[cpuid.0x1]\nsource = 5", "cpuid.0x1.source is 5: give a text"),
    "an MSR without value": ("[msr.0x10]\nsource = 'x'", "msr.0x10.value is missing: give it"),
    "a wide MSR": ("[msr.0x10]\nvalue = 0x10000000000000000", "msr.0x10 is 184467440737095516"),
    "a true MSR": ("[msr.0x10]\nvalue = true", "msr.0x10 is True: give an integer"),
    "a wide index": ("[msr.0x100000000]\nvalue = 1", "msr.0x100000000: name it by its number"),
    "a control that must and may not": (
        "[msr.0x481]\nvalue = 0x16", "msr.0x481 is 0x16: a bit that must be 1"),
    "too few address bits": ("maxphyaddr = 8", "maxphyaddr is 8: give an integer from 32"),
    "a flag in words": ("enforce_cpuid = 'yes'", "enforce_cpuid is 'yes': give true or false"),
    "a subleaf that is none": ("cpuid.0x4.1 = 5", "cpuid.0x4.1 is 5: give a table of eax"),
    "an unknown register of a subleaf": ("[cpuid.0x4.1]\nesi = 1", "no key cpuid.0x4.1.esi"),
    "a control that L0 lacks": (
        "[msr.0x48b]\nvalue = 0x40000000000000", "MSR 0x48b bit 54 (mode-based execute control)"),
    "a privilege that L0 lacks": (
        "[cpuid.0x40000003]\nebx = 1", "leaf 0x40000003 EBX[0] (creation of partitions)"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line_that_names_the_key(tmp_path, text, words):
    needs_base = "" if "base" in text else "base = 'kvm-6.12'\n"
    path = write(tmp_path, needs_base + text)
    with pytest.raises(ValueError) as error:
        build(path)
    assert words in str(error.value) and path in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("name", PROFILES)
def test_each_partition_has_a_profile_of_its_own(name, unfinished):
    def profile():
        return World(vmx=False, profile=name, unfinished=unfinished).partition.profile

    whole = build(name, unfinished=unfinished)
    mine = profile()
    assert mine == whole
    for numbers in (mine.cpuid, mine.msrs, mine.policies):
        numbers.clear()
    assert profile() == whole
    # what is no number is refused behind one that is
    with pytest.raises(ValueError, match="maxphyaddr is 46.0"):
        World(vmx=False, profile=name, maxphyaddr=46.0)


def test_files_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    for name, words in (("nowhere", "No such file"), ("fifo", "not a regular file"),
                        ("folder", "Is a directory"), ("bytes", "not UTF-8"),
                        ("large", "larger than")):
        with pytest.raises(ValueError, match=words) as error:
            build(str(tmp_path / f"{name}.toml"))
        assert "\n" not in str(error.value)


def test_any_file_is_survived(tmp_path):
    rng = random.Random(4)
    for _ in range(300):
        text = bytearray(WHOLE.encode())
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text))
            text[at:at + rng.randrange(8)] = rng.randbytes(rng.randrange(6))
        path = tmp_path / "any.toml"
        path.write_bytes(bytes(text))
        try:
            World(vmx=False, profile=str(path))
        except ValueError as error:
            assert "\n" not in str(error)


def test_the_command_line_takes_a_file(tmp_path):
    good = write(tmp_path, "base = 'tlfs-strict'\n")
    assert kvm_vmx("run", "--exits", 500, "--profile", good).returncode == 0
    bad = write(tmp_path, "base = 'tlfs-strict'\nmsr.0x480 = -1\n", "bad.toml")
    done = kvm_vmx("run", "--profile", bad)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"kvm-vmx: {bad}: msr.0x480 is -1: give an integer from 0 to " \
                          "0xffffffffffffffff\n"


@pytest.mark.parametrize("text, says", [
    ("a=" + "[" * 5_000, "nested too deep"), ("a=" + "{a=" * 5_000, "nested too deep"),
    (f"{'a' * 5_000} = 1", "there are title"), (f"[msr.{'9' * 5_000}]\nvalue = 1", "by its number"),
    (f"base = \"{'x' * 5_000}\"", "a file whose name ends in .toml")])
def test_a_monstrous_profile_is_one_short_line(tmp_path, text, says):
    with pytest.raises(ValueError) as error:
        load(write(tmp_path, text))
    assert says in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(tmp_path)) + 350
