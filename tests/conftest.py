# SPDX-License-Identifier: GPL-2.0-only
"""Options of the test suite, and what its tests ask of the host."""

import contextlib
import functools
import gc
import importlib
import os
import sys

import lengths
import needed
import pytest

from kvm_vmx import host

# What a build of kvm-intel lacks: tests that carry @pytest.mark.needs of it are left out there.
LACKS = {"hyperv": (), "no-hyperv": ("hyperv",), "no-jump-label": ("jump-label",)}


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the soaks at full length")
    parser.addoption("--golden", action="store_true", help="write the lessons' golden texts anew")
    parser.addoption("--build", choices=LACKS, default="hyperv",
                     help="the build of kvm-intel that a test loads where it names none")


def pytest_configure(config):
    # The locale C is answered in ASCII; tests read UTF-8, whatever locale they are run in.
    os.environ.setdefault("PYTHONIOENCODING", "utf-8")
    lengths.soaks = config.getoption("--soak")
    # Tests start Python a thousand times, which compiles the package each time where it keeps none.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # readline, which debuggers bring, tells all children a width that no user has asked for.
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
        os.unsetenv(name)
    build = config.getoption("--build")
    if build != "hyperv":
        from kvm_vmx import Machine

        Machine.insmod = functools.partialmethod(Machine.insmod, config=build)


def pytest_pycollect_makemodule(module_path):
    """Before the first file that has hypothesis, which takes long to import."""
    if b"hypothesis" in module_path.read_bytes():
        patient()


@functools.cache
def patient():
    """How long an example of hypothesis takes is the machine's affair."""
    with contextlib.suppress(ImportError):
        from hypothesis import settings

        settings.register_profile("any machine", deadline=None)
        settings.load_profile("any machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """With -n auto: a worker a processor that this process may run on, and one for the time that
    tests wait for others."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker takes file after file, as the tests of a file share what it boots."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        """A worker stays in a folder, as the files of one share what takes long to make, and goes
        on to one where nobody is. A test is found by its name without a look at all others, and
        what has ended is not counted again at the end of each test."""

        def add_node_collection(self, node, collection):
            super().add_node_collection(node, collection)
            if node in self.registered_collections:
                self.registered_collections[node] = Numbered(collection)

        def mark_test_complete(self, node, item_index, duration=0):
            super().mark_test_complete(node, item_index, duration)
            work = self.assigned_work[node]
            for scope in list(work)[:-2]:
                if all(work[scope].values()):
                    del work[scope]

        def _assign_work_unit(self, node):
            mine = places.get(node)
            taken = {place for other, place in places.items() if other is not node}
            best = min(self.workqueue, key=lambda file: (
                folder(file) != mine, folder(file) in taken))
            self.workqueue.move_to_end(best, last=False)
            places[node] = folder(best)
            super()._assign_work_unit(node)

    def folder(file):
        return file.rpartition("/")[0]

    places = {}
    config.option.loadscopereorder = False
    return Files(config, log)


class Numbered(list):
    """A list of names, each of them once, that knows where each stands."""

    def __init__(self, names):
        super().__init__(names)
        self.places = {name: place for place, name in enumerate(self)}

    def index(self, name):
        return self.places[name]


def pytest_collection_finish(session):
    """A worker of xdist keeps to itself that a setup or a teardown has passed, which nobody is told
    of but a report of times, and with -q that a test begins: that is three of five messages."""
    config = session.config
    if not hasattr(config, "workerinput") or config.getoption("xmlpath", None) \
            or config.getoption("durations", None):
        return
    for plugin in config.pluginmanager.get_plugins():
        if type(plugin).__name__ == "WorkerInteractor":
            plugin.sendevent = functools.partial(
                sent, plugin.sendevent, config.getoption("verbose") < 0)
            config.pluginmanager.register(Brief())


def sent(send, quiet, name, **words):
    """Send an event to who runs the workers, if it is one to be told."""
    if quiet and name == "logstart":
        return
    report = words.get("data", {}) if name == "testreport" else {}
    if report.get("outcome") != "passed" or report.get("when") == "call":
        send(name, **words)


class Brief:
    """What a worker makes of a report that is told, or not: of one that has passed no words to
    select it by, which its test has had, and of one that nobody is told of nothing."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_to_serializable(self, report):
        if report.outcome == "passed" and report.when in ("setup", "teardown"):
            return {"outcome": "passed", "when": report.when}
        if report.outcome == "passed":
            report.keywords = {}
        return None


def needs(item):
    """What a test needs of the build: what it says, and eVMCS where it runs under that."""
    found = {need for mark in item.iter_markers("needs") for need in mark.args}
    if "evmcs" in item.fixturenames or \
            getattr(item, "callspec", None) and item.callspec.params.get("enlightened") is True:
        found.add("hyperv")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """What collecting makes stays to the end: Python need not look through it, ever."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def thinned(items):
    """The combinations that are left to a soak, of tests marked sweep(N): but every Nth, along the
    diagonals, and what is the first to have a value of a parameter, a rule or a case."""
    seen, out = {}, set()
    for item in items:
        mark, call = item.get_closest_marker("sweep"), getattr(item, "callspec", None)
        if mark and call:
            known = seen.setdefault(item.nodeid.partition("[")[0], {})
            shown = [(name, id(value)) for name, value in call.params.items()]
            shown += [("shows", name) for tag in call.marks if tag.name in ("rule", "case")
                      for name in tag.args]
            new = [value for value in shown if value not in known]
            for value in new:
                known[value] = sum(name == value[0] for name, _ in known)
            place = sum(known[name, id(value)] for name, value in call.params.items())
            if not new and place % mark.args[0]:
                out.add(item)
    return out


def pytest_collection_modifyitems(config, items):
    lacks = set(LACKS[config.getoption("--build")])
    out = set() if config.getoption("--soak") else thinned(items)
    if lacks:
        out.update(item for item in items if lacks & needs(item))
    if out:
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]
    # what takes long begins first, so that no worker is alone with it at the end
    items.sort(key=lambda item: not item.get_closest_marker("long"))


def pytest_generate_tests(metafunc):
    """A test marked both(NAME, ...) runs with these capabilities of the host and without them."""
    names = tuple(name for mark in metafunc.definition.iter_markers("both") for name in mark.args)
    if names:
        metafunc.fixturenames.insert(0, "withheld")
        metafunc.parametrize("withheld", [(), names], indirect=True, scope="function", ids=[
            f"{side} {' '.join(names)}" for side in ("with", "without")])


@pytest.fixture
def withheld(request, monkeypatch):
    """The capabilities of the host that this test goes without: the environment says so, for
    processes that it starts, too."""
    names = [name for mark in request.node.iter_markers("both") for name in mark.args]
    if not request.param and not any(map(host.has, names)):
        needed.capability(*names)         # the other side is all that this host can show
    monkeypatch.setenv(host.WITHOUT, ",".join(sorted({*host.withheld(), *request.param})))
    return frozenset(request.param)


def pytest_runtest_setup(item):
    """A test marked host(NAME, ...) needs these capabilities of the host."""
    for mark in item.iter_markers("host"):
        needed.capability(*mark.args)


@pytest.fixture
def soak(request):
    """Is this the long run?"""
    return request.config.getoption("--soak")


@pytest.fixture(scope="module")
def frozen():
    """What others have made and hold is not looked through by each gc.collect() of this file."""
    gc.collect()
    gc.freeze()
    yield
    # what of it was dropped is found again
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=["port", "v4.19", "6.1", "6.12"])
def kernel(request):
    """Boots each kind of L1 in turn, with kernel(cpus=2) as machine: the port, and the own KVM of
    the trees that are here and compiled, or in a soak are compiled for it."""
    from images import image_of

    from kvm_vmx.testing.kernels import TREES, L1Kind

    name = request.param
    return L1Kind(name, image_of(TREES[name], request) if name in TREES else None)


@pytest.fixture(scope="session", params=["port", "tree"])
def face(request):
    """As kernel, of the port and of one tree: for what Python says before any kernel is asked,
    which is the same on each."""
    from images import compiled, image_of

    from kvm_vmx.testing.kernels import TREES, L1Kind

    if request.param == "port":
        return L1Kind("port")
    name = (compiled() or ["v4.19"])[0]
    return L1Kind(name, image_of(TREES[name], request))
