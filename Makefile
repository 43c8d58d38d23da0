# make        the environment from requirements.lock, then `dvc repro`
# make test   the environment with the development tools, then the tests of every change;  make test-all  every test
# make compare REVS="main NAME workspace"  runs side by side, in compare/
# make check  ruff and mypy;  make bench  the benchmarks (in .venv-bench);  make models  other models on the same data
# make closer  what each ingredient of a codec buys, in reports/closer.csv
# make checks  our limits beside published and closed-form ones, in docs/checks.md
# make one-point  the best codes for one point at a time without networks, in reports/one_point.csv
# make lock  new locks from pyproject.toml
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# with it, Python finds no module in this folder
unexport PYTHONSAFEPATH

.NOTPARALLEL:
.PHONY: python clone repro test test-all check checks one-point compare bench closer models lock

repro: clone $(VENV)/.run
	python -m stages.check
	dvc repro

# what a person should know before gigabytes are installed
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'

clone: python
	@$(PYTHON) stages/clone.py

# a core for each worker
PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev
	$(PYTEST)

check: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy

compare: $(VENV)/.run
	@python -m stages.compare $(REVS)

bench: $(BENCH)/.run
	SNRVAE_CACHE=off $(BENCH)/bin/python -m benchmarks

one-point: $(VENV)/.run
	SNRVAE_CACHE=off python -m benchmarks.one_point

checks: $(VENV)/.run
	SNRVAE_CACHE=off python -m benchmarks.checks

closer: $(VENV)/.run
	python -m stages.closer reports/closer.csv
	dvc commit --force closer

models: $(VENV)/.run
	SNRVAE_CACHE=off python -m benchmarks.models

$(VENV)/.run: requirements.lock | python
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	touch $@

# peers bring packages that the pipeline does without: an environment of their own
$(BENCH)/.run: requirements-bench.lock
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.lock
	touch $@

# which build of torch (CPU, CUDA) is the machine's affair: the lock names the version alone
COMPILE = pip-compile --quiet --allow-unsafe --strip-extras --no-header --no-emit-options --no-annotate
lock:
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet pip-tools
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --extra bench --constraint requirements.lock --output-file requirements-bench.lock pyproject.toml
	sed -i.bak 's/^torch==\([0-9.]*\)+.*/torch==\1/' requirements.lock requirements-dev.lock requirements-bench.lock
	rm requirements.lock.bak requirements-dev.lock.bak requirements-bench.lock.bak
