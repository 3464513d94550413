# One word a job; `make help` lists them. Everything lives in .venv; nothing is installed twice unless a lock changed.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PEERS := libcoap3-bin mosquitto mosquitto-clients openssl postgresql softhsm2 tshark
CODE := src tests tools
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test coverage lint format bench peers test-peers lock clean

help:  ## list the jobs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMPS)/run  ## set up what running needs, then watch pairs, groups and topics get keys and lose them
	$(call compile,src)
	$(BIN)/keymote demo

test: lint  ## set up, check style, types and arrows, run the tests that need nothing but Python
	$(call compile,src)
	$(BIN)/python -m pytest -n $(WORKERS) --maxschedchunk 4

coverage: $(STAMPS)/dev  ## the same tests, and which lines they ran
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term

lint: $(STAMPS)/dev  ## ruff, mypy --strict, import contracts
	@$(MAKE) --no-print-directory -j $(WORKERS) types style

.PHONY: types style
types:
	$(BIN)/mypy

style:
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports

format: $(STAMPS)/dev  ## bring the code into its one form
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(STAMPS)/dev  ## measure, beside the bare primitives and the peers
	$(BIN)/keymote bench pairwise
	$(BIN)/keymote bench edhoc
	$(BIN)/keymote bench group
	$(BIN)/keymote bench topic
	$(BIN)/keymote bench handover

peers:  ## install the real third-party programs that the peer tests drive (apt, needs root)
	@test "$$(id -u)" = 0 || { echo "make peers installs $(PEERS) with apt: run it as root"; exit 1; }
	@command -v apt-get >/dev/null || { echo "make peers needs apt-get; install $(PEERS) by hand"; exit 1; }
	apt-get update -q -o APT::Update::Error-Mode=any
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(PEERS)

test-peers: $(STAMPS)/dev  ## run the tests against the real third-party programs, and the long ones
	$(BIN)/python -m pytest -m 'peers or long'

lock: $(STAMPS)/setup  ## renew the locks after a change in pyproject.toml (UPGRADE=--upgrade for newer versions)
	$(LOCK) --group setup -o requirements-setup.lock
	$(LOCK) --extra broker -o requirements.lock pyproject.toml
	$(LOCK) --group dev --extra broker --extra dtls --extra fast --extra lab --extra pkcs11 --extra postgresql -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:  ## remove what tools left behind; .venv stays
	rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment, in three steps: uv (by pip), what running needs, what testing needs. uv checks every hash as pip
# does and is ten times faster; where it cannot reach the index that pip reaches (proxy settings), pip does the work.
$(STAMPS)/setup: requirements-setup.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "no virtual environment: apt install python3-venv"; exit 1; }
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@mkdir -p $(STAMPS) && touch $@

define install
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --no-build -r $(1) || \
	  $(BIN)/pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r $(1)
	$(BIN)/uv pip install -q --python $(BIN)/python --offline --no-deps -e .
	$(call compile,$(VENV)/lib)
endef

# Each role is a process of its own: without byte code each would compile its libraries anew, where the environment says
# PYTHONDONTWRITEBYTECODE (container images often do).
define compile
	@$(BIN)/python -m compileall -q -j 0 $(1) >/dev/null || true
endef

$(STAMPS)/run: requirements.lock pyproject.toml | $(STAMPS)/setup
	$(call install,$<)
	@touch $@

$(STAMPS)/dev: requirements-dev.lock pyproject.toml | $(STAMPS)/setup
	$(call install,$<)
	@touch $(STAMPS)/run $@
