# RigQueue's everyday commands. `make` lists them.
#
# Everything is built with one profile, release with overflow checks on: what is demonstrated is
# what is tested and what runs on the rigs (docs/adr/0007).

CARGO_TARGET_DIR ?= target
DEMO_HOME = $(CURDIR)/target/demo

.PHONY: help demo steps test test-rabbitmq4 bench chaos fuzz rabbitmq devices python evidence fmt lint deny

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

demo:  ## build, then find the seed behind examples/java_random/draws.txt among all 2^32
	cargo build --release --workspace --bins --locked
	rm -rf "$(DEMO_HOME)"
	mkdir -p "$(DEMO_HOME)"
	env -u RIGQUEUE_CONFIG -u RIGQUEUE_BROKER -u RIGQUEUE_SERVER RIGQUEUE_HOME="$(DEMO_HOME)" \
	    "$(CARGO_TARGET_DIR)/release/producer" run --step 2 \
	    --draws examples/java_random/draws.txt --family java_random \
	    --window 12 --threshold 1 --skip 0..=2 --seed-end '2^32'

steps: python  ## build, then go through all steps, with a study of four kinds of model, in target/steps
	cargo build --release --workspace --bins --locked
	env -u RIGQUEUE_CONFIG -u RIGQUEUE_BROKER -u RIGQUEUE_SERVER \
	    examples/steps/run target/steps $(wildcard ../shared/data/nj_pick3.json)

# Where libOpenCL is, runner-opencl is built and tested with the rest.
DEVICES = $(shell cc -lOpenCL -shared -o /dev/null 2>/dev/null && echo --features kernels/opencl)

test: rabbitmq devices python  ## install what the tests need, then build and run all of them
	cargo build --release --workspace --bins --tests --locked $(DEVICES)
	cargo test --release --workspace --locked --no-fail-fast $(DEVICES)

test-rabbitmq4:  ## the tests that need a broker, on RabbitMQ 4.0 from Debian 13 in target/rabbitmq4 (as root)
	sh .ci/rabbitmq4 target/rabbitmq4
	cargo build --release --workspace --bins --tests --locked $(DEVICES)
	RIGQUEUE_TEST_RABBITMQ_ROOT="$(CURDIR)/target/rabbitmq4" \
	    cargo test --release --workspace --locked --no-fail-fast $(DEVICES) \
	    --test broker_rabbitmq --test security --test search --test faults --test alarms \
	    --test matrix --test orders --test scripts --test doctor

bench: rabbitmq python  ## measure jobs a second, latency, scan rate, trials, and the kernels (docs/benchmarks.md)
	cargo build --release --workspace --bins --example bench --example rates --example structural \
	    --example trials --locked
	env -u RIGQUEUE_CONFIG -u RIGQUEUE_BROKER -u RIGQUEUE_SERVER -u RIGQUEUE_LOG \
	    "$(CARGO_TARGET_DIR)/release/examples/bench"
	"$(CARGO_TARGET_DIR)/release/examples/trials"
	"$(CARGO_TARGET_DIR)/release/examples/rates"

chaos: rabbitmq  ## a fault every second or two for CHAOS_SECONDS (600), then everything must be exact
	cargo build --release --workspace --bins --example chaos --locked $(DEVICES)
	"$(CARGO_TARGET_DIR)/release/examples/chaos"
	RIGQUEUE_TEST_CLOSINGS=50 cargo test --release --workspace --locked $(DEVICES) --test faults \
	    an_operator_closes -- --nocapture

fuzz:  ## feed whatever reads bytes from outside with what a fuzzer thinks of, FUZZ_SECONDS (60) a target
	@sh tests/fuzz/run

rabbitmq:  ## install RabbitMQ for the tests, as a program and not as a service
	@sh .ci/install-rabbitmq

devices:  ## install what the device code is tested with: PoCL, and NVRTC in target/nvidia
	@sh .ci/install-opencl
	@sh .ci/install-nvrtc

python:  ## make target/python, with what the shipped scripts and studies need, and target/runpod
	@sh .ci/install-python
	@sh .ci/install-runpod

evidence:  ## what the compilers make of the device code for cards that are not here (docs/devices.md)
	@sh .ci/install-nvrtc --ptxas
	cargo run --release --quiet --package kernels --example evidence --locked

fmt:  ## lay out the code
	cargo fmt --all

lint:  ## refuse code that is not laid out, or that clippy warns about
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked $(DEVICES) -- -D warnings

deny:  ## check dependencies against deny.toml (needs cargo-deny 0.20 or later)
	@cargo deny --version >/dev/null 2>&1 || { \
	    echo "make deny: cargo-deny is missing; run: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check
