"""Nodes: where words stand, and what is no Dockerfile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import InvalidArgument
from carboy.formats.dockerfile.nodes import parse_nodes, parse_trigger
from carboy.formats.dockerfile.source import DockerfileError, Limits, Span, point, suggestion


def test_words_know_their_physical_lines() -> None:
    text = "FROM a\nRUN --network=no\\\n  ne echo \\\n# c\n  b\n"
    node = parse_nodes(text).nodes[1]
    assert node.flags[0].value == "--network=no"
    assert node.span_of(node.flags[0]) == (Span(2, 4, 16),)
    assert node.arguments[0].value == "ne echo   b"
    assert node.span_of(node.arguments[0]) == (Span(3, 2, 10), Span(5, 0, 3))
    assert (node.line, node.end_line) == (2, 5)


@pytest.mark.parametrize(
    "text", ["FROM a\nENV x=y \\\n  z='a b' w=\\\n1\nLABEL  k=v\n", "\ufeff\tFROM  b AS\tc\r\n"]
)
def test_spans_are_where_the_text_is(text: str) -> None:
    lines = text.removeprefix("\ufeff").split("\n")
    for node in parse_nodes(text).nodes:
        for word in node.arguments:
            parts = [lines[span.line - 1][span.start : span.end] for span in node.span_of(word)]
            assert "".join(parts) == word.value


def test_triggers_are_one_instruction() -> None:
    assert parse_trigger("COPY --from=x a b").name == "COPY"
    assert parse_trigger("RUN <<E\nx\nE").heredocs[0].content == "x\n"
    with pytest.raises(DockerfileError, match="single expression"):
        parse_trigger("RUN a\nRUN b")


def test_bytes_that_are_no_text_are_kept() -> None:
    heredoc = parse_nodes(b"FROM a\nCOPY <<E /x\n\xff\xfe\nE\n").nodes[1].heredocs[0]
    assert heredoc.content.encode("utf-8", "surrogateescape") == b"\xff\xfe\n"


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("FROM a\n" * 3, Limits(text=20)),
        ("FROM a\n" * 3, Limits(instructions=2)),
        ("FROM a\nRUN <<A <<A <<A\nA\nA\nA\n", Limits(heredocs=2)),
        ("FROM a\nENV a=1 b=2\n", Limits(words=3)),
    ],
)
def test_limits_are_said(text: str, limits: Limits) -> None:
    with pytest.raises(DockerfileError, match=r"more than|larger than"):
        parse_nodes(text, limits=limits)


def test_errors_are_invalid_arguments_and_one_line() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_nodes("FROM a\nRUN <<E\n")
    error = caught.value
    assert isinstance(error, DockerfileError)
    assert (
        str(error) == "dockerfile parse error on line 2: unterminated heredoc: no line below it says just 'E'"
    )
    assert error.pointed("FROM a\nRUN <<E\n", name="x/Dockerfile").startswith("x/Dockerfile:2: unterminated")


def test_long_lines_are_cut_when_shown() -> None:
    shown = point("x" * 100_000, (Span(1, 0, 100_000),) * 10)
    assert len(shown) < 2000


def test_suggestions() -> None:
    known = ("FROM", "RUN", "COPY")
    assert suggestion("FORM", known) == " (did you mean FROM?)"
    assert suggestion("rum", known) == " (did you mean RUN?)"
    assert suggestion("ENTIRELY", known) == ""
    assert suggestion("x", known) == suggestion("F" * 1000, known) == ""


PIECES = (
    "FROM a", "RUN ", "COPY ", "ENV ", "ARG ", "ONBUILD ", "HEALTHCHECK CMD ", "--mount=", "--x=", "<<E",
    "<<-'E'", "E\n", "\n", "\\\n", "# c\n", "# escape=`\n", "`\n", " ", "\t", '"', "'", "=", "$a", "${a:-",
    "}", "[", "]", '"a"', ",", "\\", "é", "\x00", "\r\n", "a", "b/c", "\ufeff", "--",
)  # fmt: skip


@pytest.mark.property
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_anything_is_nodes_or_a_pointed_error(text: str) -> None:
    try:
        file = parse_nodes(text)
    except DockerfileError as error:
        error.pointed(text)
        return
    lines = text.removeprefix("\ufeff").split("\n")
    for node in file.nodes:
        for span in (*node.whole_span, *node.keyword_span):
            assert 1 <= span.line <= len(lines)
            assert span.start < span.end
        for word in (*node.flags, *node.arguments):
            assert 0 <= word.start <= word.end <= len(node.text)
