# Everything a contributor does, by one name each. `make help` lists them.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(CURDIR)/target
DATA_DIR ?= ./data
IMAGE ?= otlp-rust
TAG ?= dev
IMAGE_TARGET ?= runtime
CONTAINER_TOOL ?= docker

.DEFAULT_GOAL := help
.PHONY: help run demo test test-rust test-e2e test-deploy torture bench fuzz sim lint fmt setup clean image chart deploy undeploy book

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One selection of packages for all: with another one Cargo unifies features differently and compiles DataFusion anew.
BUILD := cargo build --release -p otlp-rust -p otlp-rust-bench

run: ## build the release binary and start the platform on ./data (local disk + SQLite)
	$(BUILD)
	"$(CARGO_TARGET_DIR)/release/otlp-rust" serve --data-dir "$(DATA_DIR)"

demo: ## like run, with a generator of a believable shop's telemetry beside it
	$(BUILD)
	DATA_DIR="$(DATA_DIR)" scripts/demo.sh

test: setup ## everything: Rust tests, black-box tests, tests of deployment, format, dependency rules
	scripts/test.sh all

test-rust: setup ## only the Rust tests
	scripts/test.sh rust

test-e2e: setup ## only the black-box tests (E2E_ARGS="-k crash" picks some)
	scripts/test.sh e2e

test-deploy: setup ## only the tests of image, chart, monitoring and scripts (DEPLOY_ARGS="-k chart" picks some)
	scripts/test.sh deploy

torture: setup ## faults against real processes, compared with a ledger (SEED=1 MINUTES=5 OUT=table.md; docs/guides/torture.md)
	scripts/torture.sh $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(OUT),--out $(OUT)) $(TORTURE_ARGS)

fuzz: setup ## the fuzz tests for long (FUZZ_SECONDS=120 for each run of a target, from FUZZ_SEED=1), with a limit on memory
	scripts/fuzz.sh

sim: setup ## the simulation of several processes for long (SIM_HISTORIES=100000, from SIM_SEED=0; docs/decisions/0009)
	scripts/sim.sh

bench: ## build the release binaries, measure, write benches/results
	$(BUILD)
	"$(CARGO_TARGET_DIR)/release/bench" all --binary "$(CARGO_TARGET_DIR)/release/otlp-rust" $(BENCH_ARGS)

lint: setup ## rustfmt, clippy with warnings as errors, cargo-deny
	scripts/lint.sh all

fmt: ## format the Rust code
	cargo fmt --all

book: setup ## build the operations handbook as web pages, in English and Chinese, into target/book
	for language in en zh; do .tools/handbook/bin/mdbook build --dest-dir "$(CURDIR)/target/book/$$language" "docs/operations/$$language" || exit 1; done

setup: ## install what the tests need and this machine lacks
	scripts/setup-tests.sh

image: ## build the container image (IMAGE=otlp-rust TAG=dev IMAGE_TARGET=runtime|debug CONTAINER_TOOL=docker|podman)
	$(CONTAINER_TOOL) build -f docker/Dockerfile --target $(IMAGE_TARGET) -t "$(IMAGE):$(TAG)" \
		--build-arg VERSION="$(TAG)" --build-arg REVISION="$$(git rev-parse HEAD)" \
		--build-arg CREATED="$$(git log -1 --format=%cI)" --build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" .

chart: ## lint the Helm chart and package it into dist/ (IMAGE_REGISTRY=ghcr.io/acme: where the packaged chart has its image)
	scripts/package-chart.sh $(IMAGE_REGISTRY)

deploy: ## install the platform on a Kubernetes cluster (DEPLOY_OPTIONS="--trial"; scripts/deploy.sh --help)
	scripts/deploy.sh $(DEPLOY_OPTIONS)

undeploy: ## remove what make deploy made; data stays (UNDEPLOY_OPTIONS="--dry-run"; scripts/undeploy.sh --help)
	scripts/undeploy.sh $(UNDEPLOY_OPTIONS)

clean: ## remove build output and test tools (not ./data)
	cargo clean
	rm -rf .tools tests/e2e/js/node_modules tests/e2e/azurite/node_modules
