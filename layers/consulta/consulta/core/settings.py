"""Settings of one function, read once from its environment.

The only module that reads the environment. Each function declares a small pydantic model that names
just what it needs; a missing or malformed value fails the cold start, not a request.
"""

import os
from functools import cache
from typing import TypeVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings model. Field ``core_table`` is read from ``CORE_TABLE``."""

    model_config = ConfigDict(frozen=True, extra="ignore")


S = TypeVar("S", bound=Settings)


@cache
def load[S: Settings](model: type[S]) -> S:
    """The settings of this environment as ``model``; read once per model.

    Raises pydantic's ValidationError, which names the missing variable.
    """
    return model.model_validate({name.lower(): value for name, value in os.environ.items()})


class Tables(Settings):
    """Where the items are."""

    core_table: str
    aggregates_table: str = ""


class Runtime(Settings):
    """What every function has."""

    stage: str = "local"
    aws_region: str = "us-east-1"
    sentry_dsn: str = ""
