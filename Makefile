# Targets for people; `make help` lists them. Needs Python >= 3.11 and openssl; GNU make 3.81 (macOS) will do.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
OPENSSL ?= $(shell for o in /opt/homebrew/opt/openssl@3/bin/openssl /usr/local/opt/openssl@3/bin/openssl openssl; do \
	command -v $$o && break; done)
PORT ?= 8443
VENV := .venv
BIN := $(VENV)/bin
CERTS := .run
CERTIFICATE := $(CERTS)/public-certificate.pem
KEY := $(CERTS)/private-key.pem
CURL := curl --cert $(CERTIFICATE) --key $(KEY) --cacert $(CERTIFICATE)
CLUSTER := $(if $(KUBECONFIG),--cluster=kubeconfig,--cluster=simulated)
CODE := sre_server twisted tests setup.py

.DEFAULT_GOAL := help
.PHONY: help run test integration-tests bench lint format sslyze packaging certs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed certs ## Serve the simulated cluster, or that of $KUBECONFIG, on https://localhost:8443
	@echo "sre-server on https://localhost:$(PORT), $(if $(KUBECONFIG),cluster of $(KUBECONFIG),simulated cluster)."
	@echo "Stop it with Ctrl-C. In another terminal, from this folder:"
	@echo
	@echo "  $(CURL) https://localhost:$(PORT)/deployments"
	@echo "  $(CURL) https://localhost:$(PORT)/namespaces"
	@$(if $(KUBECONFIG),,echo "  $(CURL) https://localhost:$(PORT)/deployments/shop/cart/replicas")
	@$(if $(KUBECONFIG),,echo "  $(CURL) -X PUT -H 'Content-Type: application/json' -d '{\"replicas\": 5}' https://localhost:$(PORT)/deployments/shop/cart/replicas")
	@echo
	@exec $(BIN)/twistd -n --pidfile= sre-server --listen=tcp:$(PORT):interface=127.0.0.1 $(CLUSTER) \
		--tls-certificate=$(CERTIFICATE) --tls-private-key=$(KEY) --tls-client-ca=$(CERTIFICATE)

test: $(VENV)/.installed ## Run every test that needs neither a cluster nor Go
	$(if $(wildcard .venv-sslyze/.installed),SSLYZE=$(CURDIR)/.venv-sslyze/bin/sslyze) $(BIN)/python -m pytest -q -rs tests

integration-tests: $(VENV)/.installed ## Run against $KUBECONFIG's cluster, or a real control plane built from Go modules
	$(BIN)/python -m tests.controlplane

bench: $(VENV)/.installed ## Measure speed and size; needs Go, and takes ten minutes (ROWS="single-read lists" for some)
	$(BIN)/python -m tests.benchmarks --chart=docs/performance.svg $(ROWS)

lint: $(VENV)/.installed ## Check style and types
	$(BIN)/zizmor --offline --pedantic --strict-collection --quiet --no-progress .github
	$$(command -v actionlint || echo go -C .ci/actionlint tool actionlint) \
		-shellcheck=$(abspath $(BIN))/shellcheck $(abspath $(wildcard .github/workflows/*.yml))
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy sre_server tests setup.py

format: $(VENV)/.installed ## Bring the code into the house style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

sslyze: .venv-sslyze/.installed ## Install the TLS scanner that a test uses, in an environment of its own

.venv-sslyze/.installed:
	$(PYTHON) -m venv .venv-sslyze
	.venv-sslyze/bin/python -m pip install -qq sslyze==6.3.1
	@touch $@

packaging: $(VENV)/.installed ## Check that the wheel alone, in a clean environment, gives a working `twistd sre-server`
	$(BIN)/python -m tests.packaging

certs: ## Make RFD 0's one-day certificate in .run/, unless the one there is good for another hour
	@mkdir -p $(CERTS)
	@$(OPENSSL) x509 -checkend 3600 -noout -in $(CERTIFICATE) >/dev/null 2>&1 || $(OPENSSL) req \
		-newkey ed25519 -new -nodes -x509 -days 1 -out $(CERTIFICATE) -keyout $(KEY) \
		-subj "/C=US/ST=Cali/L=Somewhere/O=Your Organization/OU=Your Unit/CN=localhost" \
		-addext "subjectAltName = DNS:localhost" 2>/dev/null || \
		{ echo "$(OPENSSL) cannot make an Ed25519 certificate; install OpenSSL 3 and name it: make certs OPENSSL=..." >&2; exit 1; }

# compat: in its default mode an editable install hides the twistd plugin.
$(VENV)/.installed: setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with venv found; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -qq --config-settings editable_mode=compat --editable '.[test,lint]'
	@touch $@

clean: ## Remove everything that the other targets made here
	rm -rf $(VENV) .venv-sslyze $(CERTS) .tox build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache _trial_temp*
	rm -f twisted/plugins/dropin.cache
	find sre_server tests twisted -name __pycache__ -type d -prune -exec rm -rf {} +
