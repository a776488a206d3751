"""The text that a character model learns: any text file, or the documentation that comes with Python itself."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bpttref.arrays import Array

_ALPHABET = 48  # the most frequent characters; the others share one token
_UNDERLINES = re.compile(r"([*=~^_-])\1{2,}")


@dataclass(frozen=True, eq=False)
class Text:
    """Tokens to learn from ``training (N,)`` and to be tested on ``held_out (M,)``; ``characters[token]`` writes one.

    The last token stands for every rare character.
    """

    name: str
    characters: str
    training: Array
    held_out: Array

    @property
    def digest(self) -> str:
        """The same for the same tokens and no others."""
        return hashlib.sha256(self.training.tobytes() + self.held_out.tobytes()).hexdigest()[:16]

    def written(self, length: int) -> str:
        """The first ``length`` characters to learn."""
        return "".join(self.characters[token] for token in self.training[:length])

    def beginning(self, length: int) -> "Text":
        """The same with only the first ``length`` tokens to learn from."""
        return replace(self, training=self.training[:length])

    def sequences(self, rng: np.random.Generator, T: int, B: int) -> tuple[Array, Array]:
        """``B`` places drawn from the training text: tokens ``(T, B)`` and the tokens that follow, ``(T, B)``."""
        return _windows(self.training, rng.integers(0, len(self.training) - T, B), T)

    @staticmethod
    def stretches(tokens: Array, T: int, most: int) -> tuple[Array, Array]:
        """Stretches of T tokens that do not overlap, at most ``most`` and evenly spread, as `sequences` are."""
        starts = np.arange(0, len(tokens) - T, T)
        return _windows(tokens, starts[:: max(1, len(starts) // most)][:most], T)


def read_text(file: Path | None, T: int) -> Text:
    """Lower case, with every run of white space as one space; the last tenth is held out.

    file: text in UTF-8; Python's own documentation topics if None. Raises OSError if it cannot be read, and ValueError
    if it is no text, or too short for sequences of ``T`` steps.
    """
    if file is None:
        from pydoc_data.topics import topics

        name, written = "Python's documentation topics", " ".join(topics[key] for key in sorted(topics))
    else:
        try:
            name, written = file.name, file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not a text in UTF-8: {error.reason} at byte {error.start}") from error
    plain = " ".join(_UNDERLINES.sub(" ", written).lower().split())
    held_out = len(plain) // 10
    if held_out <= T:
        raise ValueError(f"{name} has {len(plain)} characters; sequences of {T} steps need {10 * (T + 1)} at least")
    characters = "".join(character for character, _ in Counter(plain).most_common(_ALPHABET))
    token = {character: k for k, character in enumerate(characters)}
    tokens = np.array([token.get(character, len(characters)) for character in plain], dtype=np.uint8)
    return Text(name, characters + "\N{REPLACEMENT CHARACTER}", tokens[:-held_out], tokens[-held_out:])


def _windows(tokens: Array, starts: Array, T: int) -> tuple[Array, Array]:
    at = starts + np.arange(T)[:, None]
    return tokens[at], tokens[at + 1]
