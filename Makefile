# `make test` is what CI runs; `make check` is what it runs before that.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

CLIENTS := tests/clients
VENV := .venv
PYTHON_READY := $(VENV)/.installed
LITELLM_VENV := .venv-litellm
LITELLM_READY := $(LITELLM_VENV)/.installed
VOICE_VENV := .venv-voice
VOICE_READY := $(VOICE_VENV)/.installed
NODE_READY := $(CLIENTS)/node_modules/.installed
DENY_VERSION := 0.20.2

.PHONY: help test check fmt lint doc deny clients tools bench demo clean

help:
	@echo 'make test    everything: unit, integration, and real clients against a running broker'
	@echo 'make check   formatting, lints, documentation, licences and sources'
	@echo 'make bench   the benchmarks'
	@echo 'make demo    emulator and broker in one process, with a conversation'

test: clients
	cargo test --locked
	VENV=$(VENV) LITELLM_VENV=$(LITELLM_VENV) VOICE_VENV=$(VOICE_VENV) tests/run-clients.sh

check: fmt lint doc deny

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --document-private-items

deny:
	command -v cargo-deny >/dev/null || cargo install --locked --version $(DENY_VERSION) cargo-deny
	cargo deny --locked check --hide-inclusion-graph licenses bans sources

# What the client suites need, beside this project and nowhere else.
clients: tools $(PYTHON_READY) $(LITELLM_READY) $(VOICE_READY) $(NODE_READY)

tools:
	tests/install-tools.sh

$(PYTHON_READY): $(CLIENTS)/requirements.txt | tools
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(LITELLM_READY): $(CLIENTS)/requirements-litellm.txt | tools
	python3 -m venv $(LITELLM_VENV)
	$(LITELLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(VOICE_READY): $(CLIENTS)/requirements-voice.txt | tools
	python3 -m venv $(VOICE_VENV)
	$(VOICE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(NODE_READY): $(CLIENTS)/package.json | tools
	npm install --prefix $(CLIENTS) --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

bench:
	cargo bench --locked --bench broker

demo:
	cargo run --locked --release -- demo

clean:
	cargo clean
	rm -rf $(VENV) $(LITELLM_VENV) $(VOICE_VENV) $(CLIENTS)/node_modules
