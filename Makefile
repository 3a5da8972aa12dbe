# Two commands matter: `make demo` and `make test`. Each sets up what it lacks.
.DEFAULT_GOAL := help
.PHONY: help venv xds demo test lint protos requirements bench fuzz properties storm crash explore escalate flood clean
BIN := .venv/bin

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv:  ## make .venv with everything, so that .venv/bin/pdp runs
	@scripts/venv .venv requirements/dev.txt project

xds:
	@scripts/venv .venv-xds requirements/xds.txt

demo: venv  ## see it work: a real Envoy, real requests, allowed, refused, metered and charged
	@$(BIN)/pdp demo $(ARGS)

test: export PYTHONDONTWRITEBYTECODE =  # Else each process compiles everything again.
test: venv xds  ## all tests, with coverage
	@scripts/test-tools
	@$(BIN)/coverage erase
	@$(BIN)/python -m compileall -q pdp adapters
	@$(BIN)/python -m pytest -q --collect-only > /dev/null || true  # It compiles the tests.
	$(BIN)/coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)
	@$(BIN)/coverage combine --quiet
	@scripts/coverage

lint: venv  ## style, types, import contracts, protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

protos: venv  ## regenerate the protobuf code
	@scripts/protos

requirements: venv  ## pin the newest versions into the hashed requirement files
	@scripts/requirements

bench: venv  ## measure: engine, wire, reports, gateway, freshness; figures go to bench/figures.json
	@scripts/bench-tools
	@$(BIN)/python -m bench $(ARGS)

fuzz: venv  ## feed 10^6 random and mutated inputs to every entry point (ARGS="--seed 1")
	@$(BIN)/python -m tests.fuzz $(ARGS)

properties: venv  ## try the properties with twenty times the examples of the suite, others each time
	@scripts/test-tools
	PDP_TEST_EXAMPLES=20 $(BIN)/python -m pytest -n 2 --timeout 0 tests/property $(ARGS)

storm: venv  ## kill -9 of data planes and Redis during 100,000 checks of four data planes (ARGS="--seed 1")
	@scripts/test-tools
	@$(BIN)/python -m tests.e2e.storm $(ARGS)

crash: venv  ## kill -9 of planes a hundred times during 20,000 reports (ARGS="--hold-ttl 5")
	@$(BIN)/python -m tests.crash $(ARGS)

explore: venv  ## let schemathesis look for what OpenAPI promises and the admin API does not keep
	@$(BIN)/python -m tests.e2e.rest.explore $(ARGS)

escalate: venv  ## search long for calls by which a key gets more than it has (ARGS=10000)
	@$(BIN)/python -m tests.property.control.escalate $(ARGS)

flood: venv  ## send 10,000 requests through NGINX, kill the PDP and rotate logs meanwhile: is each one settled?
	@scripts/test-tools
	@$(BIN)/python -m tests.e2e.nginx.flood $(ARGS)

clean:  ## remove what was built
	rm -rf .venv .venv-xds .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .fuzz
