"""The other models of Table 1 that are trained here, one per module.

They take the same batches as ML-SAN and tell speakers apart by their role within the dialogue.
Graph layers come from torch_geometric where it has them. DialogueGCN's and MMGCN's graphs are dense
tensors: with about a hundred turns per dialogue at most, sparse ones would save nothing.
"""
