# SPDX-License-Identifier: GPL-2.0-only
"""The page of a drift: three columns, what changed by which commit, and a reader's ways there."""

import re

import nursery
import pytest
from command import ENVIRONMENT
from repositories import VMX, git

from kvm_vmx.compare.drift import against_ours
from kvm_vmx.compare.drift_command import facts, note
from kvm_vmx.compare.drift_git import Blame
from kvm_vmx.compare.drift_page import page
from kvm_vmx.compare.port import Port

ROW = re.compile(r'<div class="row (\w+)"><div class="kernel">(.*?)</div>'
                 r'<div class="port">(.*?)</div><div class="new">(.*?)</div></div>', re.S)
MOST = 3_000_000  # bytes of a page
ASK = """(async () => {
const key = (name) => document.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true }));
const now = () => (document.querySelector(".current") || {textContent: ""}).textContent;
const told = {};
const columns = () => getComputedStyle(
  document.querySelector(".rows")).gridTemplateColumns.split(" ").length;
const later = (ms) => new Promise((done) => setTimeout(done, ms));
const ask = async (text) => { const find = document.getElementById("find"); find.value = text;
  find.dispatchEvent(new Event("input")); await later(400);
  return [...document.querySelectorAll("section.function")].filter((one) => !one.hidden).length; };
  told.places = [...document.querySelectorAll("#evmcs_load summary a")].map((one) => one.href);
  told.table = [...document.querySelectorAll("#functions .place")].map((one) => one.textContent);
  told.map = document.querySelectorAll("#map a").length;
  key("n"); told.first = /!vp_ap/.test(now());
  key("n"); told.second = /return/.test(now());
  told.some = await ask("enlighten_vmentry"); told.none = await ask("nothing of it"); await ask("");
  key("["); told.folded = document.querySelectorAll("section details[open]").length; key("]");
  document.querySelector(".row.came .new b").click();
  told.hash = location.hash; told.links = document.querySelectorAll("#place a").length;
  told.columns = columns();
  document.getElementById("show-new").click();
  told.two = columns();
  told.hidden = !document.querySelector(".row.came .new").offsetParent;
  return told;
})()"""


def written(tmp_path, *args):
    path = tmp_path / "drift.html"
    done = nursery.run(["drift", *map(str, args), "--html", str(path)], env=dict(ENVIRONMENT))
    assert done.returncode in (0, 1) and done.stdout == f"{path}: open it in a browser.\n", \
        done.stderr
    return path, path.read_text(), done.returncode


def plain(markup):
    return re.sub(r"<[^>]+>", "", markup).replace("&gt;", ">").replace("&lt;", "<")


@pytest.mark.host("git")
def test_three_columns_and_the_commit_of_what_changed(repository, tmp_path):
    _, text, code = written(tmp_path, f"{repository}@v4.19", f"{repository}@HEAD")
    assert code == 1
    rows = [(kind, *map(plain, cells)) for kind, *cells in ROW.findall(text)]
    assert [kind for kind, *_ in rows] == ["same", "came", "came", "same", "same"]
    port = Port().subjects["evmcs_load"].function
    for kind, old, ours, new in rows:
        line = re.search(r"\d+", ours)
        if kind == "came":
            commit = git(repository, "log", "-1", "--format=%h %s", "--abbrev=12", "HEAD~2")
            again = git(repository, "log", "-1", "--format=%h %s", "--abbrev=12", "HEAD")
            assert not old and not ours and (commit in new or again in new)
        else:
            assert old and new and port.line <= int(line[0]) <= port.end


@pytest.mark.host("git")
def test_a_range_is_two_trees(repository, tmp_path):
    _, text, code = written(tmp_path, repository, "v4.19..HEAD")
    assert code == 1 and text.count("<section ") == 1
    _, text, code = written(tmp_path, repository, "HEAD~1..HEAD")
    assert code == 0 and "<section " not in text and "1 functions did not change" in text


@pytest.mark.host("git")
@pytest.mark.host("browser")
def test_a_reader_finds_and_follows(repository, tmp_path, window):
    _, text, _ = written(tmp_path, f"{repository}@v4.19", f"{repository}@HEAD")
    told = window(text, ASK)
    assert told["places"][0].endswith("kvm_vmx/l1/vmx.pyx")
    assert [place.partition(":")[0] for place in told["table"]][-3:] == [
        VMX, "kvm_vmx/l1/vmx.pyx", VMX]
    assert told["map"] == 1 and told["first"] and told["second"]
    assert (told["some"], told["none"], told["folded"]) == (1, 0, 0)
    assert re.fullmatch(r"#evmcs_load:n\d+", told["hash"]) and told["links"] >= 1
    assert (told["columns"], told["two"], told["hidden"]) == (3, 2, True)


def test_a_whole_drift_is_a_small_page(to_v612, report_v419, tree_v612):
    """Every function that changed is a section of it, and none that did not."""
    drift = to_v612
    text = page(drift, report_v419, facts(drift, against_ours(tree_v612)), Blame(""), note)
    assert len(text.encode()) < MOST
    sections = re.findall(r'<section id="(\w+)"', text)
    assert sorted(sections) == sorted(
        change.name for change in drift.changes
        if change.gone or change.came or change.moved or change.new is None)
    assert 400 < len(sections) < len(drift.changes)
    changed = sum(kind != "same" for kind, *_ in ROW.findall(text))
    assert changed > 4000 and "table gained: ENCLS_EXITING_BITMAP" in " ".join(text.split())
