"""The page that lists the endpoints is current."""

from __future__ import annotations

from pathlib import Path

from carboy.api.matrix import matrix


def test_the_matrix_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "api-matrix.md"
    assert page.read_text() == matrix(), "run: python -m carboy.api.matrix > docs/api-matrix.md"
