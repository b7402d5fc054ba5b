# Targets for people; `make help` lists them. Needs Python >= 3.11 and openssl; GNU make 3.81 (macOS) will do.

# Looked for once, and only if it is needed.
PYTHON ?= $(eval PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done))$(PYTHON)
OPENSSL ?= $(shell for o in /opt/homebrew/opt/openssl@3/bin/openssl /usr/local/opt/openssl@3/bin/openssl openssl; do \
	command -v $$o && break; done)
PORT ?= 8443
SECOND_PORT ?= 8444
REDIS_PORT ?= 6399
MINUTES ?= 10
SOAK_MINUTES ?= 60
FUZZ_SECONDS ?= 60
SAMPLE ?= 200
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
CERTS := .run
CERTIFICATE := $(CERTS)/public-certificate.pem
KEY := $(CERTS)/private-key.pem
CURL := curl --cert $(CERTIFICATE) --key $(KEY) --cacert $(CERTIFICATE)
# What the simulated cluster has to show: an autoscaler, GitOps, a quota, an image that is gone; docs/day.md has more.
FINDINGS = printf '\n%s\n\n' "Will it hold, and what came of it?"; for try in \
	"-d '{\"replicas\": 1}' https://localhost:$(PORT)/deployments/shop/storefront/plan" \
	"-d '{\"replicas\": 8}' https://localhost:$(PORT)/deployments/shop/catalog/plan" \
	"-X PUT -H 'Prefer: wait=60' -d '{\"replicas\": 9}' https://localhost:$(PORT)/deployments/payments/gateway/replicas" \
	"-X PUT -H 'Prefer: wait=60' -d '{\"replicas\": 3}' https://localhost:$(PORT)/deployments/monitoring/grafana/replicas" \
	"-X PUT -d '{\"replicas\": 10, \"for\": \"2h\"}' https://localhost:$(PORT)/deployments/shop/cart/temporary"; \
	do echo "  $(CURL) -H 'Content-Type: application/json' $$try"; done
# Names a port that cannot be had in one line, before anything is started beside whatever has it: $(call FREE,PORT).
FREE = for port in $(foreach name,$(1),$(name)=$($(name))); do \
	$(BIN)/python -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1].partition("=")[2])))' $$port 2>/dev/null || { \
		echo "$$port cannot be had, as something else may listen there; name another one: make $@ $${port%=*}=..." >&2; exit 1; }; done
# A cluster is one that make's command line names: what a shell exports for kubectl may be production.
CHOSEN := $(if $(filter command,$(origin KUBECONFIG)),$(KUBECONFIG))
CLUSTER := $(if $(CHOSEN),--cluster=kubeconfig,--cluster=simulated)
EXTRAS ?= test,lint
# Tests of load are in the group "load", so that none of them runs beside another.
PYTEST = $(BIN)/python -m pytest -q -rs --numprocesses=auto --dist=loadgroup
IN_MEMORY = $(filter-out tests/functional/%,$(wildcard tests/test_*.py tests/*/test_*.py))
# Where Python's own TLS is a client or a server of ours.
WITH_TLS := $(patsubst %,tests/functional/test_%.py,credentials healthcheck synthetic tls_matrix)
# The image's Python, which is the newest, and has tests in an environment of its own.
IMAGE_PYTHON ?= python$(shell sed -n 's/^FROM python:\(3\.[0-9]*\)\..* AS build$$/\1/p' Dockerfile)
IMAGE_VENV := .venv-image-python
# Of others, for tests; each in an environment of its own, since what they pin is not what we do.
TOOLS := checkov==3.3.30 openapi-python-client==0.29.1 sslyze==6.3.1
TOOL_VENVS := $(foreach tool,$(TOOLS),.venv-$(firstword $(subst ==, ,$(tool))))
CODE := sre_server twisted tests helm/dashboard setup.py $(wildcard .ci/*.py)

# Of the image and what it is deployed to. DOCKER may be podman.
DOCKER ?= docker
IMAGE ?= sre-server
MINIKUBE_PROFILE ?= minikube
AWS_REGION ?= us-west-2
CLUSTER_NAME ?= sre-server
CLUSTER_NODES ?= 2
CLUSTER_NODE_TYPE ?= t3.medium
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sre_server/__init__.py)
REVISION = $(shell git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
CREATED = $(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || \
	date -u -r $(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)
BUILD = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) \
	--build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BUILD_OPTIONS)
# With BASE the image stands on another one than the official Python.
TAGGED = $(if $(BASE),sed 's#^FROM [^ ]*@[^ ]*#FROM $(BASE)#' Dockerfile |) $(DOCKER) build $(BUILD) $(if $(BASE),--file=-) --tag=$(IMAGE):$(VERSION) --tag=$(IMAGE):latest .
DIST := dist
CHART := helm/sre-server
LOCAL := sre-server-local
KUBECTL = kubectl --context=$(MINIKUBE_PROFILE)
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version=3.11 --generate-hashes --no-annotate \
	--custom-compile-command="make lock" $(UPGRADE)
ARCHIVE = $(DIST)/sre-server-$(VERSION)-image.tar
# One image for the machine at hand, or, with buildx, an archive of one for each of PLATFORMS (linux/amd64,linux/arm64).
ifdef PLATFORMS
SAVE = $(DOCKER) buildx build $(BUILD) --platform=$(PLATFORMS) --provenance=false --sbom=false \
	--output=type=oci,dest=$(ARCHIVE),rewrite-timestamp=true .
else
SAVE = $(TAGGED) && $(DOCKER) save --output=$(ARCHIVE) $(IMAGE):$(VERSION)
endif
RELEASE = SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) .venv-release/bin/python .ci/release.py --dist=$(DIST) --version=$(VERSION) \
	--chart=$(CHART)
# Docker's own format: an OCI image, podman's default, has no room for a HEALTHCHECK.
export BUILDAH_FORMAT := docker

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run run-scaled unit trial image-python test integration-tests histories soak fuzz mutants bench lint format tools packaging certs clean lock build local-run image-check \
	release local-deploy local-undeploy push push_docker create_cluster delete_cluster

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed certs ## Serve a simulated cluster, or that of KUBECONFIG=, on https://localhost:8443 (PORT=)
	@$(call FREE,PORT)
	@echo "sre-server on https://localhost:$(PORT), $(if $(CHOSEN),cluster of $(CHOSEN),simulated cluster)."
	@$(if $(CHOSEN),,$(if $(KUBECONFIG),echo "Your own cluster is served by: make run KUBECONFIG='$(KUBECONFIG)'"))
	@echo "Stop it with Ctrl-C. In another terminal, from this folder:"
	@echo
	@echo "  $(CURL) https://localhost:$(PORT)/deployments"
	@echo "  $(CURL) https://localhost:$(PORT)/namespaces"
	@$(if $(CHOSEN),,echo "  $(CURL) https://localhost:$(PORT)/deployments/shop/cart/replicas")
	@$(if $(CHOSEN),,echo "  $(CURL) -X PUT -H 'Content-Type: application/json' -d '{\"replicas\": 5}' https://localhost:$(PORT)/deployments/shop/cart/replicas")
	@$(if $(CHOSEN),,$(FINDINGS))
	@echo
	@exec $(BIN)/twistd -n --pidfile= sre-server --listen=tcp:$(PORT):interface=127.0.0.1 $(CLUSTER) \
		--tls-certificate=$(CERTIFICATE) --tls-private-key=$(KEY) --tls-client-ca=$(CERTIFICATE) \
		$(if $(CHOSEN),,--temporary-store=default/temporary-counts)

run-scaled: $(VENV)/.installed certs ## The same, scaled out: a watcher and two api processes that share a cache in redis-server
	@command -v redis-server >/dev/null || { echo "redis-server is not installed; it is in Debian's and Homebrew's \
	packages, or: PATH=\$$(.ci/redis):\$$PATH make run-scaled" >&2; exit 1; }
	@$(call FREE,PORT SECOND_PORT REDIS_PORT)
	@rm -f $(CERTS)/simulated && test -s $(CERTS)/seal || $(OPENSSL) rand -hex 32 >$(CERTS)/seal
	@echo "Two api processes and a watcher, by way of redis-server. Stop them with Ctrl-C. In another terminal:"
	@echo
	@echo "  $(CURL) https://localhost:$(PORT)/deployments/shop/cart/replicas"
	@echo "  $(CURL) -X PUT -H 'Content-Type: application/json' -d '{\"replicas\": 5}' https://localhost:$(PORT)/deployments/shop/cart/replicas"
	@echo "  $(CURL) https://localhost:$(SECOND_PORT)/deployments/shop/cart/replicas"
	@echo
	@trap 'kill $$pids 2>/dev/null; wait' EXIT; trap 'exit 0' INT TERM; \
	redis-server --port $(REDIS_PORT) --bind 127.0.0.1 --save "" --loglevel warning & pids=$$!; \
	$(BIN)/python -m sre_server.simulator --kubeconfig=$(CERTS)/simulated & pids="$$pids $$!"; \
	until test -s $(CERTS)/simulated; do sleep 0.1; done; \
	shared="--kubeconfig=$(CERTS)/simulated --cache=redis://127.0.0.1:$(REDIS_PORT) --cache-seal=$(CERTS)/seal --temporary-store=default/temporary-counts"; \
	$(BIN)/twistd -n --pidfile= sre-server --role=watcher --lease=default/sre-server $$shared & pids="$$pids $$!"; \
	for port in $(PORT) $(SECOND_PORT); do \
		$(BIN)/twistd -n --pidfile= sre-server --role=api $$shared --listen=tcp:$$port:interface=127.0.0.1 \
			--tls-certificate=$(CERTIFICATE) --tls-private-key=$(KEY) --tls-client-ca=$(CERTIFICATE) & pids="$$pids $$!"; \
	done; wait

unit: $(VENV)/.installed ## Run the tests in memory, in seconds: the edit loop
	@$(PYTEST) $(IN_MEMORY)

trial: $(VENV)/.installed ## Run the same under Twisted's own runner
	@$(BIN)/python -m twisted.trial $(IN_MEMORY)

image-python: ## Run the same, and the tests of TLS, on the Python that the image has
	@$(MAKE) --no-print-directory unit VENV=$(IMAGE_VENV) PYTHON=$(IMAGE_PYTHON) EXTRAS=test IN_MEMORY="$(IN_MEMORY) $(WITH_TLS)"

test: $(VENV)/.installed ## Run every test that needs neither a cluster nor Go
	$(PYTEST) tests

integration-tests: $(VENV)/.installed ## Run against a real control plane built from Go modules, or the cluster of KUBECONFIG=
	@$(if $(CHOSEN),,env -u KUBECONFIG) $(BIN)/python -m tests.controlplane

histories: $(VENV)/.installed ## Ten minutes of calls and faults on that control plane, judged by a checker (MINUTES=, SEED=)
	@PATH="$$(.ci/redis):$$PATH" $(BIN)/python -m tests.controlplane.histories --minutes=$(MINUTES) --seed=$(SEED)

fuzz: $(VENV)/.installed ## Look for bytes that break what takes bytes from outside (FUZZ_SECONDS=; Linux)
	@$(BIN)/python -m tests.fuzz --seconds=$(FUZZ_SECONDS)

mutants: $(VENV)/.mutants ## Change the core modules in a sample of ways, and show what no test notices (SAMPLE=, SEED=; an hour)
	@$(BIN)/python -m tests.mutants --sample=$(SAMPLE) --seed=$(SEED)

soak: $(VENV)/.installed ## Keep two servers busy for an hour, and say what of them grew (SOAK_MINUTES=)
	@PATH="$$(.ci/redis):$$PATH" $(BIN)/python -m tests.soak --minutes=$(SOAK_MINUTES)

bench: $(VENV)/.installed ## Measure speed and size; needs Go, and takes 25 minutes (ROWS="single-read lists" for some)
	$(BIN)/python -m tests.benchmarks --chart=docs/performance.svg $(ROWS)

lint: $(VENV)/.installed ## Check style and types
	$(BIN)/zizmor --offline --pedantic --strict-collection --quiet --no-progress .github
	$$(command -v actionlint || echo go -C .ci/actionlint tool actionlint) \
		-shellcheck=$(abspath $(BIN))/shellcheck $(abspath $(wildcard .github/workflows/*.yml))
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy sre_server tests helm/dashboard setup.py $(wildcard .ci/*.py)
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run .ci/kind .ci/publish .ci/redis

format: $(VENV)/.installed ## Bring the code into the house style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

tools: $(TOOL_VENVS:=/.installed) ## Install what others wrote and tests use, each in an environment of its own

$(TOOL_VENVS:=/.installed): .venv-%/.installed:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -qq $(filter $*==%,$(TOOLS))
	@touch $@

packaging: $(VENV)/.installed ## Check that the wheel alone, in a clean environment, gives a working `twistd sre-server`
	$(BIN)/python -m tests.packaging

# Name what is missing in one line, before anything is done: `need-docker+helm`.
need-%:
	@for tool in $(patsubst docker,$(firstword $(DOCKER)),$(subst +, ,$*)); do \
		command -v "$$tool" >/dev/null 2>&1 || { \
			echo "$$tool is not installed; make $(MAKECMDGOALS) needs it" >&2; exit 1; }; done

build: need-docker ## Build the image, sre-server:VERSION and sre-server:latest
	$(TAGGED)

# The container's user is nobody here: it may read the files in .run/, mounted one by one, though not the folder. A
# kubeconfig is copied there with all that it refers to.
local-run: need-docker$(if $(CHOSEN),+kubectl) build certs ## Run the image as in production: simulated cluster, or that of KUBECONFIG=
	@$(if $(CHOSEN),kubectl config view --flatten --minify --raw >$(CERTS)/kubeconfig && chmod 644 $(CERTS)/kubeconfig)
	@echo "sre-server $(VERSION) on https://localhost:$(PORT); stop it with Ctrl-C. In another terminal, from this folder:"
	@echo
	@echo "  $(CURL) https://localhost:$(PORT)/deployments"
	@echo
	$(DOCKER) run --rm --name=sre-server --read-only --cap-drop=ALL --security-opt=no-new-privileges \
		$(if $(CHOSEN),--network=host,--publish=127.0.0.1:$(PORT):8443) \
		--volume="$(CURDIR)/$(CERTIFICATE):/run/sre-server/certificate.pem:ro" \
		--volume="$(CURDIR)/$(KEY):/run/sre-server/key.pem:ro" \
		$(if $(CHOSEN),--volume="$(CURDIR)/$(CERTS)/kubeconfig:/run/sre-server/kubeconfig:ro") \
		$(RUN_OPTIONS) $(IMAGE):$(VERSION) \
		--tls-certificate=/run/sre-server/certificate.pem --tls-private-key=/run/sre-server/key.pem \
		--tls-client-ca=/run/sre-server/certificate.pem $(if $(CHOSEN),--kubeconfig=/run/sre-server/kubeconfig \
		--listen=tcp:$(PORT):interface=127.0.0.1,--cluster=simulated) $(SERVER_OPTIONS)

image-check: need-podman+debootstrap+unshare $(VENV)/.installed ## Build and try the image without Docker or a registry; as root, on Linux
	$(BIN)/python -m tests.image

release: need-docker+git+helm .venv-release/.installed ## Make sdist, wheel, image, chart, bill of materials and checksums in dist/
	rm -rf $(DIST)
	$(RELEASE) packages sbom chart notes
	$(SAVE)
	$(RELEASE) checksums

# A tag of its own for each deployment, as pods are replaced only when theirs changes.
local-deploy: need-minikube+kubectl+helm certs ## Build the image inside minikube and install the chart there
	@minikube --profile=$(MINIKUBE_PROFILE) status >/dev/null || { \
		echo "minikube does not run; start it: minikube start --profile=$(MINIKUBE_PROFILE)" >&2; exit 1; }
	$(KUBECTL) create namespace $(LOCAL) --dry-run=client --output=yaml | $(KUBECTL) apply --filename=-
	$(KUBECTL) --namespace=$(LOCAL) create secret generic sre-server-tls --from-file=tls.crt=$(CERTIFICATE) \
		--from-file=tls.key=$(KEY) --from-file=ca.crt=$(CERTIFICATE) --dry-run=client --output=yaml | \
		$(KUBECTL) apply --filename=-
	tag=$(VERSION)-local.$$(date +%s) && \
	minikube --profile=$(MINIKUBE_PROFILE) image build --tag=$(IMAGE):$$tag --build-opt=build-arg=VERSION=$$tag . && \
	helm --kube-context=$(MINIKUBE_PROFILE) upgrade sre-server $(CHART) --install --namespace=$(LOCAL) \
		--set=image.repository=$(IMAGE) --set=image.tag=$$tag --set=image.pullPolicy=Never \
		--set=tls.existingSecret.name=sre-server-tls --set=authorization=any $(HELM_OPTIONS) --wait --timeout=5m
	@echo "Installed in namespace $(LOCAL). To reach it, in two terminals:"
	@echo
	@echo "  $(KUBECTL) --namespace=$(LOCAL) port-forward service/sre-server $(PORT):8443"
	@echo "  $(CURL) https://localhost:$(PORT)/deployments"

local-undeploy: need-kubectl+helm ## Remove from minikube what local-deploy put there
	helm --kube-context=$(MINIKUBE_PROFILE) uninstall sre-server --namespace=$(LOCAL) --ignore-not-found --wait
	$(KUBECTL) delete namespace $(LOCAL) --ignore-not-found

push: need-docker set-REGISTRY build ## Build the image and push it to $REGISTRY, such as registry.example.com/team
	for tag in $(VERSION) latest; do \
		$(DOCKER) tag $(IMAGE):$(VERSION) $(REGISTRY)/sre-server:$$tag && \
		$(DOCKER) push $(REGISTRY)/sre-server:$$tag || exit 1; done

push_docker: override REGISTRY = $(DH_USER)
push_docker: need-docker set-DH_USER push ## Build the image and push it to Docker Hub, to the user $DH_USER

create_cluster: need-eksctl+aws+kubectl ## Make an EKS cluster in $AWS_REGION; it costs money until delete_cluster (docs/eks.md)
	eksctl create cluster --name=$(CLUSTER_NAME) --region=$(AWS_REGION) --nodes=$(CLUSTER_NODES) \
		--node-type=$(CLUSTER_NODE_TYPE) --node-private-networking --with-oidc --tags=application=sre-server $(EKSCTL_OPTIONS)

delete_cluster: need-eksctl ## Delete the cluster of create_cluster, and everything in it
	eksctl delete cluster --name=$(CLUSTER_NAME) --region=$(AWS_REGION) --disable-nodegroup-eviction --wait

set-%:
	@test -n "$($*)" || { echo "$* is not set: make $(MAKECMDGOALS) $*=..." >&2; exit 1; }

lock: $(VENV)/.lock ## Pin anew, by version and hash, what goes into the image and what makes releases; UPGRADE=--upgrade takes the newest
	$(LOCK) setup.py --extra=redis --output-file=requirements/image.txt
	$(LOCK) requirements/build.in --output-file=requirements/build.txt
	$(LOCK) requirements/release.in --output-file=requirements/release.txt

certs: ## Make RFD 0's one-day certificate in .run/, unless the one there is good for another hour
	@mkdir -p $(CERTS)
	@$(OPENSSL) x509 -checkend 3600 -noout -in $(CERTIFICATE) >/dev/null 2>&1 || $(OPENSSL) req \
		-newkey ed25519 -new -nodes -x509 -days 1 -out $(CERTIFICATE) -keyout $(KEY) \
		-subj "/C=US/ST=Cali/L=Somewhere/O=Your Organization/OU=Your Unit/CN=localhost" \
		-addext "subjectAltName = DNS:localhost" 2>/dev/null || \
		{ echo "$(OPENSSL) cannot make an Ed25519 certificate; install OpenSSL 3 and name it: make certs OPENSSL=..." >&2; exit 1; }
	@chmod 700 $(CERTS) && chmod 644 $(CERTIFICATE) $(KEY)

# compat: in its default mode an editable install hides the twistd plugin.
$(VENV)/.installed: setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with venv found; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -qq --config-settings editable_mode=compat --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.lock: $(VENV)/.installed
	$(BIN)/python -m pip install -qq --config-settings editable_mode=compat --editable '.[lock]'
	@touch $@

$(VENV)/.mutants: $(VENV)/.installed
	$(BIN)/python -m pip install -qq --config-settings editable_mode=compat --editable '.[mutants]'
	@touch $@

# What is published is made where nothing else was ever installed than what is pinned by its hash.
.venv-release/.installed: requirements/release.txt
	$(PYTHON) -m venv --clear .venv-release
	.venv-release/bin/python -m pip install -qq --require-hashes --only-binary :all: --requirement $<
	@touch $@

clean: ## Remove everything that the other targets made here
	rm -rf $(VENV) $(IMAGE_VENV) .venv-release $(TOOL_VENVS) $(CERTS) .tox build dist mutants *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache _trial_temp*
	rm -f twisted/plugins/dropin.cache
	find sre_server tests twisted -name __pycache__ -type d -prune -exec rm -rf {} +
