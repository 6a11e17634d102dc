# The two commands: `make up` installs what is missing and runs everything; `make test` does what CI does.
# `make chaos` kills everything at random for ten minutes and adds the other tests that take long.
#
#   make up [DATA=directory] [PORT=8000] [HOST=127.0.0.1]

# HOST counts only on the command line: some shells export a variable of that name.
host := $(if $(filter command,$(firstword $(origin HOST))),$(HOST))
export DATA PORT UPGRADE host

.PHONY: up test chaos screenshots vendor lock audit

up:
	@.ci/locked .ci/prepare-up
	@exec .venv/bin/pushmill up $${DATA:+--data "$$DATA"} $${PORT:+--port "$$PORT"} $${host:+--host "$$host"} \
		--quickstart examples/quickstart

test:
	@.ci/locked .ci/prepare-test
	@.ci/test

# otherwise each of hundreds of processes compiles all that it imports
test chaos: export PYTHONDONTWRITEBYTECODE =

chaos:
	@.ci/locked .ci/prepare-test
	.venv/bin/pytest -m chaos -s tests

# Pictures of every page of the tests' demo, at two widths and in two themes, in screenshots/, which git ignores.
screenshots:
	@.ci/locked .ci/prepare-test
	PYTHONPATH=.:tests:tests/browser .venv/bin/python tests/browser/screenshots.py screenshots

# Pins the Python packages in requirements/ after a change of pyproject.toml; UPGRADE=1 takes the newest versions.
lock:
	@.ci/locked .ci/lock $${UPGRADE:+--upgrade}

# Looks for known vulnerabilities of the pinned Python packages; needs the network.
audit:
	@.ci/audit

# The JavaScript library of the charts, from npm, pinned by package-lock.json.
vendor:
	@.ci/vendor
