"""Variables and words, against what BuildKit and sh make of them."""

from __future__ import annotations

import pytest

from carboy.formats.dockerfile.source import Limits
from carboy.formats.dockerfile.words import Lexer, WordError

VARIABLES = {"X": "value", "E": "", "P": "/usr/lib/x.tar.gz", "S": "two words", "Q": 'a"b', "A": "a-b-a"}

EXPANDED = {
    "": "",
    "plain": "plain",
    "$X": "value",
    "${X}": "value",
    "$Xy": "",
    "${X}y": "valuey",
    "$X-$E-$U": "value--",
    "${U:-d}": "d",
    "${U-d}": "d",
    "${E:-d}": "d",
    "${E-d}": "",
    "${X:-d}": "value",
    "${X:+a}": "a",
    "${E:+a}": "",
    "${E+a}": "a",
    "${U+a}": "",
    "${X:?e}": "value",
    "${E?e}": "",
    "${U:-${E:-${X}}}": "value",
    "${U:-'a}b'}": "a}b",
    '${U:-"a b"}': "a b",
    "${U:-a\\}b}": "a}b",
    "${P#/}": "usr/lib/x.tar.gz",
    "${P#*/}": "usr/lib/x.tar.gz",
    "${P##*/}": "x.tar.gz",
    "${P%.*}": "/usr/lib/x.tar",
    "${P%%.*}": "/usr/lib/x",
    "${P%.gz}": "/usr/lib/x.tar",
    "${P#${U:-/usr}}": "/lib/x.tar.gz",
    "${U#x}": "",
    "${A/a/x}": "x-b-a",
    "${A//a/x}": "x-b-x",
    "${A//-/}": "aba",
    "${A/z/x}": "a-b-a",
    "${A//?/.}": ".....",
    "${A/-*/!}": "a!",
    "${P//\\//_}": "_usr_lib_x.tar.gz",
    "${A//z*/x}": "a-b-a",
    "'$X'": "$X",
    '"$X"': "value",
    "\\$X": "$X",
    '"\\$X"': "$X",
    '"a\\b"': "a\\b",
    "a\\b": "ab",
    "a\\": "a",
    "'a\\'": "a\\",
    "\"'$X'\"": "'value'",
    "$": "$",
    "$ ": "$ ",
    "$/": "$/",
    "$$": "",
    "$1x": "x",
    "${X}${X}": "valuevalue",
    "$S": "two words",
    "ünï$X": "ünïvalue",
}


@pytest.mark.parametrize(("text", "result"), EXPANDED.items())
def test_a_word_is_expanded(text: str, result: str) -> None:
    assert Lexer().expand(text, VARIABLES).text == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${", "missing '}'"),
        ("${X", "missing '}'"),
        ("${X:-", "missing '}'"),
        ("${X:-a", "missing '}'"),
        ("${X/a", "missing '/'"),
        ("${X/a/b", "missing '}'"),
        ("${}", "bad substitution"),
        ("${{X}}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${X^}", "unsupported modifier (^) in substitution"),
        ("${X:z}", "unsupported modifier (:z) in substitution"),
        ("${X:", "unsupported modifier (:) in substitution"),
        ("${U:?}", "U: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        ("${U?say it}", "U: say it"),
        ("'a", "matching single-quote"),
        ('"a', "matching double-quote"),
        ("${X#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${X:-'a}", "missing '}'"),
    ],
)
def test_a_wrong_word_says_why(text: str, message: str) -> None:
    with pytest.raises(WordError) as caught:
        Lexer().expand(text, VARIABLES)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f'failed to process "{text}": ')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  a  b ", ("a", "b")),
        ("'a b' \"c d\" e\\ f", ("a b", "c d", "e f")),
        ("$S", ("two", "words")),
        ('"$S"', ("two words",)),
        ("x$S", ("xtwo", "words")),
        ("$E a", ("a",)),
        ("'' a", ("a",)),
        ("a''b", ("ab",)),
    ],
)
def test_words_are_split_where_they_are_not_quoted(text: str, words: tuple[str, ...]) -> None:
    assert Lexer().words(text, VARIABLES) == words


def test_variables_that_were_asked_for_are_told() -> None:
    expansion = Lexer().expand("$X ${E:-$U} ${Z:-$X}", VARIABLES)
    assert expansion.used == {"X", "E"}
    assert expansion.unset == {"U", "Z"}
    assert Lexer().expand("'$X'", VARIABLES).used == frozenset()


def test_a_lexer_forgets_what_it_read() -> None:
    lexer = Lexer()
    lexer.expand("$X$U", VARIABLES)
    assert lexer.expand("a", VARIABLES).used == frozenset()
    assert lexer.expand("$E", VARIABLES).unset == frozenset()


def test_the_escape_may_be_a_backtick() -> None:
    assert Lexer("`").expand("c:\\$X`$X", VARIABLES).text == "c:\\value$X"


def test_unset_variables_may_stay() -> None:
    lexer = Lexer(keep_unset=True)
    for text in ("$U", "${U}", "${U:-x}", "${U/a/b}", "${U#x}"):
        assert lexer.expand(text, {}).text == text


def test_quotes_may_mean_nothing() -> None:
    assert Lexer(keep_quotes=True).expand("'$X' \"\\$X\"", VARIABLES).text == "'value' \"$X\""


def test_quotes_and_escapes_may_stay() -> None:
    assert Lexer(raw_quotes=True, raw_escapes=True).words("a'b c' \"d\\ e\"f\\ g", {}) == (
        "a'b c'",
        '"d\\\\ e"f\\ g',
    )


def test_what_grows_too_much_is_refused() -> None:
    lexer = Lexer(limits=Limits(expanded=100))
    assert lexer.expand("$a$a", {"a": "x" * 50}).text == "x" * 100
    for text in ("$a$a$a", '"$a$a$a"', "${u:-$a$a$a}", "${a//x/yyyyy}"):
        with pytest.raises(WordError, match="longer than 100"):
            lexer.expand(text, {"a": "x" * 50})
    together = Lexer(limits=Limits(expanded_together=100))
    together.expand("$a", {"a": "x" * 80})
    with pytest.raises(WordError, match="grow too large"):
        together.expand("$a", {"a": "x" * 80})


def test_what_nests_too_deeply_is_refused() -> None:
    text = "${a:-" * 33 + "}" * 33
    with pytest.raises(WordError, match="more than 32 substitutions"):
        Lexer().expand(text, {})
    assert Lexer().expand("${a:-" * 32 + "}" * 32, {}).text == ""


def test_patterns_of_a_whole_file_have_one_bound() -> None:
    lexer, value = Lexer(), "a" * 50_000
    with pytest.raises(WordError, match="take too long"):
        for _ in range(100):
            lexer.expand("${v#*b}", {"v": value})
