# make lira    the main job: 128 shadow models on handwritten digits, attacked, reported
# make test    lint, types and tests        make soak    the long checks
# PYTHON=python3.13 picks the interpreter that .venv is made with

PYTHON ?= python3
BIN := .venv/bin

.PHONY: lira test soak lint clean

lira: .venv/ready
	$(BIN)/python -m experiments.digits $(ARGS)

test: .venv/ready-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak"

soak: .venv/ready-dev
	$(BIN)/python -m pytest -m soak $(ARGS)

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jaxmia needs Python 3.11 or newer: make PYTHON=python3.13 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: .venv/made pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/ready-dev: .venv/made pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/ready

clean:
	rm -rf .venv .pytest_cache .ruff_cache build dist
