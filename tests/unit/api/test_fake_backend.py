"""The engine in memory keeps the contract of engines."""

from __future__ import annotations

import pytest

from suites.backend import BackendContract
from suites.versions import VersionContract
from support.api import Client


class TestFakeBackend(BackendContract, VersionContract):
    @pytest.fixture
    def api(self, client: Client) -> Client:
        return client

    @pytest.fixture
    def image(self) -> str:
        return "busybox"
