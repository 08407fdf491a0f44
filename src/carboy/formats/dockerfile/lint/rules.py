"""What a rule is, and the table of all rules."""

from __future__ import annotations

import msgspec

WARNING, ADVICE = "warning", "advice"
PAGE = "docs/dockerfile-checks.md"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: a name that never changes, and everything that is said about it."""

    name: str
    sentence: str
    """What should be, in general."""
    detail: str
    """What is found, with places for what was found."""
    why: str
    bad: str
    good: str
    """Dockerfiles: run as tests."""
    link: str = ""
    """Docker's own page, for Docker's rules."""
    severity: str = WARNING
    experimental: bool = False
    """Only looked for when it is asked for: `# check=experimental=NAME`."""
    ignore: str = ""
    """The .dockerignore of the examples."""

    @property
    def url(self) -> str:
        """Where to read about it."""
        return self.link or f"{PAGE}#{self.name.lower()}"


def table() -> dict[str, Rule]:
    """Every rule by its name: Docker's, then ours."""
    from carboy.formats.dockerfile.lint import dockerrules, ownrules

    return {rule.name: rule for rule in (*dockerrules.RULES, *ownrules.RULES)}
