# SPDX-License-Identifier: GPL-2.0-only
"""The hooks by which mkdocs makes the site: pages that are printed, links, the course.

mkdocs.yml names this file; `mkdocs build` calls it.
"""

import pathlib
import posixpath
import re
import sys

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import site_notebooks  # noqa: E402
import site_pages  # noqa: E402
from kvm_vmx import host  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Files of the tree that are pages of the site, by the page's name.
PAGES = {"readme.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGES.md",
         "measuring.md": "perf/README.md"}
COURSE = "course-pages"
# What a link of the repository leads to on the site: the page that is printed from that file.
PRINTED = {"README.md#beside-the-kernel": "comparison.md",
           "kvm_vmx/conform/rules.toml": "rules.md", "kvm_vmx/profiles": "policies.md",
           "docs/reference_examples.toml": "reference.md",
           **{f"examples/{path.name}": f"notebook-{path.stem}.md"
              for path in (ROOT / "examples").glob("*.ipynb")}}
# A paragraph's line that is nothing but the way to a tutorial.
WAY = re.compile(r"^(\[[^\]]*\]\(tutorial-\w+\.md\))$", re.M)
LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w+) (\S+)$", re.M)
TITLED = re.compile(r'^<!--.*?-->\n', re.S)


def on_config(config):
    """One line where an extra is missing."""
    for name in ("nbclient", "ipykernel"):
        if not host.has(name):
            raise PluginError(f"the site shows what notebooks print, but: {host.absent(name)}")


def on_files(files, config):
    """Add the pages that are printed, and those that stand elsewhere in the tree."""
    made = {name: (ROOT / path).read_text(encoding="utf-8") for name, path in PAGES.items()}
    made |= site_pages.pages() | site_notebooks.pages()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links that lead out of docs/ lead to the page of that file, or to none; a block's file
    name is its title."""
    origin = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    of_site = {path: name for name, path in PAGES.items()} | PRINTED

    def link(hit):
        text, target = hit.groups()
        if re.match(r"[a-z]+:|#", target):
            return hit[0]
        path, hash_, anchor = target.partition("#")
        where = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        if where == "kvm_vmx/lessons":
            return f'<a href="{COURSE}/index.html">{text}</a>'
        if whole := of_site.get(f"{where}{hash_}{anchor}"):
            return f"[{text}]({whole})"
        name = of_site.get(where, where.removeprefix("docs/") if where.startswith("docs/") else "")
        if name and files.get_file_from_path(name):
            return f"[{text}]({name}{hash_}{anchor})"
        if not (ROOT / where).exists():
            return hit[0]               # mkdocs tells it, and ends
        return text if text.startswith("`") else f"{text} (`{where}`)"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    parts[::2] = [WAY.sub(r"\1{ .md-button }", LINK.sub(link, part)) for part in parts[::2]]
    return TITLED.sub("", FENCE.sub(r'```\1 title="\2"', "".join(parts)))


def on_post_build(config):
    """The course, as its own command makes it."""
    from kvm_vmx.cli import main

    folder = pathlib.Path(config["site_dir"]) / COURSE
    if main(["lesson", "all", "--html", str(folder)]):
        raise SystemExit("the course was not made")
