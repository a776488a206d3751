"""The X-ray of a training loop as it runs: which steps of time each call of backward reaches, and where states are cut.

`record` holds what was seen, and `chunks`, `words`, `triangle` and `picture` say and show it: they need no library.
`torch_hooks` and `torch_states` see it in PyTorch.
"""
