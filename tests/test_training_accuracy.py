"""Training accuracies beside records: what is written is read, the same give the same bytes, damage is named."""

from pathlib import Path

import pytest

from study import training_accuracy
from study.errors import StudyError


def test_a_file_gives_back_its_fractions_and_the_same_bytes_again(tmp_path: Path) -> None:
    given = {"b-1": 54_999 / 55_000, "a-2": 1.0}
    for name in ("one", "two"):
        training_accuracy.write(tmp_path / name, given if name == "one" else dict(reversed(given.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_text() == "record,training_accuracy\na-2,1.0\nb-1,0.9999818181818182\n"
    assert training_accuracy.read(tmp_path / "one") == given
    assert training_accuracy.read(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a,0.5\n",
        "record,training_accuracy\na\n",
        "record,training_accuracy\na,half\n",
        "record,training_accuracy\na,1.01\n",
    ],
)
def test_damage_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / training_accuracy.NAME
    path.write_text(content)
    with pytest.raises(StudyError, match=r"training_accuracy\.csv is damaged: restore it"):
        training_accuracy.read(path)
