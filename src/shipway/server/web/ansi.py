"""Turns a line of program output into pieces of text with colours, and drops all else."""

from __future__ import annotations

import re

# A colour sequence, any other escape sequence, or a control character that draws nothing.
_ESCAPE = re.compile(
    r"\x1b\[([0-9;]*)m"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\Z)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")  # they would show text in another order

Piece = tuple[str, str]  # CSS classes, text


def pieces(line: str) -> list[Piece]:
    """Return the text of a line in pieces of one colour each."""
    found: list[Piece] = []
    look = _Look()
    at = 0
    for match in _ESCAPE.finditer(line):
        _add(found, look, line[at : match.start()])
        at = match.end()
        if match.group(1) is not None:
            look.take(match.group(1))
    _add(found, look, line[at:])
    return found


class _Look:
    """How text is drawn now."""

    def __init__(self) -> None:
        self.front: str | None = None
        self.back: str | None = None
        self.marks: set[str] = set()

    def take(self, codes: str) -> None:
        numbers = [int(code) if code and len(code) < 4 else 0 for code in codes.split(";")]
        skip = 0
        for index, number in enumerate(numbers):
            if skip:
                skip -= 1
            elif number in {38, 48}:  # a colour of 256 or of 16 million: not drawn
                following = numbers[index + 1] if index + 1 < len(numbers) else 0
                skip = {5: 2, 2: 4}.get(following, 0)
            else:
                self._apply(number)

    def classes(self) -> str:
        names = [name for name in (self.front, self.back) if name] + sorted(self.marks)
        return " ".join(names)

    def _apply(self, number: int) -> None:
        if number == 0:
            self.front = self.back = None
            self.marks.clear()
        elif number in _MARKS:
            self.marks.add(_MARKS[number])
        elif number in {22, 24}:
            self.marks.clear()
        elif number == 39:
            self.front = None
        elif number == 49:
            self.back = None
        elif 30 <= number <= 37 or 90 <= number <= 97:
            self.front = f"fg{number}"
        elif 40 <= number <= 47 or 100 <= number <= 107:
            self.back = f"bg{number % 100 if number < 100 else number - 60}"


_MARKS = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}


def _add(found: list[Piece], look: _Look, text: str) -> None:
    if text:
        found.append((look.classes(), _BIDI.sub("\ufffd", text)))
