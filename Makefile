# The commands of this repository; `make help` lists them. The work is done by scripts/ and by the
# programs of the tests crate, so that each can be run and read on its own.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: up demo test bench soak fuzz fmt lint tools api-docs help

# CI builds exactly what Cargo.lock says; at a desk the lock file may follow Cargo.toml.
LOCKED := $(if $(CI),--locked)

up: ## Build everything and run it here: Redis, both services, the whole shop; Ctrl-C stops it
	@scripts/up.sh

demo: ## Play the shop's scenario against a running `make up`, step by step
	@scripts/demo.sh

test: ## Everything that must hold: formatting, lints, protos, unit, integration and system tests
	@LOCKED=$(LOCKED) scripts/test.sh

bench: ## Measure the services beside their limits; writes target/bench/report.json
	@LOCKED=$(LOCKED) scripts/bench.sh

soak: ## Play the scenario again and again while services and Redis are killed (SOAK_MINUTES=10)
	@LOCKED=$(LOCKED) scripts/soak.sh

fuzz: ## Fuzz what the event store decodes, each target for FUZZ_SECONDS=60
	@LOCKED=$(LOCKED) scripts/fuzz.sh

fmt: ## Format all Rust code
	cargo fmt --all

lint: ## Formatting, clippy and buf, without running a test
	@LOCKED=$(LOCKED) scripts/lint.sh

tools: ## Fetch the tools that only tests need into target/tools
	@scripts/tools.sh

api-docs: ## Write docs/api anew, from the comments in proto/
	cargo run -q $(LOCKED) --package system-tests --bin api-docs

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 17
