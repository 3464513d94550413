"""docs/attacks.md shows the table that the catalogue makes, and says something of each entry."""

from pathlib import Path

from keymote.lab.attacks import CATALOGUE

PAGE = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()


def test_the_table_is_the_catalogue() -> None:
    shown = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert shown == CATALOGUE.table()


def test_every_attack_has_its_paragraph() -> None:
    sections = {part.split()[0]: part for part in PAGE.split("\n### ")[1:]}
    assert list(sections) == list(CATALOGUE.attacks)
    for attack_id, text in sections.items():
        title, _, body = text.partition("\n")
        assert title == f"{attack_id} {CATALOGUE.attacks[attack_id].name}"
        assert len(body.split()) > 8
