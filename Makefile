PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV_DGL ?= .venv-dgl
TORCH ?= torch==2.13.0
EXTRAS ?= dev

.PHONY: setup demo test test-dgl lint clean

# torch comes first and pinned: anything that lets pip pick it pulls the CUDA build.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed'"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet -e ".[$(EXTRAS)]"
	touch $@

$(VENV_DGL)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV_DGL)
	$(VENV_DGL)/bin/python -m pip install --quiet --upgrade pip
	$(VENV_DGL)/bin/python -m pip install --quiet "$(TORCH)"
	$(VENV_DGL)/bin/python -m pip install --quiet -e ".[dgl,dev]"
	touch $@

setup: $(VENV)/.ready

demo: setup
	$(BIN)/matgl-fill run default -o demo-out --seed 0

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup lint
	$(BIN)/python -m pytest
	$(MAKE) test-dgl

# The DGL backend has an environment of its own: matgl 2.2.1, the last one with DGL.
test-dgl: setup $(VENV_DGL)/.ready
	MATGL_BACKEND=DGL DGLBACKEND=pytorch PYG_PYTHON=$(BIN)/python $(VENV_DGL)/bin/python -m pytest tests/test_adapters.py tests/test_dgl.py

clean:
	rm -rf demo-out out
