"""What RUN changes is what it changes with Docker's builder: recorded cases, layers as others read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.commands import Home, home
from support.flattening import Tree, flatten

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["home"]

RECORDED: dict[str, Tree] = json.loads(
    (Path(__file__).parents[1] / "golden" / "run" / "buildkit.json").read_text()
)
BEGIN = (
    "FROM busybox:test\nRUN /bin/busybox --install -s /bin\n"
    "RUN mkdir -p /t/d/s/t; cd /t/d; echo 1 > a && echo 2 > s/b && echo 3 > s/t/c && ln a ah && ln -s a al\n"
)
CASES = {
    "opaque": "RUN rm -rf /t/d && mkdir /t/d && echo n > /t/d/n",
    "opaque, and the same again": "RUN rm -rf /t/d && mkdir -p /t/d/s && echo 2 > /t/d/s/b",
    "opaque twice": "RUN rm -rf /t/d && mkdir /t/d && echo n > /t/d/n\nRUN rm -rf /t/d && mkdir -p /t/d/s/q",
    "two layers below": "RUN touch /t/x\nRUN touch /t/y\nRUN rm -r /t/d/a /t/d/s /t/x",
    "removed and made": "RUN rm /t/d/a\nRUN echo new > /t/d/a",
    "removed, then copied": "RUN rm -r /t/d/s\nCOPY s /t/d/s",
    "file to directory": "RUN rm /t/d/a && mkdir /t/d/a && touch /t/d/a/x",
    "directory to file": "RUN rm -r /t/d/s && touch /t/d/s",
    "directory to link": "RUN rm -r /t/d/s && ln -s /bin /t/d/s",
    "back and forth": "RUN rm /t/d/a && mkdir /t/d/a\nRUN rmdir /t/d/a && echo f > /t/d/a\n"
    "RUN rm /t/d/a && mkdir /t/d/a",
    "renamed directory": "RUN mv /t/d /t/e",
    "renamed and filled": "RUN mv /t/d /t/e && mkdir /t/d && echo n > /t/d/n",
    "renamed and back": "RUN mv /t/d /t/e\nRUN mv /t/e /t/d",
    "hard link broken up": "RUN echo more >> /t/d/a",
    "hard links": "RUN echo 1 > /t/a && ln /t/a /t/b && mkdir /t/z && ln /t/a /t/z/c\nRUN ln /t/b /t/e",
    "hard link to a link": "RUN ln -s nowhere /t/s && ln /t/s /t/s2",
    "only modes and owners": "RUN chmod 4755 /t/d/a && chown -R 3:4 /t/d/s && chmod 700 /t/d/s",
    "modes": "RUN cd /t && mkdir -m 1777 st && mkdir -m 2775 g && mkdir g/in && touch u && chmod 6755 u",
    "devices": "RUN cd /t && mknod n c 1 3 && mknod b b 7 0 && mkfifo f && ln f f2",
    "names": "RUN cd /t && touch 'a b' -- '-x' '\"q\"' '..a' \"$(printf 'nl\\nx')\""
    " && touch $(printf 'x%.0s' $(seq 1 255))",
    "volume": "VOLUME /t/v\nRUN mkdir -p /t/v && echo 1 > /t/v/f\nCOPY s/f /t/v/g",
}


def test_every_case_is_recorded() -> None:
    assert set(RECORDED) == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_as_docker(home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    (tmp_path / "s" / "f").write_text("copied\n")
    (tmp_path / "Dockerfile").write_text(BEGIN + CASES[name] + "\n")
    home.run("build", "-q", "--network", "none", "-t", "changes", str(tmp_path))
    assert flatten(home.run("save", "changes").stdout, below="t") == RECORDED[name]
