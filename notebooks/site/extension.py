"""What Sphinx lacks for this book: equations without scripts, and docstrings as they are written.

Equations become MathML when the site is built. Browsers show MathML without a script or a font
from elsewhere, screen readers read it, and an equation that cannot be converted is an error.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.highlighting import lexer_classes
from sphinx.util import logging

logger = logging.getLogger(__name__)
# What the converter misreads, and what it reads as meant: \frac12 as \frac{1}{2}, and x with a hat
# and an index as {hat x} with an index, not as x between index and hat.
REWRITTEN = (
    (re.compile(r"(\\[td]?frac)\s*(\d)"), r"\1{\2}"),
    (re.compile(r"(\\[td]?frac\{[^{}]*\})\s*(\d)"), r"\1{\2}"),
    (
        re.compile(r"(\\(?:tilde|hat|bar|vec))\s*(\{[^{}]*\}|\\[a-zA-Z]+|\w)(?=\s*[_^])"),
        r"{\1{\2}{}}",
    ),
)
TAG = re.compile(r"\\tag\{([^}]*)\}")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    lexer_classes["csv"] = lexer_classes["none"]  # Pygments has no lexer for it
    app.connect("autodoc-process-docstring", protect)
    app.connect("autodoc-process-docstring", describe_fields)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("env-updated", forget_sourceless)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(writer, node: nodes.math) -> None:
    """Write an equation within a line."""
    writer.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def block(writer, node: nodes.math_block) -> None:
    """Write an equation on lines of its own, with its number if it has one."""
    identity = f' id="{node["ids"][0]}"' if node["ids"] else ""
    tag = TAG.search(node.astext())
    number = f'<span class="eqno">({tag[1]})</span>' if tag else ""
    body = mathml(node, as_block=True)
    writer.body.append(f'<div class="math"{identity} tabindex="0">{body}{number}</div>\n')
    raise nodes.SkipNode


def mathml(node: nodes.Element, as_block: bool) -> str:
    """The MathML of an equation."""
    source = TAG.sub("", node.astext()).strip()
    for misread, meant in REWRITTEN:
        source = misread.sub(meant, source)
    try:
        return "".join(tex2mathml(source, as_block=as_block))
    except MathError as error:
        logger.warning("equation %r: %s", source, error, location=node)
        return source


def protect(app, kind: str, name: str, thing: object, options, lines: list[str]) -> None:
    """Escape what reStructuredText would read as markup and our docstrings mean as it is.

    Removes the docstring that a model's forward inherits from torch.
    """
    if "Define the computation performed at every call." in lines:
        lines.clear()
    for number, line in enumerate(lines):
        parts = re.split(r"(`+[^`]+`+)", line)
        parts[::2] = [
            re.sub(r"(?<![*\w])\*(?![*\w])|\*(?=\w+\b(?!\*))|\|", r"\\\g<0>", p) for p in parts[::2]
        ]
        # Code may touch a letter: `name`s.
        lines[number] = re.sub(r"(?<=`)(?=\w)(?<=\w`)", r"\\ ", "".join(parts))


def describe_fields(app, kind: str, name: str, thing: object, options, lines: list[str]) -> None:
    """Add the fields of a settings class, with defaults and descriptions, to its docstring."""
    if kind != "class" or not isinstance(thing, type) or not issubclass(thing, BaseModel):
        return
    own = {k: field for k, field in thing.model_fields.items() if k in thing.__annotations__}
    if own:
        lines.append("")
    for field_name, field in own.items():
        default = "" if field.is_required() else f" Default: ``{field.get_default()!r}``."
        text = field.description or ""
        lines.append(f":param {field_name}: {text}{'.' if text else ''}{default}")
    lines.append("")


def shorten(app, kind: str, name: str, thing: object, options, signature, returned):
    """A settings class takes its fields by name: its docstring lists them."""
    if kind == "class" and isinstance(thing, type) and issubclass(thing, BaseModel):
        return "(**fields)", ""
    return signature, returned


def skip_foreign(app, kind: str, name: str, thing: object, skip: bool, options) -> bool | None:
    """Leave out what a module only imports from another package, and pydantic's own settings."""
    if name == "model_config":
        return True
    home = getattr(thing, "__module__", None) or "mlsan"
    return None if home.split(".")[0] == "mlsan" else True


def forget_sourceless(app: Sphinx, env) -> None:
    """Drop modules without source from the list of sources, which would link to them."""
    known = env._viewcode_modules
    for name in [name for name, entry in known.items() if not entry]:
        del known[name]
