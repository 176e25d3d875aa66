"""Settings of one function, read once from its environment.

The only module that reads the environment. Each function declares a small pydantic model that names
just what it needs; a missing or malformed value fails the cold start, not a request.
"""

import os
from functools import cache
from typing import cast

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings model. Field ``core_table`` is read from ``CORE_TABLE``."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@cache
def _load(model: type[Settings]) -> Settings:
    return model.model_validate({name.lower(): value for name, value in os.environ.items()})


def load[S: Settings](model: type[S]) -> S:
    """The settings of this environment as ``model``; read once per model.

    Raises pydantic's ValidationError, which names the missing variable.
    """
    return cast("S", _load(model))


def reset() -> None:
    """Forget what was read: for tests."""
    _load.cache_clear()


class Tables(Settings):
    """Where the items are."""

    core_table: str
    aggregates_table: str = ""


class Runtime(Settings):
    """What every function has."""

    stage: str = "local"
    aws_region: str = "us-east-1"
    sentry_dsn: str = ""
