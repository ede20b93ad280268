"""No file whose quotes are taken for sound loses a row, and no sound file pays for a second look."""

from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from snapshot_pipeline.platform.csv_files.quotes import QuoteWatch


def _has_doubts(content: str, block: int) -> bool:
    watch, data = QuoteWatch(), content.encode()
    for begin in range(0, len(data), block):
        watch.see(data[begin : begin + block])
    return watch.has_doubts()


def _is_strict_csv(content: str) -> bool:
    try:
        list(csv.reader(io.StringIO(content, newline=""), strict=True))
    except csv.Error:
        return False
    return True


BLOCKS = st.integers(1, 9)
ROWS = st.lists(st.lists(st.text('a",\r\n é', max_size=6), min_size=1, max_size=3), max_size=5)


@given(st.text('a",\n\r', max_size=40), BLOCKS)
@example('1,"a"b"\n2,"c\n', 4)
@example('1,"a"\n2,"b\n3,"c"\n4,"d"\n', 4)
def test_whatever_is_not_doubted_is_sound(content: str, block: int) -> None:
    if not _has_doubts(content, block):
        assert _is_strict_csv(content)


@given(ROWS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["", "\ufeff"]), BLOCKS)
def test_what_a_program_has_written_is_not_doubted(rows: list[list[str]], quoting: int, mark: str, block: int) -> None:
    lines = io.StringIO(newline="")
    csv.writer(lines, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    assert not _has_doubts(mark + lines.getvalue(), max(block, 3))


def test_a_quote_inside_a_plain_text_is_doubted_and_then_found_harmless() -> None:
    content = '1,5" disk\n2,b\n'
    assert _has_doubts(content, 4)
    assert _is_strict_csv(content)
