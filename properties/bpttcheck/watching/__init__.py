"""The X-ray of a training loop as it runs: which steps of time each call of backward reaches, and where states are cut.

`record` holds the observations, and `chunks`, `words`, `triangle` and `picture` describe and show them: they need no
library. `torch_hooks` and `torch_states` observe PyTorch, `reach` observes functions.

Unions with types of a library are quoted: where the site is built, stand-ins take its place, and they have no ``|``.
"""
