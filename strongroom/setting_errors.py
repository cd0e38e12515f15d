"""Naming what is wrong with a setting: its dotted name, an example of a right one, the nearest known key.

The model of the settings is an argument (`root`), its fields carry the examples. Example:

    raise missing(Settings, "source.database_url")

The value that somebody wrote is never repeated: it may be a secret, or one in the wrong place.
"""

import difflib
import json
import re
from typing import get_args

from pydantic import BaseModel, ValidationError

from strongroom.errors import ConfigInvalid, ConfigMissing, ConfigUnknown

PREFIX = "STRONGROOM_"
SHORT_VARIABLES = {
    "STRONGROOM_DATABASE_URL": ("source", "database_url"),
    "STRONGROOM_DATABASE_URL_FILE": ("source", "database_url_file"),
    "STRONGROOM_DESTINATION_URL": ("destination", "database_url"),
    "STRONGROOM_RECOVERY_PASSPHRASE": ("keys", "passphrase"),
    "STRONGROOM_RECOVERY_PASSPHRASE_FILE": ("keys", "passphrase_file"),
}
"""Variables that are not spelt `STRONGROOM_<SECTION>_<SETTING>`, and the settings that they override."""


def missing(root: type[BaseModel], setting: str) -> ConfigMissing:
    """Return the error for a setting that is not given anywhere."""
    return ConfigMissing(setting=setting, example=example(root, setting), variable=variable(setting))


def invalid(root: type[BaseModel], setting: str, problem: str) -> ConfigInvalid:
    """Return the error for a setting that cannot be meant; `problem` follows its name in a sentence."""
    return ConfigInvalid(
        setting=setting, problem=problem, example=example(root, setting), variable=variable(setting)
    )


def unknown(root: type[BaseModel], setting: str) -> ConfigUnknown:
    """Return the error for a key that nothing reads, with the one that was probably meant."""
    section, key = _place(root, setting)
    known = list(section.model_fields)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return ConfigUnknown(setting=setting, nearest=nearest[0] if nearest else "one of " + ", ".join(known))


def translate(root: type[BaseModel], error: ValidationError) -> ConfigMissing | ConfigUnknown | ConfigInvalid:
    """Return the coded error for the one of pydantic's findings that explains most: a misspelt key."""
    found = error.errors(include_url=False, include_input=False)
    details = next((entry for entry in found if entry["type"] == "extra_forbidden"), found[0])
    setting = _dotted(details["loc"])
    match details["type"]:
        case "extra_forbidden":
            return unknown(root, setting)
        case "missing":
            return missing(root, setting)
        case "value_error":
            return invalid(root, setting, str(details.get("ctx", {}).get("error", "cannot be used")))
        case "model_type":
            return invalid(root, setting, "is not a table")
        case _:
            return invalid(root, setting, re.sub(r"^\w+ should", "should", details["msg"]))


def example(root: type[BaseModel], setting: str) -> str:
    """Return the line of a configuration file that gives a setting a right value."""
    section, key = _place(root, setting)
    field = section.model_fields.get(key)
    if field is None or not field.examples:
        return f"[{setting}]"
    return f"{key} = {_toml(field.examples[0])}"


def variable(setting: str) -> str:
    """Return the environment variable that overrides a setting."""
    for short, (section, key) in SHORT_VARIABLES.items():
        if setting == f"{section}.{key}":
            return short
    plain = setting.partition("[")[0]  # A list is overridden as a whole.
    return PREFIX + plain.replace(".", "_").upper()


def _place(root: type[BaseModel], setting: str) -> tuple[type[BaseModel], str]:
    """Return the section that a setting is in, and its own key."""
    *parents, key = re.sub(r"\[\d+\]", "", setting).split(".")
    section = root
    for parent in parents:
        section = _section_of(section.model_fields[parent].annotation) or section
    return section, key


def _section_of(annotation: object) -> type[BaseModel] | None:
    """Return the section in an annotation such as `Section`, `Section | None`, `tuple[Section, ...]`."""
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _dotted(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    return json.dumps(value)
