"""The mistake in an implementation that fails: a diagnosis, an X-ray, a file that shows it again."""
