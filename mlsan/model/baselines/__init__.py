"""The other models of Table 1 that are trained here, one per module.

They take the same batches as ML-SAN and tell speakers apart by their role within the dialogue.
Graphs are dense tensors: with about a hundred turns per dialogue at most, a graph library would
save nothing.
"""
