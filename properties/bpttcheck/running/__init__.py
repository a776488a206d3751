"""The engine: draw a case once, run every law that applies on it, shrink what fails, in one process or several."""
