"""Finding the mistake in an implementation that fails: a diagnosis, an X-ray, a file that repeats the failure."""
