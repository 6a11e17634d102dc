# The two commands: `make up` installs what is missing and runs everything; `make test` does what CI does.
# `make chaos` kills everything at random for ten minutes and adds the other tests that take long.
#
#   make up [DATA=directory] [PORT=8000] [HOST=127.0.0.1]

# HOST counts only on the command line: some shells export a variable of that name.
host := $(if $(filter command,$(firstword $(origin HOST))),$(HOST))
export DATA PORT host

.PHONY: up test chaos vendor

up:
	@.ci/locked .ci/prepare-up
	@exec .venv/bin/pushmill up $${DATA:+--data "$$DATA"} $${PORT:+--port "$$PORT"} $${host:+--host "$$host"} \
		--quickstart examples/quickstart

test:
	@.ci/locked .ci/prepare-test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/pytest -n 3 --dist loadfile tests/unit tests/integration tests/browser
	.venv/bin/pytest -n 2 --dist loadfile tests/e2e

chaos:
	@.ci/locked .ci/prepare-test
	.venv/bin/pytest -m chaos -s tests

# The JavaScript library of the charts, from npm, pinned by package-lock.json.
vendor:
	@.ci/vendor
