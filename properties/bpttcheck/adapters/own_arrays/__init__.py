"""Functions on arrays of a user's own names and shapes, as implementations; no adapter to write.

One example of the arrays shows their layout (`layout`) and their names (`names`). Calls of the functions with it show
the rest (`finding`). The result is an implementation of a `CustomCell` of fixed D and H (`subject`, `loss`).
"""
