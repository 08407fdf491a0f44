"""What --reproducible leaves out, and what it must not."""

from __future__ import annotations

import re

import pytest

from carboy.build.residues import RESIDUES, residue_of


@pytest.mark.parametrize(
    "path",
    [
        "var/lib/apt/lists/deb.debian.org_dists",
        "var/cache/apt/pkgcache.bin",
        "var/lib/dpkg/status-old",
        "var/log/dpkg.log",
        "var/log/apt/history.log",
        "var/cache/ldconfig/aux-cache",
        "etc/machine-id",
        "etc/passwd-",
        "root/.cache",
        "home/me/.cache",
        "root/.npm/_logs",
        "opt/conda/conda-meta/history",
        "conda-meta/history",
        "opt/miniconda3/pkgs/cache",
        "etc/ssh/ssh_host_rsa_key",
        "tmp/x",
        "var/tmp/x",
    ],
)
def test_residues(path: str) -> None:
    assert residue_of(path.encode())


@pytest.mark.parametrize(
    "path",
    [
        "var/log",
        "var/lib/apt/lists",
        "var/lib/dpkg/status",
        "var/lib/dpkg/info/x.list",
        "etc/passwd",
        "tmp",
        "root",
        "root/.cachet",
        "srv/root/.cache",
        "opt/app/pkgs/cache",
        "opt/conda/conda-meta/numpy.json",
        "usr/lib/python3/x.py",
        "app/var/log/x",
        "etc/ssh/sshd_config",
        "a\nvar/log/x",
    ],
)
def test_what_stays(path: str) -> None:
    assert residue_of(path.encode()) is None


def test_every_pattern_says_why_and_is_reached() -> None:
    for pattern, why in RESIDUES:
        assert why
        sample = re.sub(r"\[0-9\]", "1", pattern.replace("~/", "root/").replace("**/", "x/"))
        sample = sample.replace("**", "x/y").replace("*", "x").replace("?", "x")
        assert residue_of(sample.encode()), pattern
