"""Parameters of tests, of which only some are tested by plain ``tox``; ``tox -e thorough`` tests the others."""

import pytest


def some(values, *kept):
    """All values; those that are not kept are marked. A value that is a tuple is one of several parameters."""

    def marked(value):
        return pytest.param(*value if type(value) is tuple else (value,), marks=pytest.mark.thorough)

    return [value if value in kept else marked(value) for value in values]
