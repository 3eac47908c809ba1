"""The book: it builds without warnings, and its pages need nothing but themselves."""

import html
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import urllib.parse
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[1]
SITE = ROOT / "notebooks" / "site"
LARGEST = 40_000_000  # bytes of the whole site
needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("sphinx_book_theme") is None, reason="needs the extra `site`"
)


def load(name: str) -> ModuleType:
    """A module of the site's folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it."""
    target = tmp_path_factory.mktemp("built") / "site"
    code = f"import sys; sys.path.insert(0, {str(SITE)!r}); import build; from pathlib import Path"
    code += f"; sys.exit(build.build(Path({str(target)!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


class Page(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def all(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@cache
def parsed(page: Path) -> Page:
    return Page(page.read_text())


def text_of(page: Path) -> str:
    """What a page says, without tags, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.read_text())).split())


def pages(site: Path) -> list[Path]:
    """The site's pages, without the theme's templates."""
    return [page for page in sorted(site.glob("**/*.html")) if "_static" not in page.parts]


def dead_links(site: Path) -> list[str]:
    """Links between pages whose file or anchor does not exist."""
    anchors = {
        page.resolve(): {tag.get(name) for _, tag in parsed(page).tags for name in ("id", "name")}
        for page in pages(site)
    }
    found = []
    for page in pages(site):
        for link in parsed(page).all("a"):
            parts = urllib.parse.urlsplit(link.get("href", ""))
            if parts.scheme or "href" not in link:
                continue
            path, anchor = map(urllib.parse.unquote, (parts.path, parts.fragment))
            target = (page.parent / path).resolve() if path else page.resolve()
            known = not anchor or anchor in anchors.get(target, ())
            if not target.is_file() or not known:
                found.append(f"{page.name}: {link['href']}")
    return found


def silent_images(site: Path) -> list[str]:
    """Images without an alternative text."""
    return [
        f"{page.name}: {image.get('src', '')[:80]}"
        for page in pages(site)
        for image in parsed(page).all("img")
        if not image.get("alt", "").strip()
    ]


def foreign_resources(site: Path) -> list[str]:
    """What a page would load from elsewhere; a link that a reader may follow loads nothing."""
    elsewhere = r"\s*(https?:)?//"
    found = [
        f"{page.name}: {value}"
        for page in pages(site)
        for tag in parsed(page).all("script", "link", "img", "source", "iframe", "audio", "video")
        for name, value in tag.items()
        if name in ("src", "href", "srcset", "poster") and re.match(elsewhere, value)
    ]
    for style in site.glob("**/*.css"):
        urls = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", style.read_text())
        found += [f"{style.name}: {url}" for url in urls if re.match(elsewhere, url)]
    return found


@needs_sphinx
def test_every_chapter_and_page_is_there(site: Path) -> None:
    sources = [*(ROOT / "notebooks").glob("*.ipynb"), *SITE.glob("*.md")]
    missing = [s.name for s in sources if not (site / f"{s.stem}.html").is_file()]
    assert missing == []


@needs_sphinx
def test_readme_s_tables_are_in_the_book(site: Path) -> None:
    assert "ML-SAN, strangers enrolled" in text_of(site / "results.html")


@needs_sphinx
def test_links_and_anchors_exist(site: Path) -> None:
    assert dead_links(site) == []


@needs_sphinx
def test_images_are_described(site: Path) -> None:
    assert silent_images(site) == []
    described = [image["alt"] for image in parsed(site / "06_qualitative.html").all("img")]
    assert any(alt.startswith("Fig. 4. Confusion") for alt in described)


@needs_sphinx
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert foreign_resources(site) == []


@needs_sphinx
def test_equations_are_mathml(site: Path) -> None:
    page = site / "03_mlsan.html"
    assert len(parsed(page).all("math")) > 20
    assert "\\gamma" not in text_of(page)


@needs_sphinx
def test_signatures_show_axes_and_settings_their_fields(site: Path) -> None:
    text = text_of(site / "api-model.html")
    assert "Float[Tensor, 'row speaker_dim']" in text
    assert "lambda of Eq. 4" in text


@needs_sphinx
def test_the_site_is_small(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LARGEST


def write(folder: Path, body: str) -> Path:
    (folder / "page.html").write_text(f"<html><body>{body}</body></html>")
    return folder


def test_faults_are_noticed(tmp_path: Path) -> None:
    links = '<a id="here" href="#here"></a><a href="page.html#gone"></a><a href="no.html"></a>'
    assert dead_links(write(tmp_path, links)) == ["page.html: page.html#gone", "page.html: no.html"]
    (tmp_path / "a").mkdir()
    assert silent_images(write(tmp_path / "a", '<img src="x.png"><img alt="a bird">')) == [
        "page.html: x.png"
    ]
    (tmp_path / "b").mkdir()
    loads = '<script src="https://cdn/x.js"></script><a href="https://arxiv.org">paper</a>'
    assert foreign_resources(write(tmp_path / "b", loads)) == ["page.html: https://cdn/x.js"]


@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    reason="needs Chromium",
)
def test_browser_notices_faults(tmp_path: Path) -> None:
    browse = load("browse")
    style = '<style>body { background: white }</style><meta name="viewport" content="width=390">'
    with browse.browser() as chromium:
        chromium.send("Emulation.setDeviceMetricsOverride", **browse.PHONE)
        sound = chromium.open(write(tmp_path, f"{style}<p>All is well.</p>") / "page.html")
        body = style + '<img alt="" src="no.png"><script>console.error("oh")</script>'
        body += '<div style="width: 900px">wide</div><div data-demo="x"></div>'
        faults = " ".join(chromium.open(write(tmp_path, body) / "page.html"))
    assert sound == []
    for part in ("does not load", "console: ", "a picture is missing", "pixels wide"):
        assert part in faults


@needs_sphinx
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("notebooks/site/data.md", "data.md"),
        ("notebooks/03_mlsan.ipynb", "03_mlsan.ipynb"),
        ("mlsan/model/mlsan.py", "code:mlsan/model/mlsan"),
        ("mlsan/model/__init__.py", "code:mlsan/model"),
        ("mlsan/model/fast", "api-model-fast.md"),
        ("figures/sim/table1_main.md", "artifacts.md#sim-table1-main"),
        ("figures/sim/table1_main.csv", "repo:figures/sim/table1_main.csv"),
        ("README.md", "index.md"),
    ],
)
def test_links_of_the_repository_have_a_place_in_the_site(path: str, place: str) -> None:
    build = load("build")
    linked: set[str] = set()
    assert build.relink(f"[x](../../{path})", "notebooks/site", linked) == f"[x]({place})"
    assert linked == ({path} if place.startswith("repo:") else set())


@needs_sphinx
@pytest.mark.parametrize("short", [r"\frac12", r"\frac 1{2}", r"\frac{1}2", r"\frac{1}{2} \tag{3}"])
def test_equations_are_converted(short: str) -> None:
    nodes = importlib.import_module("docutils.nodes")
    mathml = load("extension").mathml
    wanted = mathml(nodes.math("", r"\frac{1}{2}"), as_block=False)
    assert "<mfrac>" in wanted
    assert mathml(nodes.math("", short), as_block=False) == wanted


@needs_sphinx
@pytest.mark.parametrize("accented", [r"\tilde x_i^m", r"\hat{x}_i^m", r"\bar\sigma_i^m"])
def test_an_index_is_not_put_under_an_accent(accented: str) -> None:
    nodes = importlib.import_module("docutils.nodes")
    shown = load("extension").mathml(nodes.math("", accented), as_block=True)
    assert "munder" not in shown
    assert re.search(r"<mover .*</mover>.*<mi>i</mi>\s*<mi>m</mi>\s*</msubsup>", shown, re.DOTALL)


@needs_sphinx
def test_an_equation_that_cannot_be_converted_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes = importlib.import_module("docutils.nodes")
    load("extension").mathml(nodes.math("", r"\unknown"), as_block=False)
    assert "unknown" in caplog.text


@needs_sphinx
def test_a_chapter_has_described_pictures_and_none_from_elsewhere() -> None:
    figure = {"image/png": "", "text/plain": "<Figure size 975x405 with 3 Axes>"}
    picture = new_output("display_data", data=figure)
    sliders = new_output("execute_result", data={"image/png": "", "text/plain": "n is 3."})
    caption = new_output("display_data", data={"text/markdown": "**Fig. 1.** Two birds."})
    badge = "[![Open in Colab](https://colab/badge.svg)](https://colab/01)"
    plain = new_code_cell('axis.set(xlabel="epoch", ylabel="loss")', outputs=[picture])
    cells = [
        new_markdown_cell(f"# Title\n{badge}"),
        new_code_cell("PROFILE = 1", metadata={"tags": ["parameters"]}),
        new_markdown_cell("## Training\n\nThe course of one run:"),
        plain,
        new_markdown_cell("Text."),
        new_code_cell("plot()", outputs=[picture]),
        new_code_cell("save()", outputs=[caption]),
        new_code_cell("Explorer()", outputs=[sliders]),
    ]
    title, folded, _, first, _, second, _, third = (
        load("build").chapter(new_notebook(cells=cells)).cells
    )
    assert title.source.endswith("[Open in Colab](https://colab/01)")
    assert folded.metadata["tags"] == ["parameters", "hide-cell"]
    described = [cell.metadata["mystnb"]["image"]["alt"] for cell in (first, second, third)]
    assert described == [
        "Training. The course of one run. Axes: epoch, loss.",
        "Fig. 1. Two birds.",
        "n is 3.",
    ]


@needs_sphinx
def test_a_link_to_nothing_stops_the_build() -> None:
    with pytest.raises(FileNotFoundError, match=r"the link to gone\.md leads nowhere"):
        load("build").relink("[x](gone.md)", "notebooks/site", set())


def test_the_glossary_has_the_vocabulary() -> None:
    words = re.findall(r"\*\*([\w ]+)\*\*", (ROOT / "mlsan/vocabulary.py").read_text())
    assert len(words) > 8
    rows = re.findall(r"^\| ([\w ]+) \|", (SITE / "glossary.md").read_text(), re.MULTILINE)
    assert {word.lower() for word in words} <= set(rows)


def test_the_half_hour_gives_the_scores_that_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    text = (SITE / "start.md").read_text()
    names: dict[str, object] = {}
    steps = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)
    assert len(steps) == 8
    for code, shown in steps:
        exec(code, names)
        said = capsys.readouterr().out
        number = r"(?<=actors |angers )\d+"
        assert re.sub(number, "N", said) == re.sub(number, "N", shown)
        pairs = zip(re.findall(number, said), re.findall(number, shown), strict=True)
        # Processors differ in the order in which they add numbers.
        assert all(abs(int(ours) - int(theirs)) <= 3 for ours, theirs in pairs), said
