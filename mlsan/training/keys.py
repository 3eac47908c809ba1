"""Run keys: digests of everything that decides a run's numbers, and of nothing else.

A key covers the run's settings, the corpus as decoded, the torch version and the code that the run
executes: its own model, the training loop, the losses, and what these import. Other models, the
reading of files, tables, figures and progress display are not part of it, and neither are
comments, docstrings and layout.
"""

import ast
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import torch

from mlsan.corpus.types import Corpus
from mlsan.files import sha256
from mlsan.model import MODELS, WRAPPERS
from mlsan.model.interface import ModelSettings
from mlsan.model.wrapper import WrapperSettings
from mlsan.training.settings import RunSettings

PACKAGE = Path(__file__).parents[1]
LOOP = "mlsan.training.loop"
# It finds the module of a model's name. That module is in the key itself, the list of all is not.
REGISTRY = "mlsan.model"


def run_key(run: RunSettings, corpus: Corpus) -> str:
    """The name of a run's folder: 16 hex digits."""
    content = [
        run.model_dump(mode="json"),
        corpus.fingerprint,
        torch.__version__,
        *(run_code(model) for model in models_of(run.model)),
    ]
    return sha256(json.dumps(content, sort_keys=True).encode())[:16]


def models_of(settings: ModelSettings) -> list[str]:
    """The model that the settings name, "module:Class", and the one inside, if it is a wrapper."""
    if isinstance(settings, WrapperSettings):
        return [WRAPPERS[settings.name], *models_of(settings.base)]
    return [MODELS[settings.name]]


def code_digest() -> str:
    """Digest of the code of all runs, whatever their model."""
    models = (*MODELS.values(), *WRAPPERS.values())
    return sha256("\n".join(run_code(model) for model in models).encode())


@cache
def run_code(model: str, package: Path = PACKAGE) -> str:
    """Digest of the code that trains a model, given as in `MODELS`: "module:Class".

    Raises ValueError for a module outside the package, whose changes would go unnoticed.
    """
    modules = closure([LOOP, model.partition(":")[0]], package)
    code = [f"{module}\n{meaning(path.read_text())}" for module, path in sorted(modules.items())]
    return sha256("\n".join([model, *code]).encode())


def closure(roots: Iterable[str], package: Path = PACKAGE) -> dict[str, Path]:
    """The files of some modules and of all modules of the package that they import, by name.

    Imports are read from the source, those inside functions included; `import_module` with a
    name made at run time is not seen. A package's `__init__` counts only where a name is imported
    from it, although Python also runs it on the way to its modules.
    """
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module] = path = _file(module, package)
            waiting += [name for name in _imports(module, path, package) if name != REGISTRY]
    return found


@cache
def meaning(source: str) -> str:
    """Source code without comments, docstrings and layout."""
    return ast.dump(_WithoutStrings().visit(ast.parse(source)))


class _WithoutStrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Drop statements that are a constant and nothing else, such as docstrings."""
        return None if isinstance(node.value, ast.Constant) else node


@cache
def _imported(source: str) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a source, those inside functions included."""
    found = ast.walk(ast.parse(source))
    return [node for node in found if isinstance(node, ast.Import | ast.ImportFrom)]


def _imports(module: str, path: Path, package: Path) -> Iterator[str]:
    """The modules of the package that a module names in its import statements."""
    parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _imported(path.read_text()):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = resolve_name("." * node.level + (node.module or ""), parent)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if _is_module(name, package) else base for name in inner]
        yield from (name for name in names if _is_module(name, package))


def _is_module(name: str, package: Path) -> bool:
    return _path(name, package) is not None


def _file(name: str, package: Path) -> Path:
    path = _path(name, package)
    if path is None:
        raise ValueError(
            f"{name} is no module below {package}, so its changes would not change the keys of its "
            f"runs: move it there and correct its line in MODELS"
        )
    return path


def _path(name: str, package: Path) -> Path | None:
    """The source file of a module of the package, None for any other name."""
    top, *parts = name.split(".")
    path = package.joinpath(*parts)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((p for p in candidates if top == package.name and p.is_file()), None)
