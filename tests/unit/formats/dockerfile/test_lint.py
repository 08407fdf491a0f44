"""The checks: every rule's examples, BuildKit's cases with its words, ours, options, how it is shown."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from carboy.formats.dockerfile.lint import page, shell, show
from carboy.formats.dockerfile.lint.findings import MAX_FINDINGS, Report
from carboy.formats.dockerfile.lint.linter import lint
from carboy.formats.dockerfile.lint.options import ARGUMENT, parse
from carboy.formats.dockerfile.lint.rules import ADVICE, WARNING, Rule, table
from carboy.formats.dockerignore import Ignore

RULES = table()
PINNED = "FROM debian:12@sha256:" + "0" * 64 + "\n"
DOCS = Path(__file__).parents[4] / "docs" / "dockerfile-checks.md"

MULTIPLE = (
    "Multiple {} instructions should not be used in the same stage because only the last one will be used"
)
REDUNDANT = "Setting platform to predefined {} in FROM is redundant as this is the default behavior"
EXPOSED = "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'"

DOCKERS = {
    "StageNameCasing",
    "FromAsCasing",
    "NoEmptyContinuation",
    "ConsistentInstructionCasing",
    "DuplicateStageName",
    "ReservedStageName",
    "JSONArgsRecommended",
    "MaintainerDeprecated",
    "UndefinedArgInFrom",
    "WorkdirRelativePath",
    "UndefinedVar",
    "MultipleInstructionsDisallowed",
    "LegacyKeyValueFormat",
    "RedundantTargetPlatform",
    "SecretsUsedInArgOrEnv",
    "InvalidDefaultArgInFrom",
    "FromPlatformFlagConstDisallowed",
    "CopyIgnoredFile",
    "InvalidDefinitionDescription",
    "ExposeProtoCasing",
    "ExposeInvalidFormat",
}


def names(report: Report) -> list[str]:
    return [finding.rule.name for finding in report.findings]


def warned(text: str, **more: object) -> list[tuple[str, int, str]]:
    report = lint(text, **more)  # type: ignore[arg-type]  # whatever the case says
    return [(each.rule.name, each.line, each.detail) for each in report.warnings]


def test_docker_rules_have_docker_names() -> None:
    assert {name for name, rule in RULES.items() if rule.severity == WARNING} == DOCKERS
    assert all(
        rule.link.startswith("https://docs.docker.com/")
        for rule in RULES.values()
        if rule.severity == WARNING
    )


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_examples(rule: Rule) -> None:
    ignore = Ignore.parse(rule.ignore) if rule.ignore else None
    bad, good = lint(rule.bad, ignore=ignore), lint(rule.good, ignore=ignore)
    assert bad.error is None
    assert good.error is None
    assert rule.name in names(bad)
    assert rule.name not in names(good)
    assert not good.warnings
    assert [finding.rule for finding in bad.warnings if finding.rule != rule] == []


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_can_be_left_out(rule: Rule) -> None:
    ignore = Ignore.parse(rule.ignore) if rule.ignore else None
    if not rule.experimental:
        assert rule.name not in names(lint(f"# check=skip={rule.name}\n{rule.bad}", ignore=ignore))


def test_the_page_is_current() -> None:
    assert DOCS.read_text() == page.page(), (
        "python -m carboy.formats.dockerfile.lint.page > docs/dockerfile-checks.md"
    )


BUILDKIT: list[tuple[str, list[tuple[str, int, str]]]] = [
    ("FROM scratch AS BadName\n", [("StageNameCasing", 1, "Stage name 'BadName' should be lowercase")]),
    ("FROM scratch as b\n", [("FromAsCasing", 1, "'as' and 'FROM' keywords' casing do not match")]),
    (
        "from scratch AS a\nfrom scratch as b\n",
        [("FromAsCasing", 1, "'AS' and 'from' keywords' casing do not match")],
    ),
    (
        "From scratch as a\nFROM scratch AS b\n",
        [
            (
                "ConsistentInstructionCasing",
                1,
                "Command 'From' should match the case of the command majority (uppercase)",
            )
        ],
    ),
    (
        "frOM scratch as a\nfrom scratch as b\n",
        [
            (
                "ConsistentInstructionCasing",
                1,
                "Command 'frOM' should match the case of the command majority (lowercase)",
            )
        ],
    ),
    (
        "FROM scratch\ncopy a /a\ncopy b /b\ncopy c /c\n",
        [
            (
                "ConsistentInstructionCasing",
                1,
                "Command 'FROM' should match the case of the command majority (lowercase)",
            )
        ],
    ),
    ("from scratch\ncopy a /a\n", []),
    ("FROM alpine\nRUN <<'EOT'\nenv\nEOT\n", []),
    (
        "FROM scratch\nCOPY a \\\n\n/b\nCOPY a \\\n/c\n",
        [("NoEmptyContinuation", 3, "Empty continuation line")],
    ),
    (
        "FROM scratch AS b\nFROM scratch AS b\n",
        [("DuplicateStageName", 2, 'Duplicate stage name "b", stage names should be unique')],
    ),
    (
        "FROM scratch AS scratch\nFROM scratch AS context\n",
        [
            ("ReservedStageName", 1, 'Stage name should not use the same name as reserved stage "scratch"'),
            ("ReservedStageName", 2, 'Stage name should not use the same name as reserved stage "context"'),
        ],
    ),
    (
        "FROM scratch\nCMD run\n",
        [
            (
                "JSONArgsRecommended",
                2,
                "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            )
        ],
    ),
    ('FROM scratch\nSHELL ["/bin/x"]\nCMD run\nENTRYPOINT run\n', []),
    ('FROM scratch AS a\nSHELL ["/bin/x"]\nFROM a\nCMD run\n', []),
    (
        "FROM scratch\nMAINTAINER me@example.org\n",
        [("MaintainerDeprecated", 2, "Maintainer instruction is deprecated in favor of using label")],
    ),
    ("ARG base=scratch\nFROM $base\nCOPY a .\n", []),
    ("FROM --platform=$BUILDPLATFORM scratch\n", []),
    ("ARG DEBUG\nFROM scratch${DEBUG}\n", []),
    ("ARG DEBUG\nFROM scra${DEBUG:-tch}\n", []),
    ('ARG DEBUG=""\nFROM scratch${DEBUG-@bogus}\n', []),
    (
        "ARG tag=latest\nFROM busybox:${tag}${version} AS b\n",
        [("UndefinedArgInFrom", 2, "FROM argument 'version' is not declared")],
    ),
    (
        "FROM --platform=$BULIDPLATFORM scratch\n",
        [
            (
                "UndefinedArgInFrom",
                1,
                "FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
            )
        ],
    ),
    (
        "FROM scratch\nWORKDIR app/\n",
        [
            (
                "WorkdirRelativePath",
                2,
                'Relative workdir "app/" can have unexpected results if the base image changes',
            )
        ],
    ),
    ("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub/\n", []),
    ("FROM scratch\nARG foo\nCOPY Dockerfile${foo} .\n", []),
    ("FROM alpine AS base\nARG foo=Dockerfile\nFROM base\nCOPY $foo .\n", []),
    ("FROM alpine\nRUN echo $PATH $nothing\n", []),
    ("FROM alpine\nCOPY $foo .\nARG foo=bar\n", [("UndefinedVar", 2, "Usage of undefined variable '$foo'")]),
    (
        "FROM alpine\nARG DIR_BINARIES=b\nARG DIR_ASSETS=a\nARG DIR_CONFIG=c\nCOPY $DIR_ASSET .\n",
        [("UndefinedVar", 5, "Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)")],
    ),
    (
        "FROM alpine\nENV PATH=$PAHT:/tmp/bin\n",
        [("UndefinedVar", 2, "Usage of undefined variable '$PAHT' (did you mean $PATH?)")],
    ),
    (
        "FROM scratch AS first\nCOPY $foo .\nFROM scratch AS second\nCOPY $bar .\n",
        [
            ("UndefinedVar", 2, "Usage of undefined variable '$foo'"),
            ("UndefinedVar", 4, "Usage of undefined variable '$bar'"),
        ],
    ),
    (
        "FROM scratch\n" + 2 * 'ENTRYPOINT ["/a"]\nCMD ["/a"]\nHEALTHCHECK CMD ["/a"]\n',
        [
            ("MultipleInstructionsDisallowed", line, MULTIPLE.format(name))
            for line, name in ((2, "ENTRYPOINT"), (3, "CMD"), (4, "HEALTHCHECK"))
        ],
    ),
    ('FROM scratch AS a\nCMD ["/a"]\nFROM a AS b\nCMD ["/b"]\n', []),
    (
        "FROM scratch\nENV testkey value\nLABEL key value\n",
        [
            (
                "LegacyKeyValueFormat",
                2,
                '"ENV key=value" should be used instead of legacy "ENV key value" format',
            ),
            (
                "LegacyKeyValueFormat",
                3,
                '"LABEL key=value" should be used instead of legacy "LABEL key value" format',
            ),
        ],
    ),
    (
        "FROM --platform=${TARGETPLATFORM} scratch\n",
        [
            (
                "RedundantTargetPlatform",
                1,
                REDUNDANT.format("${TARGETPLATFORM}"),
            )
        ],
    ),
    (
        "FROM --platform=linux/amd64 scratch\n",
        [
            (
                "FromPlatformFlagConstDisallowed",
                1,
                'FROM --platform flag should not use constant value "linux/amd64"',
            )
        ],
    ),
    ("FROM --platform=linux/amd64 scratch AS my_amd64_stage\n", []),
    ("FROM --platform=linux/amd64 scratch AS linux\n", []),
    (
        "FROM scratch\nEXPOSE 80/TcP\nEXPOSE 127.0.0.1:80:80 5353\nEXPOSE 80:80\n",
        [
            ("ExposeProtoCasing", 2, "Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"),
            (
                "ExposeInvalidFormat",
                3,
                EXPOSED.format("127.0.0.1:80:80"),
            ),
            (
                "ExposeInvalidFormat",
                4,
                EXPOSED.format("80:80"),
            ),
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), BUILDKIT, ids=[str(n) for n in range(len(BUILDKIT))])
def test_as_buildkit(text: str, expected: list[tuple[str, int, str]]) -> None:
    assert warned(text) == expected


def test_secrets() -> None:
    text = (
        "FROM scratch\nARG SECRET_PASSPHRASE\nENV SUPER_Secret=foo\nENV password=bar secret=baz\n"
        "ARG super_duper_secret_token=foo auth=bar\nENV apikey=bar sunflower=foo\nENV git_key=\n"
        "ENV PUBLIC_KEY=\n"
        "ARG public_token\nENV KEYBOARD=de MONKEY=1 TOKEN_FILE=/x\n"
    )
    found = {
        detail.removeprefix("Do not use ARG or ENV instructions for sensitive data ")
        for _, _, detail in warned(text)
    }
    assert found == {
        '(ARG "SECRET_PASSPHRASE")', '(ENV "SUPER_Secret")', '(ENV "password")', '(ENV "secret")',
        '(ARG "auth")',
        '(ARG "super_duper_secret_token")', '(ENV "apikey")', '(ENV "git_key")',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "given", "found"),
    [
        ("ARG VERSION\nFROM busybox:$VERSION\n", {"VERSION": "latest"}, "busybox:$VERSION"),
        ("ARG IMAGE\nFROM $IMAGE\n", {"IMAGE": "busybox:latest"}, "$IMAGE"),
        ('ARG SFX="box:"\nFROM busy${SFX}\n', {"SFX": "box:latest"}, "busy${SFX}"),
        ('ARG VERSION="latest"\nFROM busybox:${VERSION}\n', {}, ""),
        ('ARG V=""\nFROM busybox:stable${V}\n', {"V": "-musl"}, ""),
        ("ARG V\nFROM busybox:stable${V}\n", {"V": "-musl"}, ""),
    ],
)
def test_defaults_of_global_arguments(text: str, given: dict[str, str], found: str) -> None:
    detail = f"Default value for ARG {found} results in empty or invalid base image name"
    assert warned(text, arguments=given) == ([("InvalidDefaultArgInFrom", 2, detail)] if found else [])


def test_a_base_without_a_name_is_an_error() -> None:
    report = lint("ARG IMAGE\nFROM $IMAGE\n")
    assert "should not be blank" in str(report.error)
    assert names(report) == ["InvalidDefaultArgInFrom"]


def test_descriptions() -> None:
    top = "# check=experimental=InvalidDefinitionDescription\n"
    good = (
        "# foo this is the foo\nARG foo=bar\n\n# base this is the base image\nFROM scratch AS base\n\n"
        "# version this is it\nARG version=latest\n\n# baz this is the baz\nARG foo=baz bar=qux baz=quux\n#\n"
        "ARG bit=bat\n\n"
        "# something else\nCOPY Dockerfile .\n# far away\n\nARG far=1\n"
    )
    assert warned(top + good) == []
    bad = "# bar is\nARG foo=bar\n# BasE is\nFROM scratch AS base\n# x\nARG version=1\n# x\nARG foo=b bar=q\n"
    assert [(line, detail.partition("`")[2]) for _, line, detail in warned(top + bad)] == [
        (3, "# foo <description>`"),
        (5, "# base <description>`"),
        (7, "# version <description>`"),
        (9, "# <arg_key> <description>`"),
    ]
    assert warned(bad) == []


def test_ignored_files() -> None:
    text = (
        "FROM scratch AS base\nCOPY ./Dockerfile .\nADD Dockerfile /w\nFROM base\n"
        "COPY --from=base Dockerfile /y\n"
    )
    found = warned(text, ignore=Ignore.parse("Dockerfile"))
    assert [(line, detail) for _, line, detail in found] == [
        (2, 'Attempting to Copy file "Dockerfile" that is excluded by .dockerignore'),
        (3, 'Attempting to Add file "Dockerfile" that is excluded by .dockerignore'),
    ]
    assert warned(text, ignore=Ignore.parse("Dockerfile\n!x")) == []
    assert warned(text, ignore=Ignore.parse("other")) == []


def test_warnings_before_an_error() -> None:
    report = lint("\nFROM scratch AS BadStageName\nMAINTAINER me@example.org\nBADCMD\n")
    assert names(report) == ["StageNameCasing", "MaintainerDeprecated"]
    assert str(report.error) == "dockerfile parse error on line 4: unknown instruction: BADCMD"


@pytest.mark.parametrize(
    ("directive", "given", "found", "fails"),
    [
        ("", {}, ["FromAsCasing", "ConsistentInstructionCasing"], False),
        ("skip=all", {}, [], False),
        ("skip=all;error=true", {}, [], True),
        ("skip=ConsistentInstructionCasing, FromAsCasing", {}, [], False),
        ("error=true;skip=ConsistentInstructionCasing", {}, ["FromAsCasing"], True),
        ("skip=all", {ARGUMENT: "skip=ConsistentInstructionCasing;error=true"}, ["FromAsCasing"], True),
        ("error=true", {ARGUMENT: "skip=all"}, [], False),
    ],
)
def test_options(directive: str, given: dict[str, str], found: list[str], fails: bool) -> None:
    top = f"# check={directive}\n" if directive else ""
    report = lint(top + "FROM scratch as base\ncopy Dockerfile .\n", arguments=given)
    assert names(report) == found
    assert report.fails == fails


@pytest.mark.parametrize("text", ["skip", "error=maybe", "bogus=1", "skip=a;;"])
def test_wrong_options(text: str) -> None:
    report = lint(f"# check={text}\nFROM scratch\n")
    assert report.error is not None
    assert "check option" in str(report.error)
    assert "check option" in str(lint("FROM scratch\n", arguments={ARGUMENT: text}).error)


def test_options_are_all_there() -> None:
    options = parse("skip=A,B; experimental=all;error=1")
    assert options.skip == {"A", "B"}
    assert options.experimental == {"all"}
    assert options.error
    assert parse("  ") == parse("")


def test_only_what_a_target_needs() -> None:
    text = "FROM scratch AS a\nCOPY $x /\nFROM scratch AS b\nCOPY $y /\n"
    assert [line for _, line, _ in warned(text, targets=["a"])] == [2]
    assert "could not be found" in str(lint(text, targets=["c"]).error)


def test_environments_of_bases() -> None:
    text = "FROM app:1\nCOPY $APP_HOME $JAVA_HOME\n"
    assert [detail for _, _, detail in warned(text)] == ["Usage of undefined variable '$APP_HOME'"]
    assert warned(text, environments={"app:1": ["APP_HOME=/a", "JAVA_HOME=/j"]}) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("RUN chmod -R 755 /app", ["ChangeDoublesLayer"]),
        ("RUN useradd u && chown -hR u: /home/u /app", ["ChangeDoublesLayer"]),
        ('RUN ["chown", "--recursive", "1", "/a"]', ["ChangeDoublesLayer"]),
        ("RUN make install && chown -R 1 /app", []),
        ("RUN chown 1 /app/file", []),
        ("RUN echo 'chown -R x'", []),
        ("RUN <<EOF\nset -e\nchown -R 1 /a\nEOF", ["ChangeDoublesLayer"]),
        ("RUN <<EOF\n#!/usr/bin/env python3\nprint('sudo')\nEOF", []),
        ("RUN sudo apt-get update", ["AptListsLeftBehind", "AptUpdateApart", "SudoInRun"]),
        ("RUN apt update -y; apt install -y a ;rm -r /var/lib/apt/lists", []),
        (
            "RUN DEBIAN_FRONTEND=noninteractive apt-get -qq update && apt-get -qqy install a",
            ["AptListsLeftBehind"],
        ),
        ("RUN --mount=type=cache,target=/var/lib/apt/lists apt-get update && apt-get install --yes a", []),
        ("RUN apt-get install -y a", ["AptUpdateApart"]),
        ("RUN apt-get -o X=y update && apt-get install a && rm -rf /var/lib/apt/lists/*", ["AptWithoutYes"]),
        ("RUN yes | apt-get remove a", []),
        ("RUN apt-cache search x && echo apt-get update", []),
        ("RUN python3 -m pip install x", ["PipCacheLeftBehind"]),
        ("RUN pip3.12 install x && rm -rf ~/.cache/pip", []),
        ("RUN pip install x && pip cache purge", []),
        ("ENV PIP_NO_CACHE_DIR=1\nRUN pip install x", []),
        ("RUN pip download x && pip list", []),
        ('RUN ["sh", "-c", "pip install x"]', ["PipCacheLeftBehind"]),
        ("ADD a b /c/", ["AddInsteadOfCopy"]),
        ("ADD a.tar.gz /c/", []),
        ("ADD https://example.org/a /c/", []),
        ("ADD --chown=1 git@example.org:a.git /c/", []),
        ("ADD *.x /c/", []),
        ("COPY . .\nRUN pip install --no-cache-dir .", []),
        ("COPY . .\nRUN pip install --no-cache-dir -r r.txt", ["CopyBeforeInstall"]),
        ("COPY ./ /app\nRUN cd /app && npm ci", ["CopyBeforeInstall"]),
        ("COPY --from=debian:12 . .\nRUN npm ci", []),
        ("COPY r.txt .\nRUN npm ci\nCOPY . .\nRUN make", []),
        ("COPY . .\nRUN conda env create -f environment.yml\nRUN npm ci", ["CopyBeforeInstall"]),
        ("ENV A=AKIAABCDEFGHIJKLMNOP", ["SecretInValue"]),
        ("LABEL x=ghp_0123456789abcdefghijABCDEFGHIJ", ["SecretInValue"]),
        ("ARG U=https://user:pa55word@example.org/", ["SecretInValue"]),
        ("ARG U=https://user:$PW@example.org/", []),
        ("ENV U=https://example.org:8080/a@b", []),
    ],
)
def test_ours(body: str, expected: list[str]) -> None:
    report = lint(PINNED + body + "\n")
    assert report.error is None
    assert sorted(finding.rule.name for finding in report.advice) == expected


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("scratch", []),
        ("debian", ["LatestTag"]),
        ("debian:latest", ["LatestTag"]),
        ("localhost:5000/a", ["LatestTag"]),
        ("localhost:5000/a:1", ["UnpinnedBase"]),
        ("debian:12@sha256:" + "0" * 64, []),
        ("debian@sha256:" + "0" * 64, []),
    ],
)
def test_bases(base: str, expected: list[str]) -> None:
    assert names(lint(f"FROM {base} AS a\nFROM a\n")) == expected


def test_a_secret_is_not_repeated() -> None:
    report = lint(PINNED + "ENV A=AKIAABCDEFGHIJKLMNOP\n")
    assert "AKIA" not in report.findings[0].detail


def test_advice_is_no_reason_to_fail() -> None:
    assert all(rule.severity in (WARNING, ADVICE) for rule in RULES.values())
    report = lint("FROM debian\n")
    assert show.as_text(report).startswith("Check complete, no warnings found.\n\nADVICE: LatestTag - docs/")
    assert show.as_text(report, strict=True).startswith(
        "Check complete, 1 warning has been found!\n\nWARNING: "
    )


def test_how_it_is_shown() -> None:
    text = "FROM scratch\nCOPY a /a\nWORKDIR x\nCOPY b /b\nCOPY c /c\n"
    assert show.as_text(lint(text), name="sub/Dockerfile") == (
        "Check complete, 1 warning has been found!\n\n"
        "WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/\n"
        'Relative workdir "x" can have unexpected results if the base image changes\n'
        "sub/Dockerfile:3\n--------------------\n"
        "   1 |     FROM scratch\n   2 |     COPY a /a\n   3 | >>> WORKDIR x\n   4 |     COPY b /b\n"
        "   5 |     COPY c /c\n--------------------\n"
    )
    assert show.as_text(lint("FROM scratch\nCOPY a /\n")) == "Check complete, no warnings found.\n"


def test_as_json() -> None:
    document = json.loads(show.as_json(lint("FROM scratch AS A\nBOGUS\n")))
    assert document["warnings"][0]["ruleName"] == "StageNameCasing"
    assert document["warnings"][0]["location"]["ranges"] == [{"start": {"line": 1}, "end": {"line": 1}}]
    assert document["buildError"]["message"].endswith("unknown instruction: BOGUS")
    assert document["sources"][0]["filename"] == "Dockerfile"


def test_hostile_text_is_harmless_when_shown() -> None:
    report = lint("FROM scratch AS \x1b]0;x\x07A\nWORKDIR \x1b[31mx\n")
    assert "\x1b" not in show.as_text(report) + show.error_text(report)
    report = lint("FROM scratch\nWORKDIR \x1b[31mx\n")
    assert report.warnings
    assert "\x1b" not in show.as_text(report)


def test_commands() -> None:
    text = "a=1 b 'c d' && (cd /x; \"r\"m -rf\\\n y) # no\n! x|y\nif true; then z \\; q; fi"
    assert shell.commands(text) == [
        ["b", "c d"], ["cd", "/x"], ["rm", "-rf", "y"], ["x"], ["y"], ["true"], ["z", ";", "q"],
    ]  # fmt: skip
    assert shell.commands("a 'open") == [["a", "open"]]
    assert shell.commands("") == []


HOSTILE = {
    "commands": PINNED + "RUN " + "a;" * 200_000,
    "colons": PINNED + "ENV A=" + "x:" * 100_000,
    "token": PINNED + "LABEL a=" + "eyJaaaaaaaaaa.eyJ" * 20_000,
    "address": PINNED + "ENV A=" + "a://a:aaa" * 50_000,
    "pip": PINNED + "RUN " + "pip install x;" * 30_000 + "rm -rf ~/.cache",
    "many": PINNED + "RUN pip install x\n" * 5_000,
    "arguments": PINNED + "".join(f"ARG A{n}={n}\n" for n in range(15_000)),
    "undefined": PINNED + "".join(f"ENV A{n}=$B{n}\n" for n in range(10_000)),
    "stages": "".join(f"ARG A{n}={n}\n" for n in range(5_000)) + "FROM scratch AS a\n" * 2_000,
    "long values": f"ARG A={'x' * 200_000}\n" + "FROM scratch\nARG A\nWORKDIR $A\n" * 1_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_little(name: str) -> None:
    began = time.process_time()
    report = lint(HOSTILE[name] + "\n")
    assert len(report.findings) <= MAX_FINDINGS
    assert sum(len(finding.detail) for finding in report.findings) < 1_000_000
    assert time.process_time() - began < 5
