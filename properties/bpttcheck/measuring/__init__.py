"""One case run by one implementation: the calls, how large an error may be, and the comparisons."""
