"""Full, regularly and randomly truncated BPTT on a text: what a gradient costs, and what is learned with it.

The chapter's comparison of strategies (D2L 9.7.1.1 to 9.7.1.4), as measurements.
"""
