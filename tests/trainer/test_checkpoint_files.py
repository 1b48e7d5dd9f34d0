"""A checkpoint counts as whole only if it is."""

from pathlib import Path

import pytest

from mot_trl.trainer.checkpoint_files import damage, find, newest_whole, refuse_other_mixtures, seal, unseal

MIXTURES = {"strategy": "top_k", "strategy_kwargs": {"k": 2}}


def write(folder: Path) -> Path:
    """A checkpoint of the same order of writing as transformers'."""
    (folder / "shards").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "shards" / "optimizer.pt").write_bytes(b"moments")
    seal(folder, MIXTURES)
    (folder / "trainer_state.json").write_text('{"global_step": 3}')
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "shards/optimizer.pt", "trainer_state.json"])
@pytest.mark.parametrize("loss", ["missing", "cut short"])
def test_a_file_missing_or_cut_short_makes_it_half_written(name: str, loss: str, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-3")
    assert damage(checkpoint) is None

    if loss == "missing":
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_bytes((checkpoint / name).read_bytes()[:3])

    assert name in str(damage(checkpoint))
    assert newest_whole(tmp_path) is None
    with pytest.raises(ValueError, match=f"not a whole checkpoint: .*{name}"):
        find(str(checkpoint), tmp_path)


def test_the_newest_whole_one_is_found_by_its_steps(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        write(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-best").mkdir()
    unseal(tmp_path / "checkpoint-100")

    assert newest_whole(tmp_path) == tmp_path / "checkpoint-10"
    for word in (True, "True", "true", "latest"):
        assert find(word, tmp_path) == str(tmp_path / "checkpoint-10")
    for word in (None, False, "False"):
        assert find(word, tmp_path) is None


def test_where_there_is_none_latest_starts_anew_and_true_is_refused(tmp_path: Path) -> None:
    assert find("latest", tmp_path / "nowhere") is None
    for word in (True, "True"):
        with pytest.raises(ValueError, match=r"no whole checkpoint.*'latest'"):
            find(word, tmp_path)


def test_a_checkpoint_of_stock_trl_is_whole_and_says_nothing_of_mixtures(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-3")
    (checkpoint / "mot_trl.json").unlink()

    assert damage(checkpoint) is None
    refuse_other_mixtures(checkpoint, MIXTURES)


def test_settings_are_the_same_through_json(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint-3")
    seal(checkpoint, {"pair": (1, 2)})

    refuse_other_mixtures(checkpoint, {"pair": (1, 2)})
    with pytest.raises(ValueError, match=r"pair \[1, 2\] -> \[1, 3\]"):
        refuse_other_mixtures(checkpoint, {"pair": (1, 3)})
