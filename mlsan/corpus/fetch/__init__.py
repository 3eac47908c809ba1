"""`make data`: download, check and build the real corpora. Nothing else needs this package."""

from collections.abc import Callable

Say = Callable[[str], object]
"""What is called with each line of progress."""
