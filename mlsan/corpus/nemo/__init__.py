"""nEMO: acted speech of nine people in six emotions, whose features are part of this package.

`recordings` reads the features, `protocols` turns them into corpora, `sound` reads clips, and
`extraction` computes the features from clips. What is in `data/` is licensed under CC BY-NC-SA
4.0, unlike the rest of the package: see `data/README.md`.
"""
