# SPDX-License-Identifier: GPL-2.0-only
"""What a student's file may do to the machine, and what is said of one that is wrong."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import rules
from command import kvm_vmx, kvm_vmx_json, started

from kvm_vmx.lessons import clean, student, table

pytestmark = pytest.mark.long
LOOKUP = """
def lookup(encoding, table):
    slot = (encoding << 6 | encoding >> 10) & 0xffff
    return tuple(table[slot]) if slot < len(table) else None
"""
MASK = """
def clean_mask(writes, table):
    mask = 0xffff
    for field in writes:
        mask = 0xffff if field == "enter" else mask & ~table.get(field, 0)
    return mask
"""
TELL = """
import os
def tell():
    with open({path!r}, "a") as file:
        file.write(str(os.getpid()) + "\\n")
"""
# A process that sleeps on: in the group, in a session of its own, twice removed, by exec, with all
# signals blocked, from a thread, and one that never stops starting others.
STARTS = {
    "fork": "if not os.fork(): tell(); time.sleep(600)",
    "session": "if not os.fork(): os.setsid(); tell(); time.sleep(600)",
    "orphan": "if not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
              "    os.setsid(); tell(); time.sleep(600)",
    "exec": "p = subprocess.Popen(['sleep', '600'], start_new_session=True, env={})\n"
            "open(PATH, 'a').write(f'{p.pid}\\n')",
    "blocked": "if not os.fork():\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
               "    os.setsid(); tell(); time.sleep(600)",
    "chain": "if not os.fork():\n    os.setsid()\n    for _ in range(200):\n"
             "        tell()\n        if os.fork(): os._exit(0)\n        time.sleep(.005)\n"
             "    time.sleep(600)",
}
# How the run comes to its end.
ENDS = {
    "right": MASK, "raises": "def clean_mask(writes, table): raise ValueError",
    "endless": "def clean_mask(writes, table):\n    while True: time.sleep(1)",
    "killed": "def clean_mask(writes, table): os.kill(os.getpid(), 9)",
    "group": "def clean_mask(writes, table): os.killpg(0, 9)",
    "broken": "1 / 0", "hungry": "def clean_mask(writes, table): return [0] * 10**10",
    "clock": "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
             "def clean_mask(writes, table):\n    while True: time.sleep(1)",
}


def alive(pid):
    """Is there such a process, and does it run?"""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("start, end", [
    *((start, "right") for start in STARTS), *(("orphan", end) for end in ENDS)])
def test_what_a_file_starts_does_not_outlive_the_run(tmp_path, start, end):
    told, path = tmp_path / "told", tmp_path / "mine.py"
    path.write_text("import os, signal, subprocess, time\n" + TELL.format(path=str(told))
                    + f"PATH = {str(told)!r}\n" + STARTS[start]
                    # until it has told its number
                    + "\nwhile not os.path.exists(PATH): time.sleep(.01)\n" + ENDS[end])
    results, stopped = student.call(str(path), "clean_mask", [([], {})], seconds=.5)
    assert (results, stopped) == ([("value", 0xFFFF)], "") or end != "right"
    pids = [int(line) for line in told.read_text().split()]
    assert pids and not [pid for pid in pids if alive(pid)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_runner_goes_with_whoever_asked(tmp_path, how):
    """Ended in the middle, the command takes all with it."""
    told, path = tmp_path / "told", tmp_path / "mine.py"
    path.write_text("import os, time\n" + TELL.format(path=str(told))
                    + "if not os.fork(): os.setsid(); tell(); time.sleep(600)\ntell()\n"
                    "time.sleep(600)\n")
    with started([sys.executable, "-c", (
            "from kvm_vmx.lessons import student; "
            f"student.call({str(path)!r}, 'f', [[]], seconds=500, in_all=500)")],
            stderr=subprocess.DEVNULL) as asking:
        until = time.monotonic() + 60
        while not told.exists() or len(told.read_text().split()) < 2:
            assert time.monotonic() < until
            time.sleep(.05)
        asking.send_signal(how)
        asking.wait()
    while any(alive(int(pid)) for pid in told.read_text().split()):
        assert time.monotonic() < until
        time.sleep(.05)


@pytest.mark.parametrize("body, words", [
    ("while True: pass", "does not end: stopped after 0.1 s"),
    ("time.sleep(.1)", "is too slow: "),
    ("x = [0] * 10**10", "takes too much memory: more than there is for it, 512 MB"),
    ("x = []\n    while True: x.append('x' * 1000)", "takes too much memory"),
    ("x = 2\n    while True: x = x * x", "does not end"),
    ("os._exit(0)", "ended its process"),
])
def test_endless_slow_and_hungry_are_told_apart(tmp_path, body, words):
    path = tmp_path / "mine.py"
    path.write_text(f"import os, time\ndef f(n):\n    {body}\n    return n\n")
    # on a machine that is busy all but what never ends may take long
    endless = "does not end" in words
    results, stopped = student.call(str(path), "f", [[n] for n in range(20)],
                                    seconds=.1 if endless else 20,
                                    in_all=1.5 if endless or "slow" in words else 100)
    assert words in stopped, stopped
    assert (len(results) > 2) == ("slow" in words)
    if results:
        assert f"slow: {len(results)} of 20 inputs in 1.5 s" in stopped


ANSWERS = {
    "lookup": "import kvm_vmx.lessons.table as t\ndef lookup(encoding, table):\n"
              "    slot = t.slot(encoding)\n"
              "    return table[slot] if slot < len(table) else None\n",
    "lookup, late": "def lookup(encoding, table):\n    from kvm_vmx.lessons import table as t\n"
                    "    slot = t.slot(encoding)\n"
                    "    return table[slot] if slot < len(table) else None\n",
    "lookup, by name": "import importlib\nt = importlib.import_module('kvm_' + 'vmx')\n" + LOOKUP,
    "lookup, caught": "try:\n    import kvm_vmx\nexcept ImportError:\n    kvm_vmx = None\n"
                      "def lookup(encoding, table): return kvm_vmx.fields()\n",
    "lookup, unhooked": "import sys\nsys.meta_path.pop(0)\n"
                        "from kvm_vmx.lessons import table as t\n" + LOOKUP,
    "clean_mask": "from kvm_vmx.lessons import clean\ndef clean_mask(writes, table):\n"
                  "    return clean.made([writes])[0][1]\n",
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_file_that_imports_the_answer_does_not_pass(tmp_path, case):
    """And the answers are not in that process."""
    path = tmp_path / "mine.py"
    path.write_text(ANSWERS[case])
    lesson = table if "lookup" in case else clean
    says, passes = lesson.grade(str(path), 1)
    assert not passes and says[-1].startswith("0 of ")
    assert any("kvm_vmx is not to be had here" in line or "No module named 'kvm_vmx'" in line
               for line in says) or "caught" in case


def test_what_the_process_is_given_has_no_answers(tmp_path, monkeypatch):
    path, orders = tmp_path / "mine.py", []
    path.write_text(LOOKUP)
    monkeypatch.setattr(student, "run", lambda order, patience: orders.append(order) or "")
    student.judge(str(path), "lookup", ("a",), [((1,), 4711, "one")], "the table")
    order = json.loads(orders[0])
    assert "4711" not in orders[0] and (order["inputs"], order["values"]) == ([[0]], ["1"])


def test_each_input_is_its_own(tmp_path):
    """A function that changes what it is given changes nothing of the next input."""
    path, table = tmp_path / "mine.py", [3, 4]
    path.write_text("def f(n, table):\n    table.append(n)\n    return table\n")
    assert student.call(str(path), "f", [(1, table), (2, table), (1, [])]) == (
        [("value", [3, 4, 1]), ("value", [3, 4, 2]), ("value", [1])], "")


@pytest.mark.parametrize("path, words", [
    ("/nowhere/mine.py", "No such file"), (".", "give a Python file"), ("", "give a Python file"),
    ("a\0b", "give a Python file"), ("{big}", "at most 64 KB"), ("{shut}", "Permission denied"),
    ("{pipe}", "give a Python file")])
def test_a_file_that_is_not_there_is_trouble_in_one_line(tmp_path, path, words, capsys):
    from kvm_vmx import cli

    names = {name: tmp_path / name for name in ("big", "shut", "pipe")}
    names["big"].write_text("#" * (64 << 10) + "\n")
    names["shut"].write_text(MASK)
    names["shut"].chmod(0)
    os.mkfifo(names["pipe"])
    if "{shut}" in path and os.geteuid() == 0:
        pytest.skip("root may read any file")
    page = tmp_path / "page.html"
    for lesson in ("clean", "table"):
        status = cli.main(["lesson", lesson, "--html", str(page),
                           "--write", path.format(**names)])
        out, err = capsys.readouterr()
        assert status == 2 and out == "" and not page.exists()
        assert len(err.splitlines()) == 1 and words in err


@pytest.mark.parametrize("lesson, text, line", [
    (table, "def lookup(encoding): return 0", "it is called as lookup(encoding, table)"),
    (table, "def lookup(): return 0", "has lookup(): it is called as lookup(encoding, table)"),
    (clean, "def clean_mask(writes): return 0", "it is called as clean_mask(writes, table)"),
    (clean, "def clean_mask(a, b, c): return 0", "has clean_mask(a, b, c): it is called as"),
    (clean, "clean_mask = 7", "has no function clean_mask()"),
    (table, LOOKUP.replace("tuple(table[slot])", "table[slot][1], table[slot][0]"),
     "): gives (0x0100, 0x0230), the table says (0x0230, 0x0100)"),
    (table, "def lookup(encoding, table): return None", "gives None, the table says (0x"),
    (table, "def lookup(encoding, table): return 2.5", "gives 2.5, the table says"),
    (table, "def lookup(encoding, table): return '9' * 10**6", "an answer of more than 4096"),
    (clean, "def clean_mask(writes, table): return 1", "gives 0x0001, the run says 0x"),
])
def test_a_wrong_file_gets_a_clear_line(tmp_path, lesson, text, line):
    path = tmp_path / "mine.py"
    path.write_text(text)
    says, passes = lesson.grade(str(path), 1)
    assert not passes and any(line in said for said in says), says
    assert "the run says" not in "".join(says) or lesson is clean
    assert all(len(said) < 200 and "\n" not in said for said in says) and len(says) <= 11


def test_every_encoding_that_is_judged_has_sixteen_bits(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(table, "judge", lambda path, function, names, cases, source: (
        seen.extend(cases), ([], True))[1])
    table.grade("x", 1)
    assert len(seen) == len(rules.TABLE) + len(table.UNMAPPED)
    assert all(given[0] < 1 << 16 for given, _, _ in seen)


@pytest.mark.parametrize("lesson, text", [("table", LOOKUP), ("clean", MASK)])
def test_a_right_file_passes(tmp_path, lesson, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    done = kvm_vmx("lesson", lesson, "--write", path)
    assert done.returncode == 0
    function = kvm_vmx_json("lesson", lesson, "--write", path)["function"]
    assert function["passes"] and function["says"][0] in done.stdout
