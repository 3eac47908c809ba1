"""What a table or figure is declared as, beside the code that makes it."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

Kind = Literal["table", "figure"]
Need = Literal["", "simulation", "names", "strangers", "sessions", "voices"]
FILES: dict[Kind, tuple[str, ...]] = {
    "table": (".csv", ".md", ".tex"),
    "figure": (".csv", ".png", ".pdf"),
}


@dataclass(frozen=True)
class Artifact:
    """A declared table or figure and the notebook that writes it."""

    name: str
    notebook: str
    title: str
    caption: str
    needs: Need = ""
    """What the corpora must have for it to be made: known true styles, named speakers, named test
    speakers whom training does not have, sessions of speakers who talk to nobody else, or nEMO's
    voices. nEMO's corpora have artifacts of their own and no others."""
    origin: str | None = None
    """Where its data come from, in place of the study's corpora: the caption's last sentence."""

    def fits(self, offers: Container[Need]) -> bool:
        """Whether corpora that offer these needs have this artifact."""
        if "voices" in offers:
            return self.needs == "voices"
        return not self.needs or self.needs in offers

    @property
    def kind(self) -> Kind:
        """table or figure, as the name begins."""
        return "table" if self.name.startswith("table") else "figure"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files; the first is the CSV."""
        return tuple(self.name + suffix for suffix in FILES[self.kind])
