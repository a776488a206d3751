"""Text from others, made safe to print: it moves no cursor, ends no file and breaks no encoding."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """The text with control characters, and characters that cannot be encoded, as escapes such as ``\\x1b``; lines stay
    lines."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
