PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV_DGL ?= .venv-dgl
TORCH ?= torch==2.13.0
EXTRAS ?= dev,docs,physics,workflows,scale
# A file's tests in one process: its fixtures are made once. (loadgroup does nothing with pytest 9.2 and xdist 3.8.)
PYTEST := -n 2 --dist loadfile --no-loadscope-reorder --durations=40

.PHONY: setup demo test test-dgl lint docs bench bench-short tables clean

# torch comes first and pinned: anything that lets pip pick it pulls the CUDA build. Modules are compiled when they are
# first imported, not all of them now: that is half of an installation's time.
PIP_INSTALL := -m pip install --quiet --no-compile
# ... and kept, whatever the environment says: else every start of Python compiles MatGL and all it needs again.
unexport PYTHONDONTWRITEBYTECODE

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed'"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --upgrade pip
	$(BIN)/python $(PIP_INSTALL) "$(TORCH)"
	$(BIN)/python $(PIP_INSTALL) -e ".[$(EXTRAS)]"
	touch $@

$(VENV_DGL)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV_DGL)
	$(VENV_DGL)/bin/python $(PIP_INSTALL) --upgrade pip
	$(VENV_DGL)/bin/python $(PIP_INSTALL) "$(TORCH)"
	$(VENV_DGL)/bin/python $(PIP_INSTALL) -e ".[dgl,dev]"
	touch $@

setup: $(VENV)/.ready

demo: setup
	OMP_NUM_THREADS=1 $(BIN)/matgl-fill run default -o demo-out --seed 0 --overwrite

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Both environments at once: an installation keeps one core busy.
test:
	$(MAKE) -j 2 lint $(VENV_DGL)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)
	$(MAKE) test-dgl

# The DGL backend has an environment of its own: matgl 2.2.1, the last one with DGL.
test-dgl: setup $(VENV_DGL)/.ready
	MATGL_BACKEND=DGL DGLBACKEND=pytorch PYG_PYTHON=$(BIN)/python OMP_NUM_THREADS=1 \
		$(VENV_DGL)/bin/python -m pytest $(PYTEST) \
		tests/adapters/test_contract.py tests/adapters/test_dgl.py tests/test_examples.py

# Every page, with the examples run for their output: some minutes. make test builds the pages without it.
docs: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# The evidence of docs/results, days on two cores; when interrupted, the same call goes on. See examples/benchmarks/README.md.
SHARED ?= ../shared
BENCH ?= bench-out
MODELS ?= $(addprefix $(SHARED)/models/,MEGNet-MP-2018.6.1-Eform MEGNet-MP-2019.4.1-BandGap-mfi TensorNet-MatPES-PBE-v2025.1-PES) default
MODELS_DGL ?= $(addprefix $(SHARED)/models_legacy/,M3GNet-MP-2018.6.1-Eform M3GNet-MP-2021.2.8-PES M3GNet-MatPES-PBE-v2025.1-PES)
POOLS ?= $(SHARED)/data/mp_pool.jsonl.gz default
EVIDENCE := -m examples.benchmarks evidence
TASKS := --data $(SHARED)/data --out $(BENCH)/evidence.jsonl
FIRST_POOL = $(firstword $(POOLS))
ABLATED ?= $(addprefix $(SHARED)/models/,MEGNet-MP-2018.6.1-Eform TensorNet-MatPES-PBE-v2025.1-PES)
REFERENCE ?= $(SHARED)/models/TensorNet-MatPES-PBE-v2025.1-PES
DISTILLED ?= CHGNet QET SO3Net TensorNet
RESULTS := examples/benchmarks/results/results.jsonl
PAGE := examples/benchmarks/page/benchmarks.md
ARMS := --arms none,descriptors,layers,roughness,random,farthest,dissimilar --seeds 0,1,2,3,4

bench: setup $(VENV_DGL)/.ready
	set -e; for model in $(MODELS); do for pool in $(POOLS); do $(BIN)/python $(EVIDENCE) run $$model $$pool $(TASKS) $(ARMS); done; done
	set -e; for model in $(MODELS_DGL); do for pool in $(POOLS); do MATGL_BACKEND=DGL DGLBACKEND=pytorch \
	  $(VENV_DGL)/bin/python $(EVIDENCE) run $$model $$pool $(TASKS) $(ARMS) --rows 400; done; done
	set -e; for n in 10 30 300 1000; do \
	  $(BIN)/python $(EVIDENCE) run $(firstword $(MODELS)) $(FIRST_POOL) $(TASKS) --arms roughness,random --seeds 0 -n $$n; done
	set -e; for model in $(ABLATED); do $(BIN)/python $(EVIDENCE) run $$model $(FIRST_POOL) $(TASKS) --arms random --ablation; done
	set -e; for name in $(DISTILLED); do \
	  test -f $(BENCH)/distilled-$$name/model.json || $(BIN)/python -m examples.benchmarks distil $$name $(REFERENCE) $(FIRST_POOL) \
	    -o $(BENCH)/distilled-$$name --epochs 6 --max-atoms 6; \
	  $(BIN)/python $(EVIDENCE) run $(BENCH)/distilled-$$name $(FIRST_POOL) $(TASKS) --arms roughness,random --seeds 0 --rows 400; done
	$(BIN)/python $(EVIDENCE) table $(BENCH)/evidence.jsonl -o $(BENCH)/benchmarks.md --csv $(BENCH)/tables

# The tables of docs/results again, from the measurements that are kept, and the page of all of them.
tables: setup
	$(BIN)/python $(EVIDENCE) table $(RESULTS) -o $(PAGE) --csv docs/results
	cp $(basename $(PAGE))-1.svg docs/results/tasks.svg

bench-short: setup
	$(BIN)/python $(EVIDENCE) run default default --tasks default -n 3 --rows 60 --set steps=3 --seeds 0 --out $(BENCH)/short.jsonl
	$(BIN)/python $(EVIDENCE) table $(BENCH)/short.jsonl -o $(BENCH)/short.md --csv $(BENCH)/short-tables

clean:
	rm -rf demo-out out docs/_build docs/gallery examples/benchmarks/page
