# What there is to do; `make help` lists it. KUBECONFIG set: everything runs against that cluster, and LEXISCALE_REGISTRY
# names a registry that its nodes pull from. Otherwise a node is started on this machine (tests/cluster).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Profile of the tests. The images' (release) would save no compile: development dependencies switch on features in 20 crates
# below the tests, which are then compiled once more, and the tests themselves take three times as long to optimise.
PROFILE ?= dev
# Always the whole workspace: a selection of packages selects features too, and with them another build of each dependency.
CARGO_TEST = cargo test --locked --workspace --profile $(PROFILE)
# With --tests the features are those of CARGO_TEST.
CARGO_BUILD = cargo build --quiet --locked --workspace --bins --tests --profile $(PROFILE)
BINARIES = $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
CLUSTER = tests/cluster/cluster
SCRIPTS = tests/cluster/cluster tests/cluster/own-api-server $(wildcard tests/cluster/selftest) tests/assets/fetch tests/chart/check tests/demo/demo \
	tests/tools/setup tests/tools/cargo-deny tests/bench/autoscaling/run tests/bench/worker/run \
	tests/bench/scaling-loop/run tests/kernels/run tests/clients/install tests/clients/run images/build images/collect .ci/run

# tests_in DIRECTORIES: cargo's arguments for the integration tests there.
tests_in = $(foreach file,$(sort $(wildcard $(1:%=%/tests/*.rs))),--test $(basename $(notdir $(file)))) \
	$(foreach file,$(sort $(wildcard $(1:%=%/tests/*/main.rs))),--test $(notdir $(patsubst %/,%,$(dir $(file)))))
PURE_TESTS = $(call tests_in,crds operator/chunking operator/core worker/kernels worker/wire tests/hub)
PROCESS_TESTS = $(call tests_in,operator worker)
CLUSTER_TESTS = $(call tests_in,tests)

# Where `make conformance` finds the server, and the credentials for it.
URL ?=
AUTHORIZATION ?=

.PHONY: help setup fmt lint fmt-check clippy docs scripts deny audit chart generate check-generated test test-unit test-kernels \
	test-process test-cluster assets images bench-autoscaling bench-burst bench-gateway bench-scaling-loop bench-start bench-worker \
	cluster-up cluster-down cluster-status conformance demo demo-down fuzz clean

# Print this list
help:
	@awk '/^# [A-Z]/ { text = substr($$0, 3) } /^[a-z-]+:/ { if (text) printf "  %-18s %s\n", substr($$1, 1, length($$1) - 1), text } !/^#/ { text = "" }' $(MAKEFILE_LIST)

# Show the whole on this machine: node, chart, an endpoint, a sentence as weighted tokens; gateway at 127.0.0.1:9200
demo:
	@tests/demo/demo up

# Take the demo away again, the node included
demo-down:
	@tests/demo/demo down

# All checks and tests, quick ones first
test: lint test-unit test-kernels test-process test-cluster

# Tests without a cluster: pure crates and unit tests
test-unit: setup assets
	$(CARGO_TEST) --lib --bins $(PURE_TESTS)

# Tests of the only unsafe code with AddressSanitizer, and on an emulated 64-bit Arm
test-kernels: setup
	tests/kernels/run sanitizer
	tests/kernels/run neon

# Tests of one program against a real API server, a real hub and ONNX Runtime
test-process: setup assets cluster-up
	eval "$$($(CLUSTER) env)"; $(if $(PROCESS_TESTS),$(CARGO_TEST) $(PROCESS_TESTS),echo "no process tests")

# Tests of the installed chart on the cluster
test-cluster: setup assets
	tests/tools/setup chromium:/usr/bin/chromium chromium-driver:/usr/bin/chromedriver
	tests/clients/install
	tests/demo/demo install
	eval "$$($(CLUSTER) env)"; $(if $(CLUSTER_TESTS),$(CARGO_TEST) $(CLUSTER_TESTS),echo "no cluster tests")

# Ask any server the list of conformance requests: make conformance URL=http://127.0.0.1:9200 [AUTHORIZATION="Bearer ..."]
conformance:
	@[[ -n "$(URL)" ]] || { echo 'usage: make conformance URL=http://127.0.0.1:9200 [AUTHORIZATION="Bearer ..."]' >&2; exit 2; }
	@LEXISCALE_CONFORMANCE_URL="$(URL)" LEXISCALE_CONFORMANCE_AUTHORIZATION="$(AUTHORIZATION)" \
		$(CARGO_TEST) --test gateway -- --exact conformance::conformance

# Give every reader of what strangers send new inputs for FUZZ_SECONDS each (60); what makes one panic is left in target/tmp
fuzz: setup
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(CARGO_TEST) --lib --test fuzz --test chunking --test rules -- --nocapture a_verdict

# Measure the gateway beside nginx: added latency, what a core carries, waiting, zero; writes target/bench/gateway.json
bench-gateway:
	tests/tools/setup nginx-light:/usr/sbin/nginx
	cargo build --quiet --locked --profile dist --workspace --bin lexiscale-operator --bin lexiscale-bench
	$(or $(CARGO_TARGET_DIR),target)/dist/lexiscale-bench gateway $(BENCH_ARGS)

# Judge the laws of scaling in the simulator beside HPA, KEDA, Knative, Elasticsearch, KubeAI; writes target/bench/autoscaling.json
bench-autoscaling: setup
	cargo build --quiet --locked --release --workspace --bins
	LEXISCALE_OPERATOR=$(or $(CARGO_TARGET_DIR),target)/release/lexiscale-operator tests/bench/autoscaling/run $(BENCH_ARGS)

# Measure the controller with a thousand endpoints, workers and nodes played by KWOK; writes target/bench/scaling-loop.json
bench-scaling-loop: setup
	cargo build --quiet --locked --release --workspace --bins
	LEXISCALE_OPERATOR=$(or $(CARGO_TARGET_DIR),target)/release/lexiscale-operator tests/bench/scaling-loop/run $(BENCH_ARGS)

# Measure worker starts of the demo's tiny model on the cluster, from pod to first answer; writes target/bench/start.json
bench-start: images
	cargo build --quiet --locked --release --workspace --bins
	eval "$$($(CLUSTER) env)"; $(or $(CARGO_TARGET_DIR),target)/release/lexiscale-bench start \
		--operator $(or $(CARGO_TARGET_DIR),target)/release/lexiscale-operator --images $(or $(CARGO_TARGET_DIR),target)/images $(BENCH_ARGS)

# Measure standby allocations of the demo's tiny model on the cluster: first answer and resize in a burst; writes target/bench/burst.json
bench-burst: images
	cargo build --quiet --locked --release --workspace --bins
	eval "$$($(CLUSTER) env)"; $(or $(CARGO_TARGET_DIR),target)/release/lexiscale-bench burst \
		--operator $(or $(CARGO_TARGET_DIR),target)/release/lexiscale-operator --images $(or $(CARGO_TARGET_DIR),target)/images $(BENCH_ARGS)

# Measure the worker beside ONNX Runtime, OpenVINO and fastembed, with the same texts; writes target/bench/worker.json
bench-worker: setup assets
	cargo build --quiet --locked --release --workspace --bins
	tests/bench/worker/run $(BENCH_ARGS)

# All checks that run no test
lint: setup fmt-check clippy docs scripts check-generated deny chart

# Format the Rust code
fmt:
	cargo fmt --all

# Fail on code that `make fmt` would change
fmt-check:
	cargo fmt --all --check

# Clippy on everything, warnings are errors
clippy:
	cargo clippy --locked --workspace --all-targets -- --deny warnings

# Build the API documentation, warnings are errors
docs:
	RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --locked --workspace --no-deps

# Shellcheck on every script
scripts:
	shellcheck --external-sources $(wildcard $(SCRIPTS))

# Licences, sources and banned crates of the dependencies
deny:
	tests/tools/cargo-deny check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities of the dependencies; needs the internet, for the RustSec database
audit:
	tests/tools/cargo-deny check advisories

# Lint the chart, compare what it renders, try values that it must refuse
chart:
	tests/chart/check

# Write the generated files: definitions, their copy in the chart, their reference
generate:
	$(CARGO_BUILD)
	$(BINARIES)/crdgen crds/yaml charts/lexiscale/crds
	$(BINARIES)/crddoc docs/reference/crds.md

# Fail on generated files that `make generate` would change
check-generated:
	$(CARGO_BUILD)
	$(BINARIES)/crdgen --check crds/yaml charts/lexiscale/crds
	$(BINARIES)/crddoc --check docs/reference/crds.md

# Compile, build and push the images; target/images/values.yaml names them for Helm
images: cluster-up
	images/build

# Start the node, or reuse the one that runs
cluster-up:
	@$(CLUSTER) up

# Stop the node and remove all its traces
cluster-down:
	@$(CLUSTER) down

# What of the node runs
cluster-status:
	@$(CLUSTER) status

# Fetch ONNX Runtime and the demo's model, both by pinned hash
assets:
	@tests/assets/fetch

# Install what a fresh Debian-like machine lacks for building and testing
setup:
	@tests/tools/setup

# Remove what was compiled; machine-wide programs stay (`tests/cluster/cluster down --all` removes those)
clean:
	cargo clean
