"""The verdicts on many targets side by side: judged in processes, counted for a terminal, and as a page."""
