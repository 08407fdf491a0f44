"""Checks of Dockerfiles: what works and should not stay.

    text ──▶ Report of Findings ──▶ text or JSON
         linter.py              show.py

    rules.py     Rule, and the table of all: what Docker calls by a name keeps it
    docker.py    what each of Docker's rules looks for, as BuildKit does
    own.py       what ours look for: layers that double, bases that move, caches that never hold
    shell.py     the commands of a RUN, as far as a check needs them
    stages.py    what is known at each instruction: variables, shell, working directory
    options.py   `# check=skip=…;error=true`
    page.py      docs/dockerfile-checks.md, from the table

Docker's rules are warnings: `--check` fails on them.  Ours are advice: shown, and no reason to fail, so that
what passes with Docker passes here; `--call=check,strict=true` counts them.
May import: `carboy.errors`, the standard library, msgspec, the rest of `carboy.formats`.
"""
