# Everything starts from a bare machine: `make drill` and `make test` do all the set-up themselves.
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

# the first Python that is new enough; set-up itself says so when there is none
PYTHON := $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)

.PHONY: setup drill test lint clean lock
.DEFAULT_GOAL := drill

setup:  # idempotent; installs what is missing and says so first
	@$(PYTHON) -m runlab.setup

drill: setup  # quiet and fault arm of one scenario of each runbook, a verdict per sentence
	@$(BIN)/runlab drill

lint:
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports --no-cache --no-logo) || { echo "$$said"; exit 1; }

test: setup  # lint, types, unit tests, then every scenario; the last line is pytest's own
	@$(MAKE) lint
	@$(BIN)/pytest tests
	@$(BIN)/pytest scenarios/

lock:  # after a change of the dependencies in pyproject.toml
	@.tools/uv-*/bin/uv pip compile pyproject.toml --extra sut --extra dev --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

clean:  # what set-up and the tools made; reports stay
	@for link in .venv .tools/toxiproxy-*; do \
		case "$$(readlink "$$link")" in /var/cache/runlab/?*) rm -rf "$$(readlink "$$link")";; esac; done
	@rm -rf .venv .tools .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
