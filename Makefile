# Everything is done by these targets; continuous integration calls nothing else.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# A command named python3.13 may be a launcher without that version behind it, so it is asked.
PYTHON ?= $(shell for python in python3.11 python3 python python3.13 python3.12; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help venv demo serve servers test check fix docs bench lock clean

help: ## Show these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

venv: $(STAMP) ## Make the virtual environment in .venv; nothing to do when it is fresh

$(STAMP): requirements.lock requirements-nodeps.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Stillhouse needs Python 3.11, 3.12 or 3.13: install one, or name it: make PYTHON=/path/to/python3.12'; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.lock
	$(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: venv ## Train a teacher, launch four distillations through the API, print the comparison, keep serving on a terminal
	@$(PY) -m webapp.demo

serve: venv ## Servers, web and worker until Ctrl-C
	@$(PY) -m webapp.serve

servers: venv ## Start the embedded PostgreSQL and Valkey (stop them: .venv/bin/python -m webapp.servers stop)
	@$(PY) -m webapp.servers start

test: venv ## The whole test suite, browser included, on servers of its own
	@$(PY) -m tests

check: venv ## Format, lint, types, imports, missing migrations, stale reference: half a minute
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(PY) -m docs.generate --check

fix: venv ## Format, and fix what the linter can
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: venv ## Generate docs/reference and the drawings in docs/explanation
	$(PY) -m docs.generate

# A benchmark exits with 2 when what it compares with is not installed; that, and a missed target, do not keep the others from running.
bench: venv ## Every benchmark, one after the other; at the end, which ones missed their target or could not run
	@out= missed=; for benchmark in $(sort $(filter-out benchmarks/place.py,$(wildcard benchmarks/*.py benchmarks/engine/*.py))); do \
		echo "== $$benchmark"; $(PY) $$benchmark; \
		case $$? in 0) ;; 2) out="$$out $$benchmark" ;; *) missed="$$missed $$benchmark" ;; esac; done; \
		test -z "$$out" || echo "Left out, as said above:$$out"; \
		test -z "$$missed" || { echo "Missed their target, or failed:$$missed"; exit 1; }

# The lock holds what this machine would install, without addresses of package servers and without the mark of torch's build. A resolver only
# looks at the Python that runs it, so that is the oldest, for which some packages have no newest version; the last line is for those before 3.11.3.
lock: venv ## Pin anew what is installed: the newest versions that pyproject.toml allows
	@$(PY) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "make lock needs a .venv of Python 3.11, the oldest that Stillhouse runs on.")'
	$(PY) -m piptools compile --quiet --upgrade --strip-extras --allow-unsafe --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-emit-options --extra dev --output-file $(VENV)/requirements.lock pyproject.toml
	{ echo '# Made by "make lock". What continuous integration installs.'; sed -E 's/^(torch==[0-9.]+)\+.*/\1/' $(VENV)/requirements.lock; \
		echo 'async-timeout==5.0.1 ; python_full_version < "3.11.3"'; } > requirements.lock

clean: ## Remove caches and the virtual environment; not STILLHOUSE_HOME
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
