"""`make site`: collect the book's sources in build/site-source, and let Sphinx build build/site.

The pages of this folder and the notebooks link to files of the repository as GitHub shows them.
Here each link becomes one within the site: to a page, a chapter, a module's source, a table or
figure, or a copy of the file.
"""

import json
import os
import posixpath
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).parents[2]
SITE = "notebooks/site"
# Sphinx's own files; every other Markdown page here is part of the book.
SETTINGS = ("conf.py", "extension.py", "references.bib", "_static")
# The start of a link or image, its target, and the part of the page.
LINK = re.compile(r"(!\[[^\]]*\]\(|\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
# Stands in a page for a section of README, which the page on GitHub only links to.
FROM_README = re.compile(r"<!-- README: (.+) -->")
# A picture from the network that is a link.
BADGE = re.compile(r"\[!\[([^\]]*)\]\(https?:[^)]*\)\](?=\()")
# The committed tables and figures, by folder.
FIGURES = {
    "sim": "Simulated conversations",
    "nemo": "Real voices",
    "meld-text": "Real conversations, text alone",
}
CAPTION = re.compile(r"\*\*([^*]+)\*\* (.+)")
# The pages of the API reference: the package's layers, large ones by folder.
API = {
    "Words, files and scores": ("vocabulary", "files", "scores"),
    "Corpora": ("corpus",),
    "Corpora: downloads": ("corpus.fetch",),
    "Corpora: nEMO": ("corpus.nemo",),
    "Corpora: simulation": ("corpus.simulate",),
    "Models": ("model",),
    "Models: baselines": ("model.baselines",),
    "Models: fast forms": ("model.fast",),
    "Training": ("training",),
    "Evaluation": ("evaluation",),
    "Report": ("report",),
    "Study and commands": ("study", "published", "bench"),
}


def collect(source: Path) -> None:
    """Write everything that Sphinx reads into an empty folder."""
    shutil.rmtree(source, ignore_errors=True)
    (source / "extra").mkdir(parents=True)
    for name in SETTINGS:
        copy = shutil.copytree if (ROOT / SITE / name).is_dir() else shutil.copy
        copy(ROOT / SITE / name, source / name)
    pages = {path.name: path.read_text() for path in (ROOT / SITE).glob("*.md")}
    pages |= {"artifacts.md": artifacts(), **api()}
    linked: set[str] = set()
    for name, text in pages.items():
        text = relink(text, SITE, linked)
        text = FROM_README.sub(lambda found: relink(readme(found[1]), "", linked), text)
        (source / name).write_text(text)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = chapter(nbformat.read(path, as_version=4))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = relink(cell.source, "notebooks", linked)
            for output in cell.get("outputs", []):
                if "text/markdown" in output.get("data", {}):
                    text = "".join(output.data["text/markdown"])
                    output.data["text/markdown"] = built(relink(text, "notebooks", linked))
        nbformat.write(notebook, source / path.name)
    for name in linked:
        target = source / "extra" / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def relink(text: str, folder: str, linked: set[str]) -> str:
    """The text with its relative links, seen from `folder`, leading to places of the site.

    Adds to `linked` the files that the site needs copies of. Raises FileNotFoundError for a link
    that leads nowhere.
    """

    def one(match: re.Match[str]) -> str:
        start, target, part = match.groups(default="")
        path = posixpath.normpath(posixpath.join(folder, target))
        if path == f"{SITE}/artifacts.md":
            return match[0]
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{folder}: the link to {target} leads nowhere")
        address = f"extra/files/{path}" if start.startswith("!") else place(path)
        if address.startswith(("extra/", "repo:")):
            linked.add(path)
        return start + address + ("" if "#" in address else part)

    return LINK.sub(one, text)


def built(text: str) -> str:
    """The text with links to built pages: Sphinx resolves no links in the outputs of cells."""
    return LINK.sub(lambda m: m[1] + re.sub(r"\.(md|ipynb)$", ".html", m[2]) + (m[3] or ""), text)


def moved(text: str, folder: Path) -> str:
    """The text with its relative links, seen from `folder`, as pages of the site see them."""

    def one(match: re.Match[str]) -> str:
        start, target, part = match.groups(default="")
        return start + os.path.relpath(folder / target, ROOT / SITE) + part

    return LINK.sub(one, text)


def readme(title: str) -> str:
    """The text of a section of README."""
    return (ROOT / "README.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def place(path: str) -> str:
    """Where the site has a file or folder of the repository."""
    folder, name = posixpath.split(path)
    stem, ending = posixpath.splitext(name)
    if path == "README.md":
        return "index.md"
    if folder == SITE and ending == ".md":
        return name
    if folder == "notebooks" and ending in (".ipynb", ".py"):
        return f"{stem}.ipynb"
    if path.startswith("figures/") and (ROOT / path).is_dir():
        return "artifacts.md"
    if path.startswith("figures/") and ending in (".md", ".png"):
        return f"artifacts.md#{anchor(folder, stem)}"
    if path.startswith("mlsan/") and ending == ".py":
        module = posixpath.normpath(f"{folder}/{'' if stem == '__init__' else stem}")
        return f"code:{module}"
    if path.startswith("mlsan/") and (ROOT / path / "__init__.py").exists():
        return f"api-{path.removeprefix('mlsan/').rstrip('/').replace('/', '-')}.md"
    if (ROOT / path).is_dir():
        raise ValueError(f"link to a file in {path}, not to the folder")
    return f"repo:{path}"


def anchor(folder: str, name: str) -> str:
    """The place of a table or figure, given the folder of figures that it is in."""
    return f"{posixpath.basename(folder)}-{name}".replace("_", "-")


def chapter(notebook: NotebookNode) -> NotebookNode:
    """A notebook as a chapter: set-up folded, no badges from elsewhere, every picture described."""
    heading = before = ""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = BADGE.sub(r"[\1]", cell.source)
            heading = next(reversed(re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)), heading)
            last = cell.source.splitlines()[-1].strip("# :.")
            before = f" {last}." if len(last) < 100 and not set(last) & set("*`$") else ""
            continue
        if "parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "hide-cell"]
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        if pictures := [data for data in shown if "image/png" in data]:
            axes = ", ".join(dict.fromkeys(re.findall(r'[xy]label="([^"]+)"', cell.source)))
            said = pictures[0].get("text/plain", "")  # a sentence where sliders redraw the picture
            said = "" if said.startswith("<") else said
            alt = said or caption(notebook.cells[number : number + 3])
            alt = alt or f"{heading}.{before} Axes: {axes or 'see the text'}."
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return notebook


def caption(cells: Iterable[NotebookNode]) -> str:
    """The caption of the first figure that code cells save, as plain text; "" if none."""
    for cell in cells:
        for output in cell.get("outputs", []):
            found = CAPTION.match(output.get("data", {}).get("text/markdown", ""))
            if found and found[1].startswith("Fig"):
                return f"{found[1]} {found[2]}"
    return ""


def artifacts() -> str:
    """A page with every committed table and figure, from the manifests."""
    lines = ["# Tables and figures", ""]
    lines += ["Each is written by the chapter named with it. `make paper` regenerates all.", ""]
    for folder, title in FIGURES.items():
        folder = ROOT / "figures" / folder
        lines += [f"## {title}", ""]
        manifest = json.loads((folder / "manifest.json").read_text())
        for name, entry in manifest["artifacts"].items():
            lines += [f"({anchor(folder.name, name)})=", f"### `{name}`", ""]
            table = folder / f"{name}.md"
            if table.exists():
                lines += [moved(table.read_text(), folder), ""]
            else:
                picture = os.path.relpath(folder / f"{name}.png", ROOT / SITE)
                alt = entry["caption"].replace("[", "(").replace("]", ")")
                lines += [f"![{alt}]({picture})", "", entry["caption"], ""]
            data = os.path.relpath(folder / f"{name}.csv", ROOT / SITE)
            lines += [f"[Data]({data}), [chapter](../{entry['notebook']}.ipynb)", ""]
    return "\n".join(lines)


def api() -> dict[str, str]:
    """The pages of the API reference: for each module its documented classes and functions."""
    pages, listed = {}, []
    for title, parts in API.items():
        page = f"api-{parts[0].replace('.', '-')}"
        listed.append(page)
        modules = [name for part in parts for name in modules_of(part)]
        lines = [f"# {title}", ""]
        for module in modules:
            lines += [f"## `{module}`", "", "```{eval-rst}", f".. automodule:: {module}"]
            lines += ["   :members:", "   :ignore-module-all:"]
            lines += ["   :special-members: __call__", "```", ""]
        pages[f"{page}.md"] = "\n".join(lines)
    text = "# API reference\n\nFrom the docstrings. Each layer imports only those before it. "
    text += "Shapes are in the signatures: `Float[Tensor, 'utterance feature']` is a float tensor "
    text += "with axes utterance and feature.\n\n```{toctree}\n" + "\n".join(listed) + "\n```\n"
    return pages | {"api.md": text}


def modules_of(part: str) -> list[str]:
    """The modules of a layer, without those of folders that have a page of their own."""
    path = ROOT / "mlsan" / part.replace(".", "/")
    if not path.is_dir():
        return [f"mlsan.{part}"]
    names = sorted(p.stem for p in path.glob("*.py"))
    return [f"mlsan.{part}" if n == "__init__" else f"mlsan.{part}.{n}" for n in names]


def build(target: Path) -> int:
    """Build the site; every warning is an error. Returns 0 if there was none."""
    source = target.with_name(f"{target.name}-source")
    collect(source)
    shutil.rmtree(target, ignore_errors=True)
    doctrees = target.with_name(f"{target.name}-doctrees")
    arguments = ["-b", "html", "-W", "--keep-going", "-q", "-d", doctrees, source, target]
    return sphinx([str(argument) for argument in arguments])


if __name__ == "__main__":
    sys.exit(build(ROOT / "build" / "site"))
