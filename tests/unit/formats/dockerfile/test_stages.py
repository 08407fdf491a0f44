"""Stages and scopes: what the corpus does not show well, and how long it takes."""

from __future__ import annotations

import time

import pytest

from carboy.formats.dockerfile.scope import Scope
from carboy.formats.dockerfile.source import DockerfileError, Limits
from carboy.formats.dockerfile.stages import plan, read_document
from support.dockerfiles import CaseOptions, described

BLOCK = """# what it is for
RUN --mount=type=cache,target=/root/.cache apt-get update && \\
    apt-get install -y --no-install-recommends \\
      curl ca-certificates git && \\
    rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/bin:$PATH LANG=C.UTF-8
COPY --chown=1000:1000 requirements.txt src/ /app/
WORKDIR /app
LABEL org.opencontainers.image.source="https://example.org/x" a="b c"

"""


def test_everything_can_be_compared_and_printed() -> None:
    text = "FROM a AS b\n" + BLOCK
    assert plan(read_document(text)) == plan(read_document(text))
    assert hash(plan(read_document(text)))
    assert "COPY" in repr(plan(read_document(text)))


def test_a_megabyte_is_read_within_seconds() -> None:
    text = "FROM a\n" + BLOCK * ((1 << 20) // len(BLOCK) - 1)
    began = time.process_time()
    assert len(plan(read_document(text)).stages[0].instructions) > 10_000
    assert time.process_time() - began < 4  # measured: 0.6 s on a quiet machine


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\n" + "RUN a\n" * 49_000,
        "FROM a\nCMD [" + '"a",' * 90_000 + '"b"]',
        "FROM a\nCMD " + "[" * 900_000,
        "FROM a\nCOPY " + '"' * 900_000,
        "FROM a\nRUN " + "\\\n a" * 200_000,
        "FROM a\nRUN " + "<" * 900_000,
        "FROM a\nRUN " + "${a" * 300_000 + " <<A",
        "FROM a\nRUN " + "--x=y " * 150_000,
        "FROM a\n" + "ONBUILD " * 100_000,
        "FROM a\nENV " + "a=b " * 250_000,
        "FROM a\n" + "".join(f"# a{n} b\n" for n in range(9_000)) + "ARG" + " b=c" * 30_000,
        "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(4_000)),
        "FROM a AS b\n" + "ONBUILD RUN c\n" * 20_000 + "FROM b\n" * 4_000,
        "FROM a AS b\n" + "RUN c\n" * 45_000 + "FROM b\n" * 4_000,
        "".join(f"FROM a AS s{n}\nCOPY --from=s{n + 1} x y\n" for n in range(4_000)),
        "".join(f"FROM a AS s{n}\nCOPY --from=s{(n + 1) % 4_000} x y\n" for n in range(4_000)),
    ],
    ids=lambda text: str(text[:16]).replace("\n", " "),
)
def test_hostile_megabytes_end_soon(text: str) -> None:
    began = time.process_time()
    try:
        plan(read_document(text))
        shown = ""
    except DockerfileError as error:
        shown = error.pointed(text)
    assert len(shown) < 3_000
    assert time.process_time() - began < 8


def test_what_doubles_ends() -> None:
    doubling = "ARG a0=xx\n" + "".join(f"ARG a{n + 1}=$a{n}$a{n}\n" for n in range(40)) + "FROM a\n"
    with pytest.raises(DockerfileError, match="longer than"):
        plan(read_document(doubling))
    in_stage = "FROM a\nENV a0=xx\n" + "".join(f"ENV a{n + 1}=$a{n}$a{n}\n" for n in range(40))
    with pytest.raises(DockerfileError, match="longer than"):
        described(in_stage.encode(), CaseOptions())
    broad = "FROM a\nENV a=" + "x" * 1000 + "\nENV b=" + "$a" * 100 + "\nENV c=" + "$b" * 10 + "\n"
    with pytest.raises(DockerfileError, match="grow too large"):
        described((broad + "LABEL x=$c\n" * 100).encode(), CaseOptions())


def test_stages_have_a_limit() -> None:
    with pytest.raises(DockerfileError, match="more than 2 stages"):
        read_document("FROM a\n" * 3, limits=Limits(stages=2))


def test_what_stages_take_from_their_base_counts() -> None:
    document = read_document("FROM a AS b\n" + "ONBUILD RUN c\n" * 3 + "FROM b\n" * 2)
    assert plan(document, limits=Limits(instructions=6)).stages[2].triggered == 3
    with pytest.raises(DockerfileError, match=r"line 6: .*more than 5 instructions"):
        plan(document, limits=Limits(instructions=5))


def test_proxies_are_for_run_alone() -> None:
    scope = Scope(given={"HTTP_PROXY": "p", "no_proxy": "n", "OTHER": "o"})
    assert scope.proxies == {"HTTP_PROXY": "p", "no_proxy": "n"}
    assert scope.variables == {}


def test_the_image_gets_env_and_not_arg() -> None:
    scope = Scope(environment=["PATH=/bin", "A=base"], given={"B": "given"})
    for instruction in read_document("FROM x\nARG B=1\nARG C\nENV A=$A-$B\n").parts[0].instructions:
        scope.apply(instruction)
    assert scope.environment == {"PATH": "/bin", "A": "base-given"}
    assert scope.variables == {"PATH": "/bin", "A": "base-given", "B": "given"}
    assert scope.arguments == {"B": "given", "C": None}
    child = scope.child()
    child.environment["A"] = child.variables["A"] = "changed"
    assert scope.environment["A"] == "base-given"
