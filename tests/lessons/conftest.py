# SPDX-License-Identifier: GPL-2.0-only
"""The course as files, and a browser that shows them."""

import needed
import pytest
from browser import Browser
from command import kvm_vmx

from kvm_vmx.lessons import NAMES, load


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """The pages, with the answers."""
    needed.capability("browser")
    path = tmp_path_factory.mktemp("course")
    done = kvm_vmx("lesson", "all", "--html", path, "-c")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def handout(course, tmp_path_factory):
    """The same pages for students, and each lesson's record."""
    path = tmp_path_factory.mktemp("handout")
    done = kvm_vmx("lesson", "all", "--html", path)
    assert done.returncode == 0, done.stderr
    return path, {name: load(name).run(1) for name in NAMES}


@pytest.fixture(scope="session")
def browser(course, tmp_path_factory):
    """One browser for all tests."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def shown(browser, course):
    """shown(page): it is loaded; nothing but the page itself was fetched, nothing complained."""
    opened = []

    def show(name, width=1600, scheme="light"):
        browser.size(width)
        browser.media(scheme)
        browser.open(course / f"{name}.html")
        opened.append((course / f"{name}.html").as_uri())
        return browser

    yield show
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0
    assert browser.requests == opened[-1:] and browser.errors == []
