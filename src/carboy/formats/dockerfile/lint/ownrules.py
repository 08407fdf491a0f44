"""The rules that Docker has not: what makes images larger, builds slower, results different."""

from __future__ import annotations

from carboy.formats.dockerfile.lint.rules import ADVICE, Rule

_PINNED = "FROM debian:12@sha256:" + "0" * 64 + "\n"

CHANGE_DOUBLES_LAYER = Rule(
    name="ChangeDoublesLayer",
    sentence="chown -R and chmod -R should be in the step that makes the files",
    detail="'{}' in a RUN of its own copies every file below into one more layer: {}",
    why="A layer holds whole files: changing the owner of 2 GB in a step of its own adds 2 GB to the image.",
    bad=_PINNED + "COPY app /app\nRUN chown -R 1000:1000 /app\n",
    good=_PINNED + "COPY --chown=1000:1000 app /app\n",
    severity=ADVICE,
)
LATEST_TAG = Rule(
    name="LatestTag",
    sentence="Base images should have a tag that says which",
    detail="Base image '{}' {}: tomorrow that is another image; name a version",
    why="`latest` is whatever was pushed last: the same Dockerfile gives another image next month, and "
    "nobody can say "
    "which one it was.",
    bad="FROM python\nCOPY a /a\n",
    good="FROM python:3.12-slim@sha256:" + "0" * 64 + "\nCOPY a /a\n",
    severity=ADVICE,
)
UNPINNED_BASE = Rule(
    name="UnpinnedBase",
    sentence="Base images should be pinned by digest",
    detail="Base image '{}' is not pinned: write '{}@sha256:…' so that it cannot change",
    why="Tags move, also those of versions: they get security updates, and sometimes more. A digest names "
    "bytes; with "
    "the tag in front people still see what it is.",
    bad="FROM debian:12-slim\nCOPY a /a\n",
    good="FROM debian:12-slim@sha256:" + "0" * 64 + "\nCOPY a /a\n",
    severity=ADVICE,
)
COPY_BEFORE_INSTALL = Rule(
    name="CopyBeforeInstall",
    sentence="What is installed should be copied before all the rest",
    detail="The whole context is copied before '{}' (line {}): any change of any file installs everything "
    "again; copy "
    "what it needs first",
    why="A step is taken from the cache while everything before it is unchanged. A notebook that was saved "
    "should not "
    "install scikit-learn again.",
    bad=_PINNED + "COPY . /app\nRUN pip install --no-cache-dir -r /app/requirements.txt\n",
    good=_PINNED
    + "COPY requirements.txt /app/\nRUN pip install --no-cache-dir -r /app/requirements.txt\nCOPY . /app\n",
    severity=ADVICE,
)
APT_LISTS_LEFT_BEHIND = Rule(
    name="AptListsLeftBehind",
    sentence="The lists of apt-get update should be removed in the same step",
    detail="'{} update' leaves its lists in the layer: end the same RUN with `rm -rf /var/lib/apt/lists/*`",
    why="They are 20 to 50 MB, differ every day, and are of no use in the image; a later step cannot take "
    "them out of "
    "the layer.",
    bad=_PINNED + "RUN apt-get update && apt-get install -y curl\n",
    good=_PINNED + "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n",
    severity=ADVICE,
)
APT_UPDATE_APART = Rule(
    name="AptUpdateApart",
    sentence="apt-get update and apt-get install should be in one step",
    detail="'{0} {1}' without '{0} {2}' in the same RUN: {3}",
    why="A step of `update` alone comes from the cache for months, and `install` then asks for packages "
    "that are long "
    "gone.",
    bad=_PINNED + "RUN apt-get update\nRUN apt-get install -y curl\n",
    good=_PINNED + "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n",
    severity=ADVICE,
)
APT_WITHOUT_YES = Rule(
    name="AptWithoutYes",
    sentence="apt-get install should not ask",
    detail="'{}' asks whether to go on, and nobody answers in a build: add -y",
    why="Without `-y` the step fails as soon as one more package is needed.",
    bad=_PINNED + "RUN apt-get update && apt-get install curl && rm -rf /var/lib/apt/lists/*\n",
    good=_PINNED + "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n",
    severity=ADVICE,
)
PIP_CACHE_LEFT_BEHIND = Rule(
    name="PipCacheLeftBehind",
    sentence="pip should not leave its cache in the image",
    detail="'{}' keeps every download in the layer: add --no-cache-dir, or mount a cache "
    "(--mount=type=cache,target=/root/.cache/pip)",
    why="What was installed is there twice. A cache mount keeps downloads for the next build and out of "
    "the image.",
    bad=_PINNED + "COPY requirements.txt /\nRUN pip install -r /requirements.txt\n",
    good=_PINNED + "COPY requirements.txt /\nRUN --mount=type=cache,target=/root/.cache/pip pip install -r "
    "/requirements.txt\n",
    severity=ADVICE,
)
ADD_INSTEAD_OF_COPY = Rule(
    name="AddInsteadOfCopy",
    sentence="Local files should be copied with COPY",
    detail="ADD of '{}' does what COPY does: write COPY, which never unpacks or fetches anything",
    why="ADD unpacks what looks like an archive and fetches what looks like an address: with COPY a reader "
    "knows what "
    "happens.",
    bad=_PINNED + "ADD app.py /app/\n",
    good=_PINNED + "COPY app.py /app/\n",
    severity=ADVICE,
)
SUDO_IN_RUN = Rule(
    name="SudoInRun",
    sentence="Steps should not use sudo",
    detail="'{}' in a RUN: write USER root before it, and USER again behind",
    why="Steps run as root unless USER says otherwise; sudo needs a password file, a terminal or a rule, "
    "and stays in the "
    "image for everybody.",
    bad=_PINNED + "RUN sudo useradd app\n",
    good=_PINNED + "RUN useradd app\nUSER app\n",
    severity=ADVICE,
)
SECRET_IN_VALUE = Rule(
    name="SecretInValue",
    sentence="Values of ARG, ENV and LABEL should hold no secrets",
    detail='{} "{}" holds {}: it can be read in the image by everybody; use a secret mount, and revoke '
    "this one",
    why="The value itself looks like a key or a password, whatever the name is. Whoever gets the image or "
    "the repository "
    "has it.",
    bad=_PINNED + "ENV PIP_INDEX_URL=https://ci:hunter22@pypi.example/simple\n",
    good=_PINNED + "RUN --mount=type=secret,id=pip,target=/etc/pip.conf pip download --no-cache-dir app\n",
    severity=ADVICE,
)

RULES = tuple(one for one in tuple(globals().values()) if isinstance(one, Rule))
