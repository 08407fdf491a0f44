"""The real engine keeps the same contract as the one in memory."""

from __future__ import annotations

import pytest

from suites.backend import BackendContract
from suites.versions import VersionContract
from support.api import Client
from support.daemon import busybox_tar


@pytest.fixture(scope="module")
def api(host: str) -> Client:
    client = Client(host.removeprefix("unix://"))
    path = "/images/create?fromSrc=-&repo=contract&tag=1"
    status, _, data = client.call("POST", path, busybox_tar())
    assert status == 200, data
    return client


@pytest.mark.needs_root
@pytest.mark.timeout(60)
class TestDaemon(BackendContract, VersionContract):
    @pytest.fixture
    def image(self) -> str:
        return "contract:1"
