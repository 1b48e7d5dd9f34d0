"""lm-evaluation-harness generates with mixtures, on a task made of local files."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_tokenizer
from transformers import PreTrainedTokenizerBase

from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import write_custom_generate

pytest.importorskip("lm_eval", reason='needs lm-evaluation-harness: pip install ".[eval]"')

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from mot_trl.evaluation.lm_eval_harness import AnswerStops

TASK = """
task: local_sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n\\n"]
  max_gen_toks: 20
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    write_custom_generate(
        folder, DecoderConfig(strategy="multiplex", max_mixture_tokens=4), sampling={"temperature": 0.7}
    )
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": f"{number} + {number} =", "answer": str(2 * number)} for number in range(4)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "local_sums.yaml").write_text(TASK.format(data=folder / "test.jsonl"))
    return folder


def responses(checkpoint: Path, tasks: Path, **model_args: object) -> list[str]:
    found = simple_evaluate(
        model="mot",
        model_args={"pretrained": str(checkpoint), "device": "cpu", "batch_size": 2, **model_args},
        tasks=["local_sums"],
        # Without the harness's own tasks, whose thousands of files take it long to read.
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        torch_random_seed=11,
        log_samples=True,
        bootstrap_iters=0,
    )
    assert "exact_match,none" in found["results"]["local_sums"]
    return [
        sample["resps"][0][0] for sample in sorted(found["samples"]["local_sums"], key=lambda each: each["doc_id"])
    ]


def test_a_task_of_local_files_runs_with_the_checkpoints_own_decoder(checkpoint: Path, tasks: Path) -> None:
    own = responses(checkpoint, tasks)

    assert own == responses(checkpoint, tasks, strategy="multiplex", max_mixture_tokens=4, temperature=0.7)
    assert len(own) == 4
    assert not any("</think>" in text for text in own), "what was thought is no answer"


def test_the_strategy_and_its_options_change_what_is_generated(checkpoint: Path, tasks: Path) -> None:
    told = [
        responses(checkpoint, tasks, strategy=strategy)
        for strategy in ("one_token", "top_k:k=5;min_prob=0.01", "preset:cot2")
    ]

    assert told[0] != told[1]
    assert told[1] != told[2]


def test_greedy_decoding_is_ordinary_greedy_decoding(checkpoint: Path, tasks: Path) -> None:
    one, other = (responses(checkpoint, tasks, strategy=name, greedy=True) for name in ("top_k", "dirichlet"))

    assert one == other


@pytest.mark.parametrize(
    ("strategy", "message"), [("telepathy", "Unknown strategy"), ("top_k:colour=1", "no option colour")]
)
def test_an_unknown_strategy_is_refused(checkpoint: Path, tasks: Path, strategy: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        responses(checkpoint, tasks, strategy=strategy)


def test_a_model_without_a_decoder_needs_a_strategy(tasks: Path, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="name a strategy"):
        responses(tmp_path, tasks)
    assert len(responses(tmp_path, tasks, strategy="dirichlet")) == 4


def test_stop_sequences_end_the_answer_and_not_the_thinking(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["Qa\n\nb</think>c\n\n", "Qa\n\nb</think>ccc", "Qa\n\nbbbbbbbb\n\nbbb"]
    input_ids = torch.tensor(
        [tokenizer.encode(text)[:18].copy() + [0] * (18 - len(tokenizer.encode(text))) for text in texts]
    )

    ended = AnswerStops(tokenizer, ["\n\n", ""], stop_text="</think>", prompt_length=1)(input_ids, None)

    assert ended.tolist() == [True, False, False]


@pytest.mark.slow
def test_the_harnesss_own_command_line_knows_the_model(
    checkpoint: Path, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "--model",
        "mot",
        "--model_args",
        f"pretrained={checkpoint},strategy=dirichlet:k=3",
        "--device",
        "cpu",
    ]
    arguments += [
        "--tasks",
        "local_sums",
        "--include_path",
        str(tasks),
        "--output_path",
        str(tmp_path),
        "--limit",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["lm_eval", *arguments])
    monkeypatch.delitem(sys.modules, "mot_trl.evaluation.lm_eval_harness")
    from lm_eval.api.registry import model_registry

    with model_registry._lock:
        model_registry._objs.pop("mot")

    runpy.run_module("mot_trl.evaluation.lm_eval_harness", run_name="__main__")

    (found,) = tmp_path.rglob("results_*.json")
    assert "exact_match,none" in json.loads(found.read_text())["results"]["local_sums"]
