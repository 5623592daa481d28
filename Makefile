# The one door. `make run` and `make test` set up what they need; both do nothing twice.
.DEFAULT_GOAL := help
.PHONY: help run setup build test judge soak check bench fmt lock proto wheel clean

PYTHON ?= python3
BIN := .venv/bin
SOAK ?= 600

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: setup       ## set up, then run the main job: untrusted code behind the native wall
	@$(BIN)/python examples/demo.py

setup:           ## what `make run` needs: Debian packages, Rust target, .venv with the programs
	@$(PYTHON) packaging/prepare.py run

build: setup     ## the release programs in .venv/bin (the same as setup)

test:            ## every test but other people's whole suites; storms as a short sample
	@$(PYTHON) packaging/prepare.py test
	cargo test --workspace --locked --quiet --features stockade-seccomp/oracle
	$(BIN)/python -m pytest -q -m "not judge and not soak"

judge:           ## other people's whole suites against our programs; writes docs/judge.md
	@$(PYTHON) packaging/prepare.py judge
	STOCKADE_TABLE=docs/judge.md $(BIN)/python -m pytest -q -m judge --timeout 1800

soak:            ## the storms at length, SOAK=seconds each, and fuzz; writes docs/soak.md, docs/crashes.md
	@$(PYTHON) packaging/prepare.py soak
	STOCKADE_TABLE=docs/soak.md STOCKADE_SOAK_SECONDS=$(SOAK) $(BIN)/python -m pytest -q -m storm --timeout 0

check:           ## formatting, lints, types, import law, second architecture, lengths
	@$(PYTHON) packaging/prepare.py check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@other=$$(cat .venv/.stockade/other); if [ -n "$$other" ]; then set -x; \
	    env CC_$$(echo $$other | tr - _)=$${other%%-*}-linux-gnu-gcc \
	      cargo check --workspace --locked --quiet --target $$other; \
	  else echo "check: NOT checked for a second architecture: rustup has no such target here"; fi
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python packaging/lengths.py

bench:           ## side by side with the peers, in one run; writes docs/bench.md
	@$(PYTHON) packaging/prepare.py test
	$(BIN)/python -m bench

fmt:             ## format Rust and Python
	@$(PYTHON) packaging/prepare.py check
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:            ## pin the Python packages anew, with hashes and without addresses
	@$(PYTHON) packaging/prepare.py check
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q pip-tools
	cd packaging && for name in requirements requirements-dev; do ../build/lock/bin/pip-compile -q --upgrade \
	    --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host -o $$name.txt $$name.in || exit 1; done

proto:           ## generate the Rust and Python messages from api/*.proto anew
	@$(PYTHON) packaging/prepare.py check
	@bash packaging/proto.sh

wheel:           ## one wheel, dist/*.whl, that needs no compiler to install
	@$(PYTHON) packaging/prepare.py check
	$(BIN)/python packaging/wheel.py

clean:           ## remove what was built; .venv too
	rm -rf target build dist .venv
