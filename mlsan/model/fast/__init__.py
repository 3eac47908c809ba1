"""Fast forms of what `mlsan.model.reference` defines by short loops.

Skip this folder: nothing here changes what is computed, and tests hold each form to the reference.
`packing` says where utterances lie, `context` and `recurrence` run DialogueRNN, `fusion` and
`attention` the cross-attention, `contrastive` the SWFC loss; `stacked`, `products`, `cells` and
`arrays` are the layers under them. Baselines also use `attentive` (the published DialogueRNN),
`grouped` (products of groups of rows) and `dropout`.
"""
