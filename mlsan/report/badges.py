"""Links that open a notebook in the browser, made from the repository's address.

The address is in one place: `Repository` under `[project.urls]` of pyproject.toml. Without it,
there are no badges.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")
BRANCH = "main"


def repository(pyproject: Path = PYPROJECT) -> str:
    """The project on GitHub as "owner/name"; "" if pyproject.toml is absent or names no address.

    Raises ValueError for an address that is not on GitHub.
    """
    if not pyproject.exists():  # an installed package has none
        return ""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    match = GITHUB.fullmatch(address)
    if address and match is None:
        raise ValueError(
            f"{pyproject}: Repository = {address!r} is not an address that Colab and Binder can "
            "open; write https://github.com/OWNER/NAME, or leave Repository out"
        )
    return match[1] if match else ""


def badges(notebook: str, project: str) -> str:
    """Colab's and Binder's badges for `notebooks/NOTEBOOK.ipynb`, as Markdown.

    `project` is "owner/name" on GitHub; without one the text is empty.
    """
    if not project:
        return ""
    path = f"notebooks/{notebook}.ipynb"
    colab = f"https://colab.research.google.com/github/{project}/blob/{BRANCH}/{path}"
    binder = f"https://mybinder.org/v2/gh/{project}/{BRANCH}?urlpath=lab/tree/{path}"
    install = f"!pip install git+https://github.com/{project}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})\n\n"
        f"Colab lacks this project's package: first run `{install}` in a cell of its own."
    )
