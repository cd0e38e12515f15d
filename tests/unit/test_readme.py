"""Facts about README.md and docs/locations.md: what they show loads, and nothing is left out."""

import re
import tomllib
from pathlib import Path

import pytest

import strongroom.errors
from strongroom.config import parse_settings
from strongroom.location_settings import LocationSettings, RetentionRules
from strongroom.operations.retention_policy import policy_of

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LOCATIONS = (ROOT / "docs/locations.md").read_text(encoding="utf-8")
EXAMPLES = [
    tomllib.loads(block.replace("\n   ", "\n"))
    for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
]
SOURCE = {"name": "quantforge", "database_url": "postgresql://postgres@localhost/postgres"}


def test_there_are_examples() -> None:
    """One location in ten minutes, and three."""
    assert [1, 3] == [len(example["repository"]["locations"]) for example in EXAMPLES]


@pytest.mark.parametrize("number", range(2))
def test_an_example_loads_and_keeps_something(number: int, tmp_path: Path) -> None:
    """What a newcomer copies is accepted, and its retention is one that retention plans by."""
    settings = parse_settings({"source": SOURCE, **EXAMPLES[number]}, tmp_path)
    assert len(settings.repository.locations) == len(policy_of(settings).rules_in_force())


def test_the_page_of_locations_names_every_option() -> None:
    """An option that nobody can find is none."""
    options = {*LocationSettings.model_fields, *RetentionRules.model_fields}
    assert set() == {option for option in options if f"`{option}`" not in LOCATIONS}


PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_codes_of_a_page_exist(page: Path) -> None:
    """Whoever looks a code up finds an error of that code; the design shows one as an example of the form."""
    known = {kind.code for kind in vars(strongroom.errors).values() if hasattr(kind, "code")} | {"SR-0312"}
    assert set() == set(re.findall(r"SR-\d{4}", page.read_text(encoding="utf-8"))) - known
