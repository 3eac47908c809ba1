"""`make data`: download, check and build the real corpora. Nothing else needs this package."""
