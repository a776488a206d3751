"""The X-ray of a training loop as it runs: which steps of time each call of backward reaches, and where states are cut.

`record` holds what was seen, and `chunks`, `words`, `triangle` and `picture` say and show it: they need no library.
`torch_hooks` and `torch_states` see it in PyTorch, `reach` in functions.

Unions with types of a library are quoted: where the site is built, stand-ins take its place, and they have no ``|``.
"""
