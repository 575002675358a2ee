"""Fixtures of the API's tests."""

import pytest

from tests.api.fakes import World


@pytest.fixture
def world() -> World:
    """An API over an empty store."""
    return World()
