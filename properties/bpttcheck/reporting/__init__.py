"""A run and its failures as text, JSON, JUnit XML and pages; the catalogues of laws and faults."""
