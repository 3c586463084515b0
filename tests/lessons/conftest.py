# SPDX-License-Identifier: GPL-2.0-only
"""The course as files, and a browser that shows them."""

import contextlib
import subprocess

import needed
import pytest
import schemed
from browser import Browser

from kvm_vmx import cli, host
from kvm_vmx.lessons import NAMES, load, stale
from kvm_vmx.lessons.page import lesson_page
from kvm_vmx.lessons.sources import resolve

# What remembering() has found.
FOUND = {}


@contextlib.contextmanager
def remembering():
    """The shortest program of a plan is the same each time, and costs as much as all other lessons
    together: it is looked for once a session."""
    search = stale.shortest

    def shortest(letters, fails, seed):
        key = repr(fails.__self__.plan), seed, host.has("hypothesis")
        if key not in FOUND:
            FOUND[key] = search(letters, fails, seed)
        program, how = FOUND[key]
        fails(program)                      # the machine is left as the search leaves it
        return list(program), how

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stale, "shortest", shortest)
        yield


@pytest.fixture(scope="module", autouse=True)
def found_once():
    """A file of this folder remembers, and no other folder's (a fixture of scope package would be
    of the session, as no folder of tests is a package); what is made for the session before a file
    begins does so for itself. Who has another search of his own puts it in its place."""
    with remembering():
        yield


@pytest.fixture
def told(capsys):
    """told(argument, ...): how a command ends, in this process, where a lesson's own run is all
    that it takes; that a process of its own says the same is for some golden pages to show."""
    def tell(*arguments):
        capsys.readouterr()
        status = cli.main(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return tell


@pytest.fixture
def said(told):
    """said(argument, ...): what it prints where it succeeds."""
    def say(*arguments):
        done = told(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return say


@pytest.fixture
def said_json(said):
    """The same with --json, by its schema."""
    return lambda *arguments: schemed.kept_text(said(*arguments, "--json"))


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """The pages, with the answers."""
    path = tmp_path_factory.mktemp("course")
    with remembering():
        assert cli.main(["lesson", "all", "--html", str(path), "-c"]) == 0
    return path


@pytest.fixture(scope="session")
def handout(tmp_path_factory):
    """The same pages for students, as the command writes them, and each lesson's record."""
    path = tmp_path_factory.mktemp("handout")
    with remembering():
        records = {name: load(name).run(1) for name in NAMES}
    for name, record in records.items():
        (path / f"{name}.html").write_text(lesson_page(record, resolve(record.kernel), False),
                                           encoding="utf-8")
    return path, records


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One browser for all tests."""
    needed.capability("browser")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


# A page as it was when it was loaded; what a fold that closes tells of itself comes later.
ANEW = """
(async () => {
  const folds = [...document.querySelectorAll("details[open]")];
  await Promise.all(folds.map((fold) => new Promise((done) => {
    fold.addEventListener("toggle", done, {once: true});
    fold.open = false;
  })));
  document.activeElement.blur();
  if (window.slider) show(0);
  scrollTo(0, 0);
})()
"""


# A window that has got another width has told the page of it.
TOLD = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture
def shown(browser, course, soak):
    """shown(page): it is loaded in that width, or made as new where it stands there already, in
    another width as well, unless it is a soak; nothing but the page itself was fetched, nothing
    complained."""
    opened = []

    def show(name, width=1600, scheme="light"):
        page = course / f"{name}.html"
        opened.append(page.as_uri())
        browser.media(scheme)
        if browser.stands == (page, width):
            browser.evaluate(ANEW)
        elif browser.stands and browser.stands[0] == page and not soak:
            browser.size(width)
            browser.evaluate(TOLD)
            browser.evaluate(ANEW)
        else:
            browser.size(width)
            browser.open(page)
        browser.stands = page, width
        return browser

    yield show
    if not opened:              # a test that is left to a soak
        return
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0
    assert browser.requests == opened[-1:] and browser.errors == []
