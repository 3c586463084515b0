# SPDX-License-Identifier: GPL-2.0-only
"""A VMCS that is listed field by field is read: by encoding, whoever names it how, or by name."""

import random

import pytest

from kvm_vmx import Field, decode, decode_all
from kvm_vmx.decode.dumps import MOST
from kvm_vmx.decode.layouts import width
from kvm_vmx.decode.listed import read_listed

WHOLE = [field for field in Field if not field.name.endswith("_HIGH")]
# as HAXM logs it, on Windows, macOS, NetBSD; and as others do
FORMS = {
    "haxm": "haxm_warning:{code:04x} VMX_{name}: {value:x}",
    "macos": "2019-01-11 13:29:19.100937+0800  localhost kernel[0]: (intelhaxm) haxm_warn: "
             "{code:04x} {name}: {value:x}",
    "netbsd": "Jun 16 15:07:09 localhost /netbsd: [ 1776.3439261] haxm_warning: "
              "{code:04x} X{name}X: {value:x}",
    "table": "00008149\t1.46222651\thaxm_warning: {code:04x} ANY_NAME: {value:x}\t",
    "hexadecimal": "0x{code:04X}  {name} = 0x{value:X}",
    "by name": "{name} = {value:#x}",
    "decode": "  {name:34} {value:#018x}",
}


def listed(form, seed=0):
    dice = random.Random(f"{form} {seed}")
    fields = dice.sample(WHOLE, len(WHOLE))
    values = {field.name: dice.getrandbits(dice.choice([1, 8 * width(field.name)]))
              for field in fields}
    lines = [FORMS[form].format(code=field.value, name=field.name, value=values[field.name])
             for field in fields]
    return values, lines


@pytest.mark.parametrize("form", FORMS)
def test_every_field_in_any_order(form):
    values, lines = listed(form)
    (found,) = read_listed("\n".join(["vcpu begin to run....", *lines, "vcpu 0 is teardown."]))
    assert found.values == values and found.line == 2 and found.notes == ()


def test_two_of_them_are_two():
    first, lines = listed("haxm")
    second = [line.rpartition(" ")[0] + " 1" for line in lines]
    found = read_listed("\n".join([*lines, "between", *second]))
    assert [one.values for one in found] == [first, dict.fromkeys(first, 1)]
    assert [one.line for one in found] == [1, len(lines) + 2]
    assert [one.at for one in decode_all("\n".join([*lines, *second]))] == [1, len(lines) + 1]


def test_no_more_are_read_than_of_dumps():
    assert len(read_listed("GUEST_RIP = 1\n" * (MOST + 5))) == MOST


def test_halves_are_put_together():
    rows = "201a EPT_POINTER: aaaa0000bbbbb01e\n201b EPT_POINTER_HIGH: 12\n"
    assert read_listed(rows)[0].values == {"EPT_POINTER": 0x12BBBBB01E}


def test_what_is_too_wide_is_left_out_and_told():
    (found,) = read_listed("681e GUEST_RIP: 10f\n0802 GUEST_CS_SELECTOR: 12345\n")
    assert found.values == {"GUEST_RIP": 0x10F}
    assert found.notes == ("GUEST_CS_SELECTOR: 0x12345 has more than 16 bits, and is left out",)


def test_it_is_judged():
    """Single-stepping over the shadow of an STI: a trap must be pending."""
    state = decode("haxm_panic: vmx entry failure: reason 80000021\n"
                   "haxm_warning:6820 GUEST_RFLAGS: 302\n"
                   "haxm_warning:4824 GUEST_INTERRUPTIBILITY: 1\n"
                   "haxm_warning:6822 GUEST_PENDING_DBE: 0\n")
    assert state.form == "fields" and [why.id for why in state.refusals] == ["pending_step"]


@pytest.mark.parametrize("text", [
    "", "0000 0000: 0", "zzzz GUEST_RIP 5", "2fff NO_FIELD: 1", "GUEST_NOTHING: 0x5",
    "681e GUEST_RIP", "0802 GUEST_CS: 123456", "681e GUEST_RIP: none", "GUEST_RIP " * 9])
def test_what_lists_nothing(text):
    assert read_listed(text + "\n") == []
