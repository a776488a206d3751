"""The engine: draw a case once, run every law that applies on it, shrink failing cases, in one process or several."""
