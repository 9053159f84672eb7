"""Tests, and what they share; an assert that fails says its values in both."""

from __future__ import annotations

import pkgutil

import pytest

# pytest rewrites by itself only what it collects; of the rest it has to be told before the first import.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
