"""Whether the quotes of a file are beyond doubt, told from its bytes while they go by.

Put here: the rule, over blocks of bytes.
Do not put here: what is done about a doubt (`blocks`), or how the line is found (`records`).

A quoted field that nobody closed swallows the rows up to the next quote or the end of the file, and Arrow takes that
for a long text: the columns still add up, and rows are missing. So a quote may stand in a few places only. Counted from
0, the quotes with an even number open a field, or open it again as the second half of a doubled one; those with an odd
number close it, or are the first half. If every one stands where such a quote may stand and their count is even, then
no row was swallowed and no field left open. The rule has its doubts about a harmless `5" disk` too, but it never trusts
a bad file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_QUOTE = ord('"')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COMMA, _LINE_FEED, _CARRIAGE_RETURN = b",\n\r"


class QuoteWatch:
    """Is told all bytes of a file, block by block."""

    def __init__(self) -> None:
        # The last two bytes; the second of them is looked at when it is known what follows.
        self._unseen = b"\n"
        self._is_first = True
        self._count = 0
        self._has_doubts = False

    def see(self, data: bytes) -> None:
        """The file's next bytes; no cost to speak of where there are no quotes."""
        if self._is_first:
            data = data.removeprefix(_BYTE_ORDER_MARK)
            self._is_first = False
        window = self._unseen + data
        self._unseen = window[-2:]
        if not self._has_doubts and b'"' in window:
            self._look_at(np.frombuffer(window, np.uint8))

    def has_doubts(self) -> bool:
        """Asked once, after the last byte."""
        self.see(b"\n")
        return self._has_doubts or self._count % 2 == 1

    def _look_at(self, window: NDArray[np.uint8]) -> None:
        """Looks at the quotes of a window, but for its first and last byte."""
        is_quote = window == _QUOTE
        may_adjoin = is_quote | (window == _COMMA) | (window == _LINE_FEED) | (window == _CARRIAGE_RETURN)
        before = np.flatnonzero(is_quote[1:-1])  # the place of the byte before each quote
        odd = self._count % 2
        may_open, may_close = may_adjoin.take(before[odd::2]), may_adjoin.take(before[1 - odd :: 2] + 2)
        self._has_doubts = not (may_open.all() and may_close.all())
        self._count += len(before)
