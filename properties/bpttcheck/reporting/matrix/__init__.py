"""The verdicts on many targets side by side: tested in processes, counted for a terminal, and as a page."""
