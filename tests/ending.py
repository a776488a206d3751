"""A run of laws that ends as soon as a result decides the test."""

from bpttcheck import judge


class _Found(Exception):
    """The result has come."""


def results_unless(found, subject, laws, **options):
    """The results of `judge`; None where one of them is found, at which the run ends."""

    def progress(result):
        if found(result):
            raise _Found

    try:
        return list(judge(subject, laws, progress=progress, **options))
    except _Found:
        return None
