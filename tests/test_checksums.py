"""Files that are missing or damaged are named."""

from pathlib import Path

import pytest

from mot_trl.checksums import verify, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "two.txt").write_text("two")
    write_checksums(tmp_path)
    return tmp_path


def test_what_was_written_is_verified(folder: Path) -> None:
    verify(folder, remedy="again.")


def test_the_manifest_is_that_of_sha256sum(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()

    assert lines[0] == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  one.txt"


def test_a_damaged_file_is_named_with_the_remedy(folder: Path) -> None:
    (folder / "two.txt").write_text("too")

    with pytest.raises(ValueError, match=r"two\.txt is damaged.*again\."):
        verify(folder, remedy="again.")


@pytest.mark.parametrize("name", ["one.txt", "SHA256SUMS"])
def test_a_missing_file_is_named_with_the_remedy(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(FileNotFoundError, match=rf"{name} is missing; again\."):
        verify(folder, remedy="again.")
