# What one does with Hawker. `make` alone lists it.
#
# PROFILE picks the cargo profile of `run` and `build`: release, or dev for a quick build.

PROFILE ?= release
# The file that `run` reads, if any.
CONFIG ?=
# Seconds each fuzz target runs.
FUZZ_SECONDS ?= 600
# The seed that `sim` replays, and how many it tries afresh where none is given.
SEED ?=
SEEDS ?= 1000
# How often `crash-soak` kills the broker, for each of its tests.
CRASHES ?= 250
# Where `audit` finds a copy of the advisories; from their own place if that is not said.
ADVISORIES ?=
# The brokers that `compare` measures, such as mosquitto; none for all that are installed, and
# --install to get them first.
PEERS ?=

# Connections that `hostile` holds half made.
ATTACKERS ?= 5000
# How long `soak` lets clients come and go.
SOAK_SECONDS ?= 1800

CARGO ?= cargo
# Where `build` puts the binaries.
BUILT = $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
HAWKER = $(CARGO) run --profile $(PROFILE) --bin hawker --

.DEFAULT_GOAL := help
.PHONY: help run build test clients formatted fmt lint core doctest loom instructions tests bench fuzz sim crash-soak hostile soak compare \
    observe observe-check web dashboard docs site audit deb deb-try

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and run the broker on port 1883, data in ./data (CONFIG=FILE for a configuration)
	$(HAWKER) run $(if $(CONFIG),-c $(CONFIG))

build: ## build the broker and the load harness
	$(CARGO) build --profile $(PROFILE) --workspace

# The order is: what fails fast first, the test runner's own summary last.
test: clients formatted lint core doctest loom build instructions tests ## install what the tests need and run everything

clients: ## install the programs the tests drive, into the project's own folders where possible
	tests/clients/install

formatted:
	$(CARGO) fmt --all --check

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## check the code with clippy
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

core: ## check that the library needs no runtime
	$(CARGO) check --lib --no-default-features

doctest: ## run the examples in the documentation
	$(CARGO) test --doc --workspace --all-features

loom: ## try the lanes' wake protocol under every order of memory
	$(CARGO) test --test loom

# PROFILE is the one that the first-use paths of README.md are run with.
# HAWKER_TEST_CLIENTS=required: a missing client fails its tests instead of skipping them.
tests: export HAWKER_TEST_CLIENTS = required
tests: export PROFILE := $(PROFILE)
tests:
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run --workspace --all-features --profile full; \
	else \
	    set -x; $(CARGO) test --workspace --all-features --all-targets --no-fail-fast; \
	fi

# Without what tests need: it is built in seconds.
instructions: ## hold how many instructions a message takes (needs valgrind; HAWKER_BLESS=1 writes the table anew)
	$(CARGO) run --release --no-default-features --features instructions --bin instructions

bench: ## run the benchmarks and write what they say to docs/performance.md
	$(CARGO) bench
	benches/summary $(or $(CARGO_TARGET_DIR),target)/criterion docs/performance.md

fuzz: ## run each fuzz target for FUZZ_SECONDS (needs cargo-fuzz)
	@for target in $$(RUSTC_BOOTSTRAP=1 $(CARGO) fuzz list); do \
	    echo "== $$target"; \
	    mkdir -p fuzz/corpus/$$target; \
	    RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target \
	        fuzz/corpus/$$target $$(ls -d fuzz/corpus-seeds/$$target 2>/dev/null) -- \
	        -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

sim: ## simulate SEEDS fresh seeds, or replay SEED=N
	$(CARGO) run --release --features sim --bin sim -- \
	    $(if $(SEED),$(SEED),--seeds $(SEEDS) --from $$(date +%s%N))

crash-soak: ## kill the broker CRASHES times under load in each way and judge what arrives
	HAWKER_CRASHES=$(CRASHES) $(CARGO) test --release --all-features --test durability crash -- --nocapture

hostile: ## hold ATTACKERS half-made connections while honest clients go on, and say what that does to them
	HAWKER_HOSTILE=$(ATTACKERS) $(CARGO) test --release --all-features --test hostile -- --nocapture --test-threads 1

soak: build ## let clients come and go for SOAK_SECONDS and judge what the broker's memory does
	loadtest/soak $(BUILT) $(SOAK_SECONDS)

compare: build ## measure Hawker beside the peers that are installed (PEERS, SHAPES, ROUNDS, SECONDS_EACH)
	loadtest/compare $(PEERS)

observe: build ## show it at work: a broker, a load, a Prometheus and, where installed, a Grafana on loopback
	grafana/observe $(BUILT)/hawker

observe-check: build ## ask a Prometheus all that dashboards and alerts ask, under a load that touches everything
	grafana/check $(BUILT)/hawker

dashboard: ## build what the binary serves as its dashboard (needs node)
	cd dashboard && { test -d node_modules || npm ci; } && npm run build

web: clients dashboard ## go through the dashboard in a browser, against a mock (SHOTS=FOLDER keeps pictures)
	cd dashboard && npm test

docs: ## build the documentation of the code
	$(CARGO) doc --no-deps --document-private-items --all-features

site: ## build the pages of docs as a site in target/site (needs mdbook)
	@command -v mdbook >/dev/null || { echo 'mdbook is missing: cargo install mdbook' >&2; exit 1; }
	mdbook build

audit: ## compare what the broker is built of with RustSec's advisories (needs cargo-audit; ADVISORIES=FOLDER for a copy of them)
	$(CARGO) audit --deny warnings $(if $(ADVISORIES),--db $(ADVISORIES) --no-fetch --stale)

deb: build ## make a Debian package in target/debian
	BINARIES=$(BUILT) packaging/debian/build

deb-try: deb ## install that package, use what it installed, and purge it (as root)
	$(if $(filter 0,$(shell id -u)),,sudo )packaging/debian/try
