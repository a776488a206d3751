"""The interface for the replay files that version 0.1.0 wrote, which import ``again`` from here."""

from bpttcheck.explaining.failure import again

__all__ = ["again"]
