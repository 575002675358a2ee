"""The tests, and what several of them need: modules without tests, each in the folder of its subject."""

from pathlib import Path

import pytest

# Contracts and builders assert too, and should say as much about what they found.
pytest.register_assert_rewrite(*(f"tests.{path.stem}" for path in Path(__file__).parent.iterdir()))
