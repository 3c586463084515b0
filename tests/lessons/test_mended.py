# SPDX-License-Identifier: GPL-2.0-only
"""Every lesson on a port with one erratum mended: what it says is what that port does.

The answers come from the models of the lessons' own tests, changed as the erratum is; what a lesson
calls an erratum of the port is one that it still has.
"""

import contextlib
import json
import os

import mended
import pytest
import rules
import test_assist
import test_bitmap
import test_bug
import test_clean
import test_cost
import test_detect
import test_exit
import test_history
import test_hotplug
import test_levels
import test_reload
import test_stale
import test_table
import test_vmcs

from kvm_vmx import Machine, cli
from kvm_vmx.lessons import NAMES, errata, load
from kvm_vmx.lessons.bug_cases import ENCLS_SLOT

pytestmark = pytest.mark.long

# Of each erratum, the runs that have nothing to show once it is mended: {lesson: cases}.
GONE = {
    "holes": {"bug": {"holes", "perf_global_ctrl"}}, "host_rsp": {"bug": {"host_rsp"}},
    "perf_global_ctrl": {"bug": {"perf_global_ctrl"}}, "encls": {"bug": {"encls"}},
    "stale_assist": {"bug": {"stale_assist"}, "reload": {"offline"}},
    # a page that is taken back at the VMCLEAR has nothing left when its CPU goes offline
    "two_pages": {"bug": {"stale_assist"}, "reload": {"offline"}},
    "offline_order": {"hotplug": {"new", "again", "short"}},
    "assist_not_zeroed": {"bug": {"assist_not_zeroed"}}, "memset_size": {"bug": {"memset_size"}},
    "clean_after_failure": {"bug": {"clean_after_failure"}},
}
# Where they are in an assist page.
ENLIGHTEN_VMENTRY, CURRENT_NESTED_VMCS = 40, 48
# Each way costs a build of the port, and comes in a soak; beside it this one, which two lessons
# show, can be mended from without.
FROM_WITHOUT = "stale_assist"
RUN = """
import contextlib, io, json, sys
from kvm_vmx import cli
from kvm_vmx.lessons.bug_cases import ENCLS_SLOT
runs, told = json.loads(sys.argv[1]), []
for options in runs:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["lesson", *options])
    told.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The package once more, in which one erratum after another is mended."""
    return mended.Tree(tmp_path_factory.mktemp("mended"))


@pytest.fixture
def mend(tree):
    """Mend one for the time of a test."""
    undo = []
    yield lambda way: undo.append(tree.mend(way))
    for take_back in undo:
        take_back()


def wanted(soak, erratum=""):
    """The command lines: a seed, and the cases of lessons that the erratum shows in; of a soak,
    four seeds and every case by its name."""
    for name in NAMES:
        for seed in range(1, 5 if soak else 2):
            yield [name, "--seed", str(seed)]
        if soak or name in GONE.get(erratum, {}):
            for case in load(name).CASES:
                yield [name, "--case", case]


class Record:
    """A record again, from its JSON."""

    def __init__(self, found):
        self.given, self.values, self.case = found["given"], found["answer"], found["case"]


@contextlib.contextmanager
def one_field_more(way):
    """The tables of v4.19, and the field that later kernels have where ENCLS exiting is mended."""
    with pytest.MonkeyPatch.context() as patch:
        if way == "encls":
            name, encoding = "ENCLS_EXITING_BITMAP", 0x202E
            row = {"evmcs_field": "encls_exiting_bitmap", "offset": ENCLS_SLOT, "size": 8,
                   "clean_mask": "0x0004", "clean_field": "CONTROL_GRP2"}
            patch.setitem(rules.TABLE, name, row)
            patch.setitem(rules.ENCODINGS, name, encoding)
            patch.setitem(rules.MASKS, name, 4)
            patch.setitem(test_table.BY_ENCODING, encoding, name)
            patch.setattr(test_table, "SLOTS", test_table.rotated(encoding) + 1)
        yield


def table_of(record, erratum):
    """A hole that is refused changes nothing."""
    answer = test_table.expected(record.given)
    return {**answer, "unmapped_offset": None} if erratum == "holes" else answer


def assist_of(record, erratum):
    """A page that names a VMCS which is cleared there is taken back with two_pages alone."""
    class Model(test_assist.Model):
        def clear(self, vcpu):
            cpu = self.loaded_on[vcpu]
            super().clear(vcpu)
            if cpu is not None and self.page[cpu][1] == self.vmcs[vcpu]:
                self.page[cpu] = 0, 0

    with pytest.MonkeyPatch.context() as patch:
        if erratum == "two_pages":
            patch.setattr(test_assist, "Model", Model)
        return test_assist.expected(record.given)


def hotplug_of(record, erratum):
    """With the order of later kernels the page is there before KVM asks for it."""
    class Model(test_hotplug.Model):
        def up(self, short):
            self.page[2] = self.page[2] or not short
            super().up(True)

    with pytest.MonkeyPatch.context() as patch:
        if erratum == "offline_order":
            patch.setattr(test_hotplug, "Model", Model)
        return test_hotplug.expected(record.given)


def key_of(record, erratum):
    """From the bytes: where the JMP leads, and how many sites are others with the key on."""
    given = record.given
    code = bytes.fromhex(given["bytes"])
    assert code[0] == 0xE9
    return {"on": 5 + int.from_bytes(code[1:], "little", signed=True), "off": 5,
            "changed": sum(a != b for a, b in zip(given["before"], given["after"]))}


def reload_of(record, erratum):
    """Where no page is missed, the entry takes what VMPTRLD has made current, and runs."""
    given, case = record.given, record.case
    if case in GONE.get(erratum, {}).get("reload", ()):
        entered, outcome, error, kvm = given["vmcs"], "VMsucceed", None, "HLT"
        assert given["pointer"] == 0
    else:
        _, entered, outcome, error, kvm = test_reload.before_the_entry(given, case, False)
    return {"entered": entered, "outcome": outcome, "error": error,
            "kvm": record.values["kvm"] if kvm is None else kvm,
            "entered_enlightened": record.values["entered_enlightened"], "kvm_enlightened": "HLT",
            "reset": len(set(given["before"]))}


def stale_of(record, erratum):
    """As on any port; the shortest program is another test's."""
    return {**test_stale.by_the_rules(record), "shortest": record.values["shortest"]}


def bug_of(record, erratum):
    """The same divergence as ever, or none."""
    values = record.values
    found = tuple(values[name] for name in ("field", "group", "cpu", "entry", "kvm", "l0"))
    if record.case in GONE.get(erratum, {}).get("bug", ()):
        assert values["kvm"] == values["l0"]
        # but for a control that is given up, which a plain VMCS has
        assert record.given["seen"] == record.given["expected"] or record.case == "encls"
    else:
        assert found == test_bug.EXPECTED[record.case](record.given)
    return values


def vmcs_of(record, _):
    field = record.values["field"]
    error, reason = test_vmcs.expected(field, record.given["fields"])
    return {"field": field, "error": error, "exit_reason": reason}


def exit_of(record, _):
    """The accesses of the program; which field and which function the lesson's own test says."""
    names = record.given["program"]
    accesses = sum(len(test_exit.reads(kind)) for kind in names)
    return record.values | {"accesses": accesses, "evmcs": accesses + len(names)}


def history_of(record, _):
    """What became of the remarks is of v4.19, whatever this port is."""
    names = record.given["remarks"]
    one = test_history.REMARKS
    return record.values | {
        "taken": [n for n, name in enumerate(names, 1) if one[name]["taken"]],
        "later": [n for n, name in enumerate(names, 1) if "later" in one[name]]}


EXPECTED = {
    "exit": exit_of, "history": history_of,
    "levels": lambda record, _: test_levels.expected(record.given), "vmcs": vmcs_of,
    "bitmap": lambda record, _: test_bitmap.expected(record.given),
    "cost": lambda record, _: test_cost.expected(record.given),
    "detect": lambda record, _: test_detect.expected(record.given),
    "clean": lambda record, _: test_clean.expected(record.given),
    "key": key_of, "assist": assist_of, "table": table_of, "stale": stale_of, "reload": reload_of,
    "hotplug": hotplug_of, "bug": bug_of,
}


def check(way, options, status, out, err):
    """One run of one lesson on the mended port."""
    erratum = mended.MENDS[way].get("erratum", way) if way else ""
    where = f"{way}: lesson {' '.join(options)}"
    assert err == "", where + err
    found = json.loads(out)
    name, record = found["lesson"], Record(found)
    gone = record.case in GONE.get(erratum, {}).get(name, ())
    assert (status, bool(found["mended"])) == (int(gone), gone), where
    assert not gone or "the port has been mended" in found["mended"], where
    with one_field_more(way):
        assert record.values == EXPECTED[name](record, erratum), where
    said = " ".join([*found["run"], found["question"], *found["explanation"]])
    # what it has is called an erratum of the port, and what it has not is one of v4.19
    assert f"(erratum {erratum})" not in said, where
    if gone:
        assert "has been mended" in " ".join(found["explanation"]) + found["mended"], where
    if name == "bug" and gone:
        agree = found["given"]["seen"] == found["given"]["expected"]
        assert ("both columns agree" in found["mended"]) == agree, where
    if name == "reload":
        told_of_a_miss(found, where)


def told_of_a_miss(found, where):
    """What is said of the page that is missed is what the picture has of it."""
    (rows,) = [step["rows"] for step in found["steps"] if step["caption"].startswith("rmmod, ")]
    (caption,) = [step["caption"] for step in found["steps"]
                  if step["caption"].startswith("rmmod, ")]
    named = [row[3] for row in rows if row[2] != "0"]
    assert caption == f"rmmod, {'one' if named else 'no'} page missed", where
    assert found["given"]["pointer"] == int(named[0] if named else "0", 16), where
    assert ("names nothing" in found["question"]) == (not named), where
    assert ("by luck its own" in found["explanation"][0]) == (
        bool(named) and found["answer"]["entered"] == found["given"]["vmcs"]), where


@pytest.mark.skipif(os.environ.get("KVM_VMX_INSN") == "trap",
                    reason="the mended port runs by call, whatever the suite does")
@pytest.mark.soak
@pytest.mark.parametrize("way", mended.MENDS)
def test_every_lesson_on_a_port_with_one_erratum_mended(way, tree, mend, soak, tmp_path):
    if not soak:
        pytest.skip("a build of the port: --soak")
    mend(way)
    erratum = mended.MENDS[way].get("erratum", way)
    runs = list(wanted(soak, erratum))
    told = tree.runs(RUN, json.dumps([
        *([*options, "-c", "--json"] for options in runs), *runs,
        ["all", "--html", str(tmp_path / "all")]]))
    judge(way, erratum, runs, told, runs)
    assert {path.stem for path in (tmp_path / "all").iterdir()} == {"index", "glossary", *NAMES}


def judge(way, erratum, runs, told, shut):
    """What was told of the runs with their answers, then of some withheld, then of pages."""
    for options, found in zip(runs, told):
        check(way, options, *found)
    # nothing but a status
    for options, (status, out, err) in zip(shut, told[len(runs):-1], strict=True):
        gone = "\nNothing of it here\n" in out
        assert err == "" and status == int(gone) and "Traceback" not in out, (erratum, options)
    status, out, err = told[-1]
    assert err == "" and status == int("mended" in out), (erratum, out)


@pytest.fixture
def mended_from_without(monkeypatch):
    """A page that is reset when its CPU goes offline, by whoever takes it offline."""
    offline = Machine.offline

    def mended_offline(machine, cpu):
        offline(machine, cpu)
        if machine.module and machine.module.enable_evmcs:
            at = machine.assist_page_gpa(cpu)
            machine.memory.write(at + ENLIGHTEN_VMENTRY, bytes(1))
            machine.memory.write(at + CURRENT_NESTED_VMCS, bytes(8))

    monkeypatch.setattr(Machine, "offline", mended_offline)


def test_lessons_on_a_port_that_is_mended_from_without(mended_from_without, capsys, tmp_path):
    """The lessons that show it, each case."""
    way, page = FROM_WITHOUT, tmp_path / "page"
    shut = [options for options in wanted(False, way) if options[0] in GONE[way]]
    told = []
    for options in (*([*options, "-c", "--json"] for options in shut), *shut,
                    ["reload", "--case", "offline", "--html", str(page)]):
        status = cli.main(["lesson", *options])
        told.append((status, *capsys.readouterr()))
    judge(way, way, shut, told, shut)
    gone = {(options[0], options[2]) for options, (status, *_) in zip(shut, told)
            if status and options[1] == "--case"}
    assert gone == {(name, case) for name, cases in GONE[way].items() for case in cases}
    assert told[-1][0] == 1 and page.exists()


def test_the_port_as_it_is_has_all_of_them(said):
    """Without a mend no lesson says that the port has been mended."""
    for options in wanted(False):
        out = said("lesson", *options, "-c", "--json")
        check("", options, 0, out, "")
        assert "has been mended" not in out


def test_each_mend_has_its_place():
    """The soak builds them; that the text to change is there is told without."""
    lost = [(way, edit["file"]) for way, change in mended.MENDS.items() for edit in change["edit"]
            if (mended.ROOT / edit["file"]).read_text().count(edit["find"]) != edit.get("times", 1)]
    assert lost == []


def test_what_is_mended_is_an_erratum():
    """By its name; and each that a lesson shows is mended somewhere."""
    ways = {change.get("erratum", way) for way, change in mended.MENDS.items()}
    assert ways <= set(errata.load())
    assert set(load("bug").CASES) <= ways
    assert {case for cases in GONE.values() for case in cases.get("bug", ())} == set(
        load("bug").CASES)
