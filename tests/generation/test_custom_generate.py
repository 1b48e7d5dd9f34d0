"""A checkpoint thinks as the library does, where the library is not installed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, TextStreamer
from transformers.generation.streamers import BaseStreamer

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.generation import bundle as flatten_module
from mot_trl.generation.bundle import flatten
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import decoder_source, write_custom_generate
from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.top_k import TopK
from mot_trl.trainer.model_card import BEGIN, put

PROMPTS = ["Count to two.", "Name a colour that is not red, please."]

# Runs as if only torch and transformers were installed: nothing else of ours is found.
ALONE = """
import importlib.machinery, json, sys
ABSENT = {"mot_trl", "trl", "peft", "jaxtyping", "datasets", "accelerate"}
real = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *args: None if name.partition(".")[0] in ABSENT else real(name, *args)
)
for name in ABSENT:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} can be imported")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
path, prompts, strategies = json.loads(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path)
inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
found = {}
for name, mixture in strategies.items():
    torch.manual_seed(7)
    kwargs = {} if mixture is None else {"mixture": mixture}
    found[name] = model.generate(
        **inputs, custom_generate=path, trust_remote_code=True, max_new_tokens=24, **kwargs
    ).tolist()
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
print("RESULT" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose thinking ends early, and which carries a decoder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    settings = DecoderConfig(strategy="dirichlet", strategy_kwargs={"k": 4}, max_mixture_tokens=15)
    write_custom_generate(folder, settings, sampling={"temperature": 0.8, "top_k": 0})
    return folder


def library_tokens(folder: Path, settings: DecoderConfig, **kwargs: object) -> list[list[int]]:
    tokenizer = make_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(folder)
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    options = {"do_sample": True, "temperature": 0.8, "top_k": 0, "max_new_tokens": 24, **kwargs}
    torch.manual_seed(7)
    return model.generate(**inputs, custom_generate=settings.build(tokenizer), **options).tolist()


def test_a_checkpoint_alone_gives_the_same_tokens_as_the_library_for_every_strategy(
    checkpoint: Path, tmp_path: Path
) -> None:
    asked = {None: None} | {name: {"strategy": name} for name in STRATEGIES}
    names = {"carried" if name is None else name: mixture for name, mixture in asked.items()}

    run = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps([str(checkpoint), PROMPTS, names])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert run.returncode == 0, run.stderr[-3000:]
    alone = json.loads(run.stdout.partition("RESULT")[2])
    own = DecoderConfig(strategy="dirichlet", strategy_kwargs={"k": 4}, max_mixture_tokens=15)
    expected = {name: library_tokens(checkpoint, own.override(mixture or {})) for name, mixture in names.items()}
    assert alone == expected
    assert len({json.dumps(tokens) for tokens in alone.values()}) > 8, "the strategies should differ"


def test_the_exported_file_imports_nothing_but_torch_transformers_and_the_standard_library() -> None:
    tree = ast.parse(decoder_source(DecoderConfig(), {}))

    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported - set(sys.stdlib_module_names) == {"torch", "transformers"}


def test_every_function_of_the_decoder_is_the_librarys_own_text() -> None:
    source = flatten("mot_trl.generation.checkpoint_entry", "generate")
    library = "".join(
        file.read_text(encoding="utf-8") for file in Path(flatten_module.__file__).parents[1].rglob("*.py")
    )

    definitions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]

    copied = [node for node in definitions if node.name != "_Shaped"]
    assert len(copied) > 40
    assert all(ast.get_source_segment(source, node) in library for node in copied)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes modules of a package `little`, and flattens it."""

    def write(**modules: str) -> str:
        folder = tmp_path / "little"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        monkeypatch.setattr(flatten_module, "PACKAGE", "little")
        monkeypatch.syspath_prepend(tmp_path)
        flatten_module._read.cache_clear()
        return flatten("little.top", "answer")

    yield write
    flatten_module._read.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "little"]:
        del sys.modules[name]


def test_names_that_two_modules_share_are_kept_apart(package) -> None:
    source = package(
        low="def _one() -> int:\n    return 1\n\n\ndef low() -> int:\n    # why\n    return _one()\n",
        top="from little.low import low\n\n\ndef _one() -> int:\n    return 10\n\n\n"
        "def _idle() -> int:\n    return 0\n\n\ndef answer() -> int:\n    return _one() + low()\n",
    )

    scope: dict = {}
    exec(source, scope)

    assert scope["answer"]() == 11
    assert "_idle" not in source
    assert "# why" in source


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from little.low import value as other", "from module import name"),
        ("import little.low", "from module import name"),
        ("def late():\n    from little.low import value", "top of the file"),
        ("from little.low import use\nvalue = 2", "different values"),
    ],
)
def test_what_cannot_be_copied_into_one_file_is_refused(package, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        package(
            low="value = 1\n\n\ndef use() -> int:\n    return value\n",
            top=f"{line}\n\n\ndef answer() -> int:\n    return value + use()\n",
        )


def test_an_adapter_carries_its_decoder_to_the_base(checkpoint: Path, tmp_path: Path) -> None:
    base = make_model(seed=1)
    base.save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), LoraConfig(r=2))
    adapted.save_pretrained(tmp_path / "adapter")
    settings = DecoderConfig(strategy="multiplex")
    write_custom_generate(tmp_path / "adapter", settings, sampling={"temperature": 0.8})
    inputs = make_tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")

    torch.manual_seed(7)
    tokens = adapted.generate(
        **inputs, custom_generate=str(tmp_path / "adapter"), trust_remote_code=True, max_new_tokens=24
    )

    assert tokens.tolist() == library_tokens(tmp_path / "base", settings)


def test_the_settings_stay_readable_in_the_generation_config(checkpoint: Path) -> None:
    config = GenerationConfig.from_pretrained(checkpoint)

    assert config.to_dict()["mixture"]["strategy_kwargs"] == {"k": 4}
    assert (config.temperature, config.do_sample) == (0.8, True)
    assert (config.eos_token_id, config.pad_token_id) == (2, 0)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"strategy": "telepathy"}, "Unknown strategy 'telepathy'; choose one of"),
        ({"strategy_kwargs": {"colour": 3}}, "no option colour"),
        ({"stratgy": "top_k"}, "no setting stratgy"),
    ],
)
def test_a_decoder_that_the_checkpoint_does_not_know_is_refused(checkpoint: Path, mixture: dict, message: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    call = {"custom_generate": str(checkpoint), "trust_remote_code": True, "max_new_tokens": 2}

    with pytest.raises(ValueError, match=message):
        model.generate(torch.tensor([[5, 6]]), mixture=mixture, **call)


def test_a_model_without_a_tokenizer_beside_it_says_so(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    write_custom_generate(tmp_path, DecoderConfig())
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    call = {"custom_generate": str(tmp_path), "trust_remote_code": True, "max_new_tokens": 2}

    with pytest.raises(ValueError, match="pass `tokenizer`"):
        model.generate(torch.tensor([[5, 6]]), **call)

    assert model.generate(torch.tensor([[5, 6]]), tokenizer=make_tokenizer(), **call).shape == (1, 4)


def test_a_streamer_gets_the_prompt_and_every_token(checkpoint: Path) -> None:
    class Keeper(BaseStreamer):
        def __init__(self) -> None:
            self.got: list[int] = []

        def put(self, value: Tensor) -> None:
            self.got += value.flatten().tolist()

        def end(self) -> None:
            self.got.append(-1)

    model, keeper = AutoModelForCausalLM.from_pretrained(checkpoint), Keeper()

    call = {"custom_generate": str(checkpoint), "trust_remote_code": True, "max_new_tokens": 6}
    tokens = model.generate(torch.tensor([[5, 6]]), streamer=keeper, **call)
    model.generate(torch.tensor([[5, 6]]), streamer=TextStreamer(make_tokenizer(), skip_prompt=True), **call)

    assert keeper.got == [*tokens[0].tolist(), -1]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="save the model there first"):
        write_custom_generate(tmp_path / "nowhere", DecoderConfig())


def test_the_cards_section_is_replaced_and_the_rest_of_the_card_kept(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("---\ntags:\n- trl\n---\n\n# A model\n")

    put("first", file)
    file.write_text(file.read_text() + "\nBy hand.\n")
    put("second", file)

    card = file.read_text()
    assert card.startswith("---\ntags:\n- trl\n---\n\n# A model\n")
    assert card.count(BEGIN) == 1
    assert "first" not in card
    assert "second" in card
    assert card.endswith("By hand.\n")


def train(tmp_path: Path, *, peft_config: LoraConfig | None = None, **trainer_kwargs: object) -> MoTGRPOTrainer:
    """One step on two chats, saved to `tmp_path / "saved"`."""
    make_model().save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    config = MoTGRPOConfig(
        str(tmp_path / "out"),
        strategy="dirichlet",
        mixture_k=3,
        max_mixture_tokens=4,
        temperature=0.7,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=8,
        max_steps=1,
        save_steps=1,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    rows = Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in PROMPTS]})
    trainer = MoTGRPOTrainer(
        str(tmp_path / "base"), length_of, config, train_dataset=rows, peft_config=peft_config, **trainer_kwargs
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    return trainer


def length_of(completions: list, **_: object) -> list[float]:
    return [float(len(completion[0]["content"]) % 5) for completion in completions]


def test_what_the_trainer_saves_generates_as_it_was_trained(tmp_path: Path) -> None:
    trainer = train(tmp_path)
    inputs = make_tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")

    for folder in (tmp_path / "saved", tmp_path / "out" / "checkpoint-1"):
        model = AutoModelForCausalLM.from_pretrained(folder)
        torch.manual_seed(3)
        carried = model.generate(**inputs, custom_generate=str(folder), trust_remote_code=True)
        torch.manual_seed(3)
        trained = model.generate(
            **inputs,
            custom_generate=trainer.decoder,
            do_sample=True,
            temperature=0.7,
            top_k=0,
            max_new_tokens=8,
        )
        assert carried.tolist() == trained.tolist()


@pytest.mark.parametrize("where", ["saved", "out"])
def test_the_model_card_names_strategy_data_metrics_and_use(tmp_path: Path, where: str) -> None:
    train(tmp_path)

    card = (tmp_path / where / "README.md").read_text()

    for part in (
        "Strategy: `dirichlet` with k=3",
        "2 rows",
        "length_of",
        "trust_remote_code=True",
        "max_mixture_tokens=4",
    ):
        assert part in card
    if where == "saved":
        assert "| mixture/share |" in card
    assert card.startswith("---\n")
    assert card.count(BEGIN) == 1


def test_the_trainers_adapter_carries_its_decoder(tmp_path: Path) -> None:
    train(tmp_path, peft_config=LoraConfig(r=2))

    config = json.loads((tmp_path / "saved" / "generation_config.json").read_text())

    assert config["mixture"]["strategy"] == "dirichlet"
    assert config["temperature"] == 0.7
    assert (tmp_path / "saved" / "custom_generate" / "generate.py").is_file()


def test_a_strategy_of_the_users_own_is_saved_without_its_decoder(tmp_path: Path) -> None:
    class Mine(TopK):
        """A strategy that no checkpoint can name."""

    train(tmp_path, strategy=Mine())

    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert not (tmp_path / "saved" / "custom_generate").exists()
