# Everything a person or a CI runs. `make run` is the way to see it; `make test` proves it.
#
#   make setup   the environment .venv with the command `tcpdashboard`
#   make run     the live view of simulated markets with demo bots
#   make check   lint, format, types, what imports what
#   make test    `make check`, then all tests, two files at once, on real services where this machine can have
#                them. With ARGS pytest alone: "-k candles"; "-n 0" for one process, as a debugger needs it
#   make fuzz    wrong records through every door, for twenty minutes; a failing one is printed with what repeats it.
#                With ARGS: "--seconds 60 --seed 7"
#   make soak    a thousand random worlds of bots, whose books must balance after each event, and twelve days of one with
#                a hundred bots, each held against its backtest; 300 runs of exchanges under faults; a recording
#                at its own pace; a collector for 48 hours at 1,000 times the pace, and for one real hour
#   make bench   the measurements of docs/performance.md
#   make lock    new requirements*.lock from pyproject.toml

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --allow-unsafe --generate-hashes \
	--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

NPM := .venv/page/package-lock.json
CHARTS := infra/present/vendor/lightweight-charts.mjs
TSC := .venv/page/node_modules/typescript/bin/tsc
WITH_NODE := PATH="$$PATH:$(CURDIR)/$(BIN)"
NPM_CI := $(WITH_NODE) npm ci --prefix .venv/page --ignore-scripts --no-audit --no-fund --no-update-notifier --silent

.PHONY: setup run test check fuzz bench soak lock
.DELETE_ON_ERROR:

setup: .venv/setup.stamp $(CHARTS)

run: setup
	$(BIN)/tcpdashboard up --demo $(ARGS)

test: $(if $(ARGS),,check) .venv/dev.stamp $(CHARTS)
	tests/services/install.sh
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/dev.stamp $(TSC)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(WITH_NODE) $(TSC) --project api/page/jsconfig.json
	$(BIN)/lint-imports --no-logo

fuzz: .venv/dev.stamp
	@for file in tests/fuzz/fuzz_*.py; do \
		echo "== $$file"; \
		$(BIN)/python -m tests.fuzz.$$(basename $$file .py) $(ARGS) || exit 1; \
	done

bench: .venv/dev.stamp
	@for file in tests/bench/bench_*.py; do \
		echo "== $$file"; \
		$(BIN)/python -m tests.bench.$$(basename $$file .py) || exit 1; \
	done

soak: .venv/dev.stamp
	$(BIN)/python -m tests.property.worlds 1000
	$(BIN)/python -m tests.property.month 12
	$(BIN)/python -m tests.venues.soak
	$(BIN)/python -m tests.venues.paced
	$(BIN)/python -m tests.venues.endurance days
	$(BIN)/python -m tests.venues.endurance hour

lock: .venv/dev.stamp
	$(COMPILE) --upgrade --build-deps-for=editable --output-file=requirements.lock pyproject.toml
	$(COMPILE) --upgrade --build-deps-for=editable --extra=dev --constraint=requirements.lock \
		--output-file=requirements-dev.lock pyproject.toml
	$(COMPILE) --upgrade --extra=peers --constraint=requirements-dev.lock \
		--output-file=requirements-peers.lock pyproject.toml
	$(COMPILE) --upgrade --output-file=requirements-node.lock requirements-node.in

.venv/setup.stamp: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		f"{sys.executable} is Python {v[0]}.{v[1]}; 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "Installing into .venv (once; some minutes on a slow line) ..."
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@echo "Compiling (once; it is kept beside the sources) ..."
	@$(BIN)/python -c "import infra.research.backtesting"
	@touch $@

.venv/dev.stamp: .venv/setup.stamp requirements-dev.lock requirements-peers.lock
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --require-hashes -r requirements-peers.lock
	@touch $@

# npm comes from this machine, or else from a wheel
$(NPM): api/page/package.json api/page/package-lock.json requirements-node.lock | .venv/setup.stamp
	@mkdir -p $(@D)
	@command -v npm >/dev/null || $(PIP) --require-hashes -r requirements-node.lock
	@cp api/page/package.json api/page/package-lock.json $(@D)
	@touch $@

# the page itself is served as it stands here
$(CHARTS): $(NPM)
	@echo "Fetching the charts of page and reports ..."
	@mkdir -p $(@D)
	@$(NPM_CI) --omit=dev
	@cp .venv/page/node_modules/lightweight-charts/LICENSE $(@D)/LICENSE
	@cp .venv/page/node_modules/lightweight-charts/dist/lightweight-charts.standalone.production.mjs $@

# what checks the types of the page's modules, and nothing that is served
$(TSC): $(NPM) | $(CHARTS)
	@$(NPM_CI)
	@touch $@
