"""docs/dockerfile-checks.md: all rules, from the table that the checks use.

python -m carboy.formats.dockerfile.lint.page > docs/dockerfile-checks.md
"""

from __future__ import annotations

import sys

from carboy.formats.dockerfile.lint.rules import WARNING, Rule, table

INTRODUCTION = """# Checks of Dockerfiles

Written by `python -m carboy.formats.dockerfile.lint.page`, from the table of rules; the examples are tests.

    carboy build --check .                 # nothing is built; exit code 1 when there are warnings
    carboy build --call=check,format=json .
    carboy build --call=check,strict=true .

**Warnings** are Docker's rules, by Docker's names and in its words. **Advice** is Carboy's own: it is
shown, and what passes with Docker passes here; `strict=true` counts it as warnings.

A rule is left out with a line at the very top of the Dockerfile, or with a build argument that replaces it:

    # check=skip=JSONArgsRecommended,UnpinnedBase
    # check=skip=all;error=true
    carboy build --check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all .

`error=true` fails builds on warnings; `experimental=NAME` (or `all`) has experimental rules looked for, too.
Without `--target` every stage is looked at. Nothing is fetched: the base image's platform is not compared
(Docker's InvalidBaseImagePlatform).
"""


def page() -> str:
    """The whole page."""
    rules = list(table().values())
    parts = [INTRODUCTION, _overview("Docker's rules", [rule for rule in rules if rule.severity == WARNING])]
    parts.append(_overview("Our advice", [rule for rule in rules if rule.severity != WARNING]))
    parts += [_section(rule) for rule in rules]
    return "\n".join(parts)


def _overview(title: str, rules: list[Rule]) -> str:
    lines = [f"## {title}\n", "| rule | |", "|---|---|"]
    for rule in rules:
        note = " (experimental)" if rule.experimental else ""
        sentence = rule.sentence.replace("|", "\\|")
        lines.append(f"| [{rule.name}](#{rule.name.lower()}){note} | {sentence} |")
    return "\n".join(lines) + "\n"


def _section(rule: Rule) -> str:
    lines = [f"## {rule.name}\n", rule.sentence.rstrip(".") + ".\n", rule.why + "\n"]
    if rule.ignore:
        lines.append(f"With `.dockerignore`:\n\n{_block('', rule.ignore)}")
    lines += ["Instead of\n", _block("dockerfile", rule.bad), "write\n", _block("dockerfile", rule.good)]
    if rule.link:
        lines.append(f"At Docker: <{rule.link}>\n")
    return "\n".join(lines)


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(page())
