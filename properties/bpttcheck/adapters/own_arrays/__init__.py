"""Functions on arrays of a user's own names and shapes, as implementations; no adapter to write.

One example of the arrays says how they lie (`layout`) and what they are called (`names`). Calling the functions with it
says the rest (`finding`). The result is an implementation of a `CustomCell` of fixed D and H (`subject`, `loss`).
"""
