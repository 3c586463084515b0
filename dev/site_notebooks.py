# SPDX-License-Identifier: GPL-2.0-only
"""The notebooks of examples/ as pages of the site, executed, with what their cells show."""

import asyncio
import functools
import html
import pathlib
import tempfile

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
PATIENCE = 120


@functools.cache
def executed():
    """{name: a notebook as it was executed}, all at once, each in an empty folder;
    ModuleNotFoundError without nbclient."""
    import nbclient
    import nbformat

    async def run(path, folder):
        notebook = nbformat.read(path, as_version=4)
        await nbclient.NotebookClient(
            notebook, timeout=PATIENCE, resources={"metadata": {"path": folder}}).async_execute()
        return path.stem, notebook

    async def run_all(folder):
        return dict(await asyncio.gather(*(
            run(path, folder) for path in sorted(EXAMPLES.glob("*.ipynb")))))

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run_all(folder))


def pages():
    """{page: text} of every notebook."""
    return {f"notebook-{name}.md": text_of(notebook, name)
            for name, notebook in executed().items()}


def text_of(notebook, name):
    """A page of Markdown; what a cell shows stands in it as HTML, what it prints as text."""
    parts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(cell["source"])
            continue
        parts.append(f"```python\n{cell['source']}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                shown = data["text/html"].replace("\n", " ")
                parts.append(f'<div class="shown">{shown}</div>')
            elif said := output.get("text") or data.get("text/plain"):
                parts.append(f'<pre class="says"><code>{html.escape(said.rstrip())}</code></pre>')
    parts.append(f"*This is `examples/{name}.ipynb`, executed as the site was made.*")
    return "\n\n".join(parts) + "\n"
