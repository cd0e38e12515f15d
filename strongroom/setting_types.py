"""The types that settings are made of: durations, sizes, percentages, paths, and the base of all sections.

Durations are seconds, sizes bytes, percentages numbers up to 100, whatever unit they were written in.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from strongroom.quantities import duration_seconds, percentage, size_bytes


def _refuse_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is not a number")  # noqa: TRY004  (pydantic turns ValueErrors into its own)
    return value


def _absolute(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path):
        return value
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ValueError("starts with ~, and this user has no home folder") from None
    return (info.context or {}).get("folder", Path.cwd()) / path


Duration = Annotated[float, BeforeValidator(duration_seconds)]
"""Seconds, written as a number of them or as "6 h", "10 min", "500 ms"."""
Size = Annotated[int, BeforeValidator(size_bytes)]
"""Bytes, written as a number of them or as "50 MiB"."""
Percentage = Annotated[float, BeforeValidator(percentage)]
"""0 to 100, with or without the sign."""
Count = Annotated[int, BeforeValidator(_refuse_boolean)]
LocalPath = Annotated[Path, BeforeValidator(_absolute)]
"""Absolute; `~` is expanded, and a relative path is relative to the folder of the configuration file."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
