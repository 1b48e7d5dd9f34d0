"""A server of mixtures, started by the command, serves TRL's trainer and anyone else, hostile clients among them.

One server for all: on a CPU it takes a minute to start.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from conftest import make_tokenizer
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.generation.vllm_client import VLLMClient
from vllm_engines import PROMPTS, largest_gap, needs_vllm, tiny_checkpoint

from mot_trl import DecoderConfig, MoTGRPOConfig, MoTGRPOTrainer, cli
from mot_trl.engines.vllm_plugin import RECORD
from mot_trl.engines.vllm_records import from_texts
from mot_trl.generation.custom_generate import write_custom_generate
from mot_trl.trainer.vllm_client import MixtureClient

pytestmark = [needs_vllm, pytest.mark.slow]

HERE = Path(__file__).parent
DECODER = DecoderConfig("dirichlet", max_mixture_tokens=6)
FLAGS = "--host 127.0.0.1 --dtype float32 --enforce-eager --max-model-len 128 --max-num-seqs 4 --block-size 32"
ASK = {"model": "tiny", "max_tokens": 20, "temperature": 1.0, "top_k": 0, "return_token_ids": True}
RECORDED = {**ASK, "vllm_xargs": {RECORD: 1}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a checkpoint that carries its decoder, so that no flag names one."""
    started: list[subprocess.Popen[bytes]] = []
    checkpoint = shutil.copytree(tiny_checkpoint(), tmp_path_factory.mktemp("served") / "tiny")
    write_custom_generate(checkpoint, DECODER)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE / "site"), str(HERE), os.environ.get("PYTHONPATH", "")]))
        # The command becomes vLLM's server, and so would pytest.
        patch.setattr(os, "execve", lambda _, command, env: started.append(subprocess.Popen(command, env=env)))
        settings = ["--served-model-name", "tiny", "--kv-cache-memory-bytes", str(1 << 26), "--port", str(port)]
        cli.main(["vllm-serve", str(checkpoint), *FLAGS.split(), *settings])
    try:
        base_url = f"http://127.0.0.1:{port}"
        wait_for(base_url, started[0])
        yield base_url
    finally:
        started[0].terminate()
        started[0].wait(60)


def wait_for(base_url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            VLLMClient(base_url, connection_timeout=2.0)
        except requests.ConnectionError:
            continue
        return
    pytest.fail(f"The server ended with status {server.returncode}.")


def post(url: str, body: dict[str, Any], path: str = "completions", **options: Any) -> requests.Response:
    return requests.post(f"{url}/v1/{path}", json=body, timeout=120, **options)


def check_choices(choices: list[dict[str, Any]], prompts: list[list[int]]) -> None:
    """Replay gives the log-probabilities that the server drew by, and the phases are the decoder's."""
    ids, record = [choice["token_ids"] for choice in choices], from_texts([choice[RECORD] for choice in choices])
    assert record.lengths.tolist() == [len(each) for each in ids]
    assert record.mixture_mask.float().mean() > 0.2
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in ids], batch_first=True)
    for row, prompt in enumerate(prompts):
        length = len(ids[row])
        one = record.rows(row, row + 1).resize(length)
        assert largest_gap(DECODER.build(make_tokenizer()), [prompt], padded[row : row + 1, :length], one) < 2e-5


def test_records_come_with_completions_in_the_order_of_the_prompts(url: str) -> None:
    choices = post(url, {**RECORDED, "prompt": PROMPTS, "n": 2}).json()["choices"]

    assert [choice["prompt_token_ids"] for choice in choices] == [prompt for prompt in PROMPTS for _ in range(2)]
    check_choices(choices, [prompt for prompt in PROMPTS for _ in range(2)])
    # Of eight bytes a candidate, whatever the number of digits.
    assert max(len(choice[RECORD]) for choice in choices) < 20 * 3 * 8 * 3


def test_records_come_with_chats(url: str) -> None:
    chat = [{"role": "user", "content": "Why?"}]

    reply = post(url, {**RECORDED, "messages": chat, "n": 3, "logprobs": True}, "chat/completions").json()

    check_choices(reply["choices"], [reply["prompt_token_ids"]] * 3)
    for choice in reply["choices"]:
        shown = [each["logprob"] for each in choice["logprobs"]["content"]]
        assert shown == pytest.approx(from_texts([choice[RECORD]]).logps[0].tolist())


def test_text_is_that_of_the_visible_tokens_and_ends_before_a_stop_string(url: str) -> None:
    body = {**RECORDED, "prompt": PROMPTS[0], "temperature": 0.0}

    whole = post(url, body).json()["choices"][0]
    stopped = post(url, {**body, "stop": ["ink"]}).json()["choices"][0]  # in the middle of the forced tag

    text = make_tokenizer().decode(whole["token_ids"], skip_special_tokens=True)
    # vLLM waits for the rest of a character.
    assert whole["text"].rstrip("\ufffd") == text.rstrip("\ufffd")
    assert stopped["text"] == text[: text.index("ink")]
    length = len(stopped["token_ids"])
    assert stopped["token_ids"] == whole["token_ids"][:length]
    assert from_texts([stopped[RECORD]]).lengths.tolist() == [length]
    assert from_texts([stopped[RECORD]]).forced_mask[0].sum() == len("</think")


def stream(url: str, prompt: list[int]) -> str:
    body = {"model": "tiny", "max_tokens": 20, "temperature": 0.0, "prompt": prompt, "stream": True}
    lines = [line.removeprefix(b"data: ") for line in post(url, body, stream=True).iter_lines() if line]
    return "".join(json.loads(line)["choices"][0]["text"] for line in lines if line != b"[DONE]")


def test_clients_of_all_kinds_at_once_get_what_is_theirs(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(stream, url, prompt) for prompt in PROMPTS]
        recorded = [pool.submit(post, url, {**RECORDED, "prompt": prompt}) for prompt in PROMPTS]
        plain = [pool.submit(post, url, {**ASK, "prompt": prompt, "logprobs": 0}) for prompt in PROMPTS]

    for prompt, reply in zip(PROMPTS, recorded, strict=True):
        check_choices(reply.result().json()["choices"], [prompt])
    for reply in plain:
        (choice,) = reply.result().json()["choices"]
        assert RECORD not in choice
        assert len(choice["logprobs"]["token_logprobs"]) == len(choice["token_ids"])
    alone = [
        post(url, {**ASK, "prompt": prompt, "temperature": 0.0}).json()["choices"][0]["text"] for prompt in PROMPTS
    ]
    assert [each.result() for each in streams] == alone


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seed": 1}, "`seed` of a request"),
        ({"structured_outputs": {"regex": "a*"}}, "`structured_outputs` of a request"),
        ({"thinking_token_budget": 3}, "`thinking_token_budget` of a request"),
        ({"logprobs": 2}, "no `top_logprobs`"),
        ({"use_beam_search": True, "n": 2}, "no `top_logprobs`"),
        ({"stream": True, "vllm_xargs": {RECORD: 1}}, "leave out `stream`"),
        ({"echo": True, "logprobs": 0, "vllm_xargs": {RECORD: 1}}, "`logprobs` with `echo`"),
    ],
)
def test_what_mixtures_do_not_honor_is_the_clients_error(url: str, asked: dict[str, Any], message: str) -> None:
    reply = post(url, {**ASK, "prompt": [PROMPTS[0]], **asked})

    assert reply.status_code == 400
    assert message in reply.text
    assert post(url, {**ASK, "prompt": PROMPTS[0]}).ok


def test_clients_that_hang_up_free_their_places(url: str) -> None:
    body = {**ASK, "prompt": PROMPTS[0], "max_tokens": 100, "ignore_eos": True, "n": 3}
    recorded = {**body, "vllm_xargs": RECORDED["vllm_xargs"]}
    for _ in range(2):
        with post(url, {**body, "stream": True}, stream=True) as reply:
            next(reply.iter_lines())
        with pytest.raises(requests.Timeout):
            requests.post(f"{url}/v1/completions", json=recorded, timeout=0.2)

    # More than there are places, so that a row which was not freed would be missing.
    check_choices(post(url, {**RECORDED, "prompt": PROMPTS * 2}).json()["choices"], PROMPTS * 2)


def test_only_a_server_of_the_trainers_decoder_is_taken(url: str) -> None:
    MixtureClient(DECODER, base_url=url)

    with pytest.raises(ValueError, match="`strategy` is 'dirichlet' there and 'top_k' here"):
        MixtureClient(DecoderConfig("top_k", max_mixture_tokens=6), base_url=url)
    with pytest.raises(ValueError, match="`max_mixture_tokens` is 6 there and None here"):
        MixtureClient(DecoderConfig("dirichlet"), base_url=url)


def test_a_server_that_fell_back_to_plain_tokens_does_not_start() -> None:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    from mot_trl.engines.vllm_server import MixtureMiddleware

    class FirstRunner:
        async def collective_rpc(self, method: str) -> list[bool]:
            return [method != "thinks_in_mixtures"]

    app, sent = Starlette(middleware=[Middleware(MixtureMiddleware)]), []
    app.state.engine_client = FirstRunner()

    async def send(message: dict[str, str]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "lifespan"}, send, send))

    (message,) = sent
    assert message["type"] == "lifespan.startup.failed"
    assert "fell back to its first model runner" in message["message"]


class PlainServer(BaseHTTPRequestHandler):
    """What TRL's client asks of vLLM's own server, and how that answers."""

    decoder: DecoderConfig | None = None

    def do_GET(self) -> None:
        replies = {"/health": {}, "/v1/models": {"data": [{"id": "plain"}]}}
        if self.decoder is not None:
            replies["/mot_trl/decoder"] = self.decoder.to_dict()
        self.answer(200 if self.path in replies else 404, replies.get(self.path, {}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, {"choices": [{"prompt_token_ids": [5], "token_ids": [6], "logprobs": None}]})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def plain_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), PlainServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_of_plain_tokens_is_refused(plain_url: str) -> None:
    with pytest.raises(ValueError, match=r"thinks in plain tokens; start it with `mot-trl vllm-serve"):
        MixtureClient(DECODER, base_url=plain_url)


def test_records_missing_from_a_response_are_missed(plain_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainServer, "decoder", DECODER)
    client = MixtureClient(DECODER, base_url=plain_url)

    with pytest.raises(RuntimeError, match="sent no `mixture_record`"):
        client.generate([[5]])


def config(url: str, output: Path, **settings: Any) -> MoTGRPOConfig:
    defaults = {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": url,
        "strategy": "dirichlet",
        "max_mixture_tokens": 6,
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_completion_length": 18,
        "max_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "vllm_importance_sampling_mode": "sequence_truncate",
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
    }
    return MoTGRPOConfig(str(output), **{**defaults, **settings})


@pytest.fixture
def weights_by_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """vLLM's server takes new weights over NCCL, which a CPU has not: here it reads them from a checkpoint."""

    def load(folder: str) -> None:
        call = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
        requests.post(f"{url}/collective_rpc", json=call, timeout=120).raise_for_status()

    def send(client: MixtureClient, metadata: Any, named: Iterator[tuple[str, torch.Tensor]]) -> None:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint(), dtype=torch.float32)
        assert not model.load_state_dict(dict(named), strict=False).unexpected_keys
        model.save_pretrained(tmp_path / "weights")
        load(str(tmp_path / "weights"))

    monkeypatch.setattr(MixtureClient, "init_communicator", lambda *args, **kwargs: None)
    monkeypatch.setattr(MixtureClient, "update_named_params", send)
    yield
    load(tiny_checkpoint())


@pytest.mark.usefixtures("weights_by_file")
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_trls_trainer_replays_what_the_server_fed(url: str, tmp_path: Path, beta: float) -> None:
    trainer = MoTGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint(), dtype=torch.float32),
        lambda completions, **_: [float(sum(map(ord, completion)) % 7) for completion in completions],
        config(url, tmp_path, beta=beta),
        train_dataset=Dataset.from_dict({"prompt": ["Count to 2.", "Count to 30 please.", "a", "bb"]}),
        processing_class=AutoTokenizer.from_pretrained(tiny_checkpoint()),
    )

    trainer.train()

    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert len(logs) == 2
    for log in logs:
        assert log["mixture/share"] > 0.1
        assert ("kl" in log) == (beta > 0)
        assert log["grad_norm"] > 0
        assert log["mixture/log_prob_gap"] < 2e-5
        assert log["sampling/sampling_logp_difference/max"] < 1e-4
        for name in ("min", "mean", "max"):
            assert log[f"sampling/importance_sampling_ratio/{name}"] == pytest.approx(1, abs=1e-3)


def test_a_strategy_without_a_name_is_refused(tmp_path: Path) -> None:
    make = partial(MoTGRPOTrainer, "any", reward_funcs=[], strategy=DECODER.build(make_tokenizer()).strategy)

    with pytest.raises(ValueError, match="knows strategies by their names"):
        make(args=config("http://127.0.0.1:1", tmp_path), train_dataset=Dataset.from_dict({"prompt": ["a"]}))
