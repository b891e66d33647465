"""Says which numbers a caller may send: whole, and small enough for every store."""

from __future__ import annotations

NUMBER_LIMIT = 10**15 - 1
_DIGITS = len(str(NUMBER_LIMIT))


def is_number(text: str) -> bool:
    """Tell whether text is a whole number from 0 to the limit, in ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
