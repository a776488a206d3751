"""Full, regularly and randomly truncated BPTT on a text: the cost of a gradient, and the result of training with it.

The chapter's comparison of strategies (D2L 9.7.1.1 to 9.7.1.4), as measurements.
"""
