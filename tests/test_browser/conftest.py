"""One made-up results folder for all tests that only read it, and a fresh one for those that spoil it."""

import pytest

from fake_results import FakeResults, write_fake_results


@pytest.fixture(scope="session")
def fake(tmp_path_factory) -> FakeResults:
    """A complete results folder; read only (browser/ is written by the verbs)."""
    return write_fake_results(tmp_path_factory.mktemp("fake"))


@pytest.fixture
def own_fake(tmp_path) -> FakeResults:
    """A results folder that a test may spoil."""
    return write_fake_results(tmp_path)
