# make lira    the main job: 128 shadow models on handwritten digits, attacked, reported
# make test    lint, types and tests        make soak    the long checks
# make docs    the documentation, strictly, into build/docs
# make results every study again, and the pages of docs/results from its rows (docs/results/index.md)
# PYTHON=python3.13 picks the interpreter that .venv is made with

PYTHON ?= python3
BIN := .venv/bin
NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "jaxmia needs Python 3.11 or newer: make PYTHON=python3.13 ..." >&2; exit 2; }

.PHONY: lira test soak lint docs results clean

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

KEEP := --results experiments/results
CURVE := lira_online lira_online_per_example_variance lira_offline lira_offline_imputed lira_offline_global_variance base \
	rmia_offline attack_r instance_threshold shadow_classifier global_threshold

results: .venv/ready-dev
	for name in digits ladder randhie; do $(BIN)/python -m experiments.$$name || exit; done
	$(BIN)/python -m experiments.rows checkpoints/digits checkpoints/ladder checkpoints/randhie
	for name in whitebox federated people finite_pool audit_dp one_run_bounds allele_frequencies ratings \
		unlearning poisoning fine_tuning offline shifted imitation cascade; do \
		$(BIN)/python -m experiments.studies.$$name $(KEEP) || exit; done
	$(BIN)/python -m experiments.studies.defences
	$(BIN)/jaxmia score --run checkpoints/ladder --curve --out checkpoints/curve --attacks $(CURVE)
	cp checkpoints/digits/report/roc.svg docs/digits_roc.svg
	cp checkpoints/digits/report/memory.svg docs/digits_memory.svg
	cp checkpoints/curve/report/curve.svg docs/ladder_curve.svg
	cp checkpoints/federated/report/rounds.svg docs/federated_rounds.svg
	cp checkpoints/federated/report/cosines.svg docs/federated_cosines.svg
	cp checkpoints/allele_frequencies/report/power.svg docs/allele_frequencies.svg
	cp checkpoints/ratings/power.svg docs/ratings.svg
	$(BIN)/python -m experiments.pages

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
