# `make up` installs what is missing and runs pushmill; `make test` runs what CI runs; `make chaos` runs the long tests,
# among them ten minutes in which processes are killed at random.
#
#   make up [DATA=directory] [PORT=8000] [HOST=127.0.0.1]

# HOST counts only on the command line, because some shells export a variable of that name.
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

# with this variable, each of hundreds of processes would compile all modules again
test chaos: export PYTHONDONTWRITEBYTECODE =

chaos:
	@.ci/locked .ci/prepare-test
	.venv/bin/pytest -m chaos -s tests

# Save pictures of all pages in screenshots/, which git ignores: two widths, light and dark.
screenshots:
	@.ci/locked .ci/prepare-test
	PYTHONPATH=.:tests:tests/browser .venv/bin/python tests/browser/screenshots.py screenshots

# Pin the Python packages in requirements/ after a change of pyproject.toml; UPGRADE=1 takes the newest versions.
lock:
	@.ci/locked .ci/lock $${UPGRADE:+--upgrade}

# Look up known vulnerabilities of the pinned Python packages; needs the network.
audit:
	@.ci/audit

# Fetch the JavaScript library of the charts from npm, in the version of package-lock.json.
vendor:
	@.ci/vendor
