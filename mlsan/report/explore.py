"""A picture with sliders: it moves in JupyterLab, and is a still picture where no kernel runs."""

import base64
import html
import io
import textwrap
from collections.abc import Callable

from ipywidgets import HTML, Widget
from ipywidgets import VBox as Column
from matplotlib.figure import Figure

from mlsan.report.style import TEXT

LINE = 110  # characters per line below a picture as wide as a page


class Explorer(Column):
    """Sliders above the picture that they redraw.

    `draw` is called with the value of each slider by its name, and returns a figure and a sentence
    with its numbers. The output of a notebook's cell holds the widget and, as `image/png` and
    `text/plain`, the picture and the sentence. GitHub, nbconvert and the book show the picture.
    """

    def __init__(self, draw: Callable[..., tuple[Figure, str]], **sliders: Widget):
        self.draw, self.sliders, self.view = draw, sliders, HTML()
        for slider in sliders.values():
            slider.style.description_width = "initial"
            slider.observe(self.redraw, "value")
        self.redraw()
        super().__init__([*sliders.values(), self.view])

    def redraw(self, _: object = None) -> None:
        """Show the picture for the sliders' values."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        figure, self.said = self.draw(**values)
        figure.supxlabel("\n".join(textwrap.wrap(self.said, LINE)), fontsize=TEXT)
        content = io.BytesIO()
        figure.savefig(content, format="png")
        self.png = base64.b64encode(content.getvalue()).decode()
        source = f"data:image/png;base64,{self.png}"
        self.view.value = (
            f'<img style="max-width: 100%" alt="{html.escape(self.said)}" src="{source}">'
        )

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        widget = super()._repr_mimebundle_(**kwargs)
        return {**widget, "image/png": self.png, "text/plain": self.said}
