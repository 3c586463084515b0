# SPDX-License-Identifier: GPL-2.0-only
"""Pages of the site that are printed: reference, command line, policies, rules, comparison."""

import argparse
import inspect
import pathlib
import re
import tomllib

import kvm_vmx
from kvm_vmx import cli
from kvm_vmx.l0.faults import FAULTS
from kvm_vmx.l0.profile import PROFILES
from kvm_vmx.l0.profile_reader import POLICIES
from kvm_vmx.machine.register import Event, Reading, Register
from site_prose import prose

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The names of kvm_vmx in the order in which a reader meets them.
GROUPS = {
    "A machine": (
        "Machine", "HyperV", "L1", "Module", "Vm", "Vcpu", "ExitSummary", "Cpu", "guests"),
    "What an instruction did": ("Outcome", "VMsucceed", "VMfailInvalid", "VMfailValid", "Fault"),
    "Names": ("Field", "ExitReason", "fields", "FAULTS"),
    "A page or a dump": ("decode", "decode_all", "Decoded", "parse_cpuid", "read_cpuid"),
    "What L0 notices": ("Lint", "ConformanceError", "MachineError", "KernelBug"),
}


def pages():
    """{page: text}."""
    return {"reference.md": reference(), "commands.md": commands(), "policies.md": policies(),
            "rules.md": rules(), "comparison.md": comparison()}


def cell(text):
    """A text for a cell of a table, where no bar stands in code."""
    return " ".join(str(text).split()).replace("|", "\\|")


def code(text):
    return f"`{text}`" if text else ""


def reference():
    """The Python face from its docstrings, each name with its example."""
    examples = tomllib.loads((ROOT / "docs/reference_examples.toml").read_text(encoding="utf-8"))
    said = ["# The Python face", "Everything is imported from `kvm_vmx`, but the fixtures of "
            "[`kvm_vmx.testing`](testing.md). Each example here is run by the tests.",
            "In a notebook a `Machine`, a `Vcpu`, its `evmcs`, an `ExitSummary`, a `Decoded` and "
            "`machine.trace` show themselves as a piece of a page, without a script and by day and "
            "by night; in IPython's terminal as lines that say the same. "
            "[One exit](notebook-exit.md) does."]
    for group, names in GROUPS.items():
        said.append(f"## {group}")
        for name in names:
            thing = getattr(kvm_vmx, name)
            said += [f"### {name}", *described(name, thing)]
            if name in examples:
                said.append(f"```pycon\n{examples[name].strip()}\n```")
            if inspect.isclass(thing) and name not in ("Field", "ExitReason"):
                said += members(thing)
    return "\n\n".join(said) + "\n"


def described(name, thing):
    """A signature where there is one, and the docstring."""
    if inspect.isclass(thing) and issubclass(thing, (int, Exception, str)):
        yield f"```text\nclass {name}({thing.__mro__[1].__name__})\n```"
    elif callable(thing):
        yield f"```python\n{name}{signature(thing)}\n```"
    if not isinstance(thing, dict):
        yield from prose(thing)
    else:
        yield "\n".join(["| name | what L0 does then |", "|---|---|", *(
            f"| `{fault.name}` | {cell(fault.does)} |" for fault in thing.values())])


class Said(str):
    """A type as it is written."""

    def __repr__(self):
        return re.sub(r"\b(?:kvm_vmx|collections\.abc|typing|os)\.(?:\w+\.)*(\w+)", r"\1",
                      str(self))


def signature(thing, widest=70):
    """What it is called with; where that is long, a parameter a line."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    given = [parameter.replace(annotation=typed(parameter.annotation))
             for name, parameter in found.parameters.items() if name not in ("self", "cls")]
    returned = inspect.Signature.empty if inspect.isclass(thing) else typed(found.return_annotation)
    found = found.replace(parameters=given, return_annotation=returned)
    text = str(found)
    if len(text) <= widest:
        return text
    star = [n for n, each in enumerate(given) if each.kind is each.KEYWORD_ONLY][:1]
    lines = [f"    {each}," for each in given]
    if star and not any(each.kind is each.VAR_POSITIONAL for each in given):
        lines.insert(star[0], "    *,")
    return "(\n" + "\n".join(lines) + "\n)" + text[text.rindex(")") + 1:]


def typed(annotation):
    """An annotation that prints itself as it is written."""
    if annotation is inspect.Signature.empty:
        return annotation
    written = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    # Python's own way to print Unpack[] of a class is no Python
    written = re.sub(r"^\*<class '(?:\w+\.)*(\w+)'>$", r"Unpack[\1]", written)
    return Said(written.strip("\"'"))


def members(thing):
    """Its public methods and attributes, those of its bases but object's included."""
    rows, methods = [], []
    for name in dir(thing):
        member = inspect.getattr_static(thing, name)
        if name.startswith("_") or getattr(thing, "__module__", "")[:7] != "kvm_vmx" or \
                name in vars(str) and name not in vars(thing):
            continue
        if isinstance(member, (property, Register, Reading, Event)):
            rows.append(f"| `{name}` | {cell(inspect.getdoc(member) or '')} |")
        elif inspect.isfunction(member) or isinstance(member, (staticmethod, classmethod)):
            inner = getattr(member, "__func__", member)
            said = " ".join((inspect.getdoc(inner) or "").split())
            called = signature(inner, 1000).replace(" -> None", "").replace("->", "\u2192")
            methods.append(f"| `{name}{called}` | {cell(said)} |")
    if rows:
        yield "\n".join(["| attribute | is |", "|---|---|", *rows])
    if methods:
        yield "\n".join(["| method | does |", "|---|---|", *methods])


def commands():
    """Every command's help."""
    parser = cli.parser()
    (choices,) = (action.choices for action in parser._actions
                  if isinstance(action, argparse._SubParsersAction))
    said = ["# The command line", f"```text\n{parser.format_help().strip()}\n```"]
    for name, sub in choices.items():
        said += [f"## {name}", f"```text\n{sub.format_help().strip()}\n```"]
    return "\n\n".join(said) + "\n"


def meanings():
    """{policy: what the comment beside it in L0's state says}."""
    text = (ROOT / "kvm_vmx/l0/state.h").read_text(encoding="utf-8")
    return dict(re.findall(r"^\tu8 (\w+);\s*/\* (.*?) \*/$", text, re.M))


def policies():
    """The policy table of each profile, from the profiles themselves."""
    said, shown = meanings(), ("kvm-6.12", "tlfs-strict")
    rows = []
    for name in POLICIES:
        if name in FAULTS:
            continue
        cells = [f"{'yes' if PROFILES[p].policies[name] else 'no'}: "
                 f"{cell(PROFILES[p].sources.get(f'policy.{name}', ''))}" for p in shown]
        rows.append(f"| `{name}` | {cell(said.get(name, ''))} | {' | '.join(cells)} |")
    faults = [f"| `{fault.name}` | {cell(fault.does)} | {cell(fault.symptom)} "
              f"| {cell(fault.source)} |" for fault in FAULTS.values()]
    numbers = []
    for profile in (PROFILES[p] for p in shown):
        numbers += [f"### Profile {profile.name}", profile.title + "."]
        numbers.append("\n".join(
            ["| key | value | source |", "|---|---|---|"] + [
                f"| `{key}` | {value_of(profile, key)} | {cell(source)} |"
                for key, source in profile.sources.items() if not key.startswith("policy.")]))
    return "\n\n".join([
        "# How L0 decides", HOW, "## Where sources differ",
        "\n".join([f"| choice | means | {' | '.join(shown)} |", "|---|---|---|---|", *rows]),
        "## Faults that a Hyper-V has had",
        'Each is a policy too, off in every profile that is shipped: `Machine(faults=["…"])`.',
        "\n".join(["| fault | what L0 does then | what L1 sees | told in |", "|---|---|---|---|",
                   *faults]),
        "## What it offers", *numbers]) + "\n"


HOW = """\
An emulated hypervisor is right where its specification says what is right. Where the specification
is silent, or where real implementations do otherwise, this L0 has a **policy**: a switch of its
profile, whose value names its source. R and K are [the rules](rules.md); SDM is the processor
maker's manual, TLFS Hyper-V's specification. `kvm-6.12`, the default, is KVM of Linux 6.12 acting
as Hyper-V, the only open implementation with public tests; `tlfs-strict` is the specification by
its letter. This page is printed from the profiles themselves. What is no policy is a check with a
name: [of VM entry](checks.md), [of instructions](instruction-checks.md)."""


def value_of(profile, key):
    """The value that a key of a profile's file has."""
    kind, _, place = key.partition(".")
    if kind == "msr":
        return code(hex(profile.msrs[int(place, 0)]))
    if kind == "cpuid":
        leaf, _, sub = place.partition(".")
        where = int(leaf, 0) if not sub else (int(leaf, 0), int(sub, 0))
        return " ".join(code(hex(word)) for word in profile.cpuid.get(where, ()))
    return code(getattr(profile, kind, ""))


def rules():
    """The rules as `kvm-vmx conform` has them."""
    table = tomllib.loads((ROOT / "kvm_vmx/conform/rules.toml").read_text(encoding="utf-8"))
    rows = [f"| <span id=\"{name.lower()}\"></span>{name} | {cell(rule['text'])} | "
            f"{cell(rule.get('profile') or rule.get('not_applicable') or '')} |"
            for name, rule in table.items()]
    return "\n\n".join([
        "# The rules of Hyper-V",
        "R: the specification on nested virtualization and on the enlightened VMCS, in our words. "
        "K: what real implementations do where it is silent. `kvm-vmx conform R39` runs the tests "
        "that show a rule, `kvm-vmx conform` those of all. The last column has the profile that a "
        "rule belongs to, where it is not both, or why it binds nothing here.",
        "\n".join(["| rule | says | of |", "|---|---|---|", *rows])]) + "\n"


def comparison():
    """What is ported, from README, whose tables a test holds to the sources."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = [re.search(rf"^## {title}\n(.*?)(?=^## )", readme, re.M | re.S)[1].strip()
             for title in ("What is ported", "Beside the kernel")]
    return "\n\n".join(["# The comparison with the kernel",
                        "[Read it beside the kernel](tutorial-read.md) begins with one function.",
                        "## What is ported", parts[0], "## How it is compared",
                        parts[1].replace("(docs/pictures/", "(pictures/")]) + "\n"
