"""A checkpoint counts as whole only if it is."""

from pathlib import Path

import pytest

from mot_trl.trainer.checkpoint_files import (
    check_same_mixtures,
    find_damage,
    mark_incomplete,
    newest_complete,
    resolve_checkpoint,
    write_manifest,
)

MIXTURES = {"strategy": "top_k", "strategy_kwargs": {"k": 2}}


def write(folder: Path) -> Path:
    """A checkpoint of the same order of writing as transformers'."""
    (folder / "shards").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "shards" / "optimizer.pt").write_bytes(b"moments")
    write_manifest(folder, MIXTURES)
    (folder / "trainer_state.json").write_text('{"global_step": 3}')
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "shards/optimizer.pt", "trainer_state.json"])
@pytest.mark.parametrize("loss", ["missing", "cut short"])
def test_a_file_missing_or_cut_short_makes_it_half_written(name: str, loss: str, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-3")
    assert find_damage(checkpoint) is None

    if loss == "missing":
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_bytes((checkpoint / name).read_bytes()[:3])

    assert name in str(find_damage(checkpoint))
    assert newest_complete(tmp_path) is None
    with pytest.raises(ValueError, match=f"not a complete checkpoint: .*{name}"):
        resolve_checkpoint(str(checkpoint), tmp_path)


def test_the_newest_complete_one_is_found_by_its_steps(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        write(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-best").mkdir()
    mark_incomplete(tmp_path / "checkpoint-100")

    assert newest_complete(tmp_path) == tmp_path / "checkpoint-10"
    for word in (True, "True", "true", "latest"):
        assert resolve_checkpoint(word, tmp_path) == str(tmp_path / "checkpoint-10")
    for word in (None, False, "False"):
        assert resolve_checkpoint(word, tmp_path) is None


def test_where_there_is_none_latest_starts_anew_and_true_is_refused(tmp_path: Path) -> None:
    assert resolve_checkpoint("latest", tmp_path / "nowhere") is None
    for word in (True, "True"):
        with pytest.raises(ValueError, match=r"no complete checkpoint.*'latest'"):
            resolve_checkpoint(word, tmp_path)


def test_a_checkpoint_of_stock_trl_is_whole_and_says_nothing_of_mixtures(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-3")
    (checkpoint / "mot_trl.json").unlink()

    assert find_damage(checkpoint) is None
    check_same_mixtures(checkpoint, MIXTURES)


def test_settings_are_the_same_through_json(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-3")
    write_manifest(checkpoint, {"pair": (1, 2)})

    check_same_mixtures(checkpoint, {"pair": (1, 2)})
    with pytest.raises(ValueError, match=r"pair \[1, 2\] -> \[1, 3\]"):
        check_same_mixtures(checkpoint, {"pair": (1, 3)})
