# make lira    the main job: 128 shadow models on handwritten digits, attacked, reported
# make test    lint, types and tests        make soak    the long checks
# make docs    the documentation, strictly, into build/docs
# PYTHON=python3.13 picks the interpreter that .venv is made with

PYTHON ?= python3
BIN := .venv/bin
NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "jaxmia needs Python 3.11 or newer: make PYTHON=python3.13 ..." >&2; exit 2; }

.PHONY: lira test soak lint docs clean

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

docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --site-dir build/docs

.venv/made:
	@$(NEW_ENOUGH)
	$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: .venv/made pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/ready-dev: .venv/made pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/ready

# the documentation is made of the source as text: nothing of what jaxmia needs is installed
.venv-docs/ready: pyproject.toml constraints.txt
	@$(NEW_ENOUGH)
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install -q --disable-pip-version-check -c constraints.txt $$($(PYTHON) -c \
		'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@touch $@

clean:
	rm -rf .venv .venv-docs .pytest_cache .ruff_cache build dist
