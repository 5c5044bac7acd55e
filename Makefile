# The targets are the way to work. On a fresh machine `make demo` and `make test` set up what they need.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?=
LDFLAGS := -s -w $(if $(VERSION),-X valence/internal/version.version=$(VERSION))

# What `make test` and `make crash` put the atom through. ROUNDS kills of a campaign, EXECUTIONS of each fuzz target:
# a number, because Go 1.26 may report the end of a time as a failure (golang/go#75804).
ROUNDS ?= 100
SHORT_ROUNDS ?= 5
EXECUTIONS ?= 50000

# Packages whose code runs in many goroutines at once.
CONCURRENT := ./atom/... ./cloud/... ./connectors/... ./internal/authn/... ./internal/metrics/... ./internal/sqlitedb/...
# Scripts against the built binary.
SCRIPTS := ./internal/cli/...

GENERATED := connectors/all/all.go schemas/project.json docs/reference/language.md docs/reference/connectors.md docs/reference/metrics.md docs/reference/expressions.md docs/reference/cli.md docs/explanation/pictures/*.svg
# Fuzz targets that must be there; any other one is run as well.
FUZZED := FuzzLoad FuzzExpression FuzzXML FuzzJSON FuzzIntake

SUMMARY := .cache/summary -tally .cache/tally.json

.PHONY: help
help: ## Print this.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

.PHONY: setup
setup: go ## Install what building and testing need: modules, a C compiler for the race detector, Node.js and a browser for two tests.
	@$(call need,cc,gcc libc6-dev,the race detector)
	@$(call need,curl,curl,the tests of the documentation)
	@$(call need,openssl,openssl,the tests of the documentation)
	@$(call need,node,nodejs,the test with the language server for YAML)
	@$(call need,npm,npm,the test with the language server for YAML)
	@$(call need,python3,python3,the tests with other clients of the APIs)
	@$(call need,pip3,python3-pip,the tests with other clients of the APIs)
	@$(call need,chromium,chromium,the test of a page in a browser)
	@$(call need,ip,iproute2,the tests through a firewall)
	@$(call need,nft,nftables,the tests through a firewall)
	@$(call need,promtool,prometheus,the tests of the alert rules and the dashboard)
	@$(call need,tinyproxy,tinyproxy,the tests through a firewall)
	@$(call need,rabbitmq-server,rabbitmq-server,the tests of the connector amqp)
	@$(call need,/usr/sbin/sshd,openssh-server,the tests of the connector sftp)
	@$(call need,/usr/sbin/vsftpd,vsftpd,the tests of the connector ftp)
	@[[ -x /usr/sbin/mosquitto ]] || $(call need,mosquitto,mosquitto,the tests of the connector mqtt)
	@[[ -n "$$(compgen -G '/usr/lib/postgresql/*/bin/postgres')" ]] || $(call need,postgres,postgresql,the tests of control planes that share a database)
	@[[ -x /usr/sbin/pgbouncer ]] || $(call need,pgbouncer,pgbouncer,the tests of a group of atoms)
	@$(call need,mariadbd,mariadb-server,the tests of the sql connector)
	@$(call need,dovecot,dovecot-imapd,the tests of the imap connector)
	@($(call need,javac,default-jdk-headless,the tests of the connectors amqp1, kafka and soap)) || :
	@($(call need,mvn,maven,the tests of the connectors amqp1, kafka and soap)) || :
	@$(call jars,artemis)
	@$(call jars,kafka)
	@$(call jars,cxf)
	@$(call wheels,spyne)
	@go mod download
	@mkdir -p .cache && go build -o .cache/summary ./internal/test/summary

.PHONY: go
go:
	@command -v go >/dev/null || { printf 'error: Go is not installed, or not on the PATH\ntry: install Go 1.26 or newer (https://go.dev/doc/install), then run this again\n' >&2; exit 3; }

# $(call need,PROGRAM,PACKAGES,WHAT FOR) installs Debian packages if the program is missing, where it may. Their daemons are not started.
define need
command -v $(1) >/dev/null || { \
	if [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
		echo "installing $(2) for $(3)"; \
		policy=/usr/sbin/policy-rc.d; \
		[[ -e $$policy ]] || { printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; trap "rm -f $$policy" EXIT; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
	else \
		printf 'error: %s is missing; %s needs it\ntry: sudo apt-get install %s, or what your system has for it\n' '$(1)' '$(3)' '$(2)' >&2; exit 3; \
	fi; }
endef

# $(call jars,NAME) downloads the jars of a server in Java, as its pom says, once. Without them its tests are skipped.
define jars
[[ .cache/jars/$(1)/done -nt internal/test/servers/testdata/$(1).xml ]] || { \
	echo "downloading the jars of $(1) for the tests"; \
	rm -rf .cache/jars/$(1) && mkdir -p .cache/jars/$(1) && \
	mvn -q -B -f internal/test/servers/testdata/$(1).xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/jars/$(1) && touch .cache/jars/$(1)/done || \
	printf 'warning: the jars of %s cannot be downloaded; the tests that need it are skipped\n' '$(1)' >&2; }
endef

# $(call wheels,NAME) installs the packages of a server in Python once. Without them its tests are skipped.
define wheels
[[ .cache/python/$(1)/done -nt internal/test/servers/testdata/$(1).txt ]] || { \
	echo "downloading the packages of $(1) for the tests"; \
	rm -rf .cache/python/$(1) && mkdir -p .cache/python/$(1) && \
	python3 -m pip install --quiet --disable-pip-version-check --no-input --target .cache/python/$(1) -r internal/test/servers/testdata/$(1).txt && touch .cache/python/$(1)/done || \
	printf 'warning: the packages of %s cannot be downloaded; the tests that need it are skipped\n' '$(1)' >&2; }
endef

.PHONY: build
build: go ## Build bin/valence; VERSION=1.2.3 names a release.
	@mkdir -p bin && go build -trimpath -ldflags '$(LDFLAGS)' -o bin/valence ./cmd/valence
	@[[ -z "$(VERSION)" ]] || bin/valence version | grep -qF "valence $(VERSION)" || { echo 'error: the program does not know its version' >&2; exit 1; }

.PHONY: demo
demo: build ## Show what it does on this machine: a shop, an ERP and an atom between them.
	@bin/valence demo

.PHONY: demo-group
demo-group: setup ## Kill two atoms and their database while 1,000 orders arrive; draw which atom delivered them.
	@go test -count=1 -v -run '^TestGroupDeliversInOrder$$' ./internal/test/crash

.PHONY: extension
extension: setup ## Pack the extension for Visual Studio Code as bin/valence.vsix.
	@mkdir -p bin && cd editors/vscode && npm ci --ignore-scripts --no-audit --no-fund && npm run package -- --out ../../bin/valence.vsix

# -- quality

.PHONY: check
check: setup ## Formatting, vet, staticcheck, import rules, wording, generated files, commit subjects.
	@$(MAKE) checks rules manifests subjects

.PHONY: checks
checks: format vet staticcheck generated

.PHONY: format
format: go
	@list=$$(find . -name '*.go' -not -path './.cache/*' -print0 | xargs -0 gofmt -l); [[ -z "$$list" ]] || { printf 'not formatted (gofmt -w mends it):\n%s\n' "$$list"; exit 1; }

.PHONY: vet
vet: go
	@go vet ./...
	@go vet -tags oracle ./connectors/sql

.PHONY: staticcheck
staticcheck: go
	@go tool staticcheck ./...

.PHONY: rules
rules: go
	@go test ./internal/test/archtest ./internal/test/prose

.PHONY: manifests
manifests: go ## Validate the files for Docker Compose and Kubernetes with the types of their tools.
	@cd internal/test/manifests && go vet ./... && go test -count=1 ./...

# Commits before the rule are not checked.
SUBJECTS_SINCE := 56d9b54

.PHONY: subjects
subjects:
	@git rev-parse -q --verify $(SUBJECTS_SINCE)^{commit} >/dev/null || { printf 'error: commit $(SUBJECTS_SINCE) is missing, so commit subjects cannot be checked\ntry: git fetch --unshallow\n' >&2; exit 3; }
	@bad=$$(git log --format=%s $(SUBJECTS_SINCE)..HEAD | awk 'length($$0) > 72 || $$0 !~ /^[a-z0-9\/.,_ -]+: [a-z]/'); \
		[[ -z "$$bad" ]] || { printf 'error: these commit subjects are not "area: imperative summary" of at most 72 characters:\n%s\ntry: git rebase -i $(SUBJECTS_SINCE)\n' "$$bad" >&2; exit 1; }

.PHONY: generate
generate: go ## Write the files that follow from others: the list of connectors, the schema, the reference.
	@go generate ./...

.PHONY: generated
generated: go
	@mkdir -p .cache && sha256sum $(GENERATED) > .cache/generated && go generate ./... && \
		sha256sum --quiet -c .cache/generated || { echo 'generated files were stale; they are written anew, commit them'; exit 1; }

.PHONY: vulnerabilities
vulnerabilities: go ## Look for known vulnerabilities in what the binary holds.
	@go tool govulncheck ./...

# -- tests

# All packages except those with a stage of their own: those tested with the race detector, and those that run the built program.
unit_packages = $$(go list ./... | grep -vxFf <(go list $(CONCURRENT)) | grep -vE '^valence/internal/(cli|test/(crash|examples|networks))(/|$$)')

.PHONY: race
race: setup ## The race detector on everything that runs at once.
	@go test -race $(CONCURRENT)

.PHONY: e2e
e2e: go ## End-to-end scripts against the built binary.
	@go test -count=1 $(SCRIPTS)

.PHONY: examples
examples: setup ## Run every example, every page of the documentation, and the language server.
	@go test -count=1 ./internal/test/examples/...

.PHONY: networks
networks: setup ## The relay through real networks: NAT, a proxy, a cut link. It needs root.
	@go test -count=1 -v ./internal/test/networks/...

.PHONY: crash
crash: go ## The crash campaign: ROUNDS kills (100), then power cuts, failing disks and the rest.
	@VALENCE_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -timeout 4h -v ./internal/test/crash/...

.PHONY: fuzz
fuzz: setup ## Every fuzz target, EXECUTIONS (50000) inputs each.
	@rm -f .cache/tally.json; status=0; $(MAKE) stage-fuzz || status=1; $(SUMMARY) total || status=1; exit $$status

.PHONY: bench
bench: go ## Measure against the hand-written baselines; writes docs/benchmarks.md.
	@$(call need,wrk,wrk,the benchmark)
	@go run ./internal/test/bench/cmd/bench

.PHONY: simulate
simulate: go ## Simulate 100,000 atoms and 1,000 groups that poll; ARGS='-atoms 10000 -planes 1' for others.
	@go run ./internal/test/simulate/cmd/simulate $(ARGS)

.PHONY: test
test: setup ## Everything that CI runs, with one line at the end: N passed, N failed, N skipped.
	@rm -f .cache/tally.json; status=0; \
	for stage in format vet staticcheck generated unit race e2e examples networks crash fuzz vulnerabilities; do \
		$(MAKE) stage-$$stage || status=1; \
	done; \
	$(SUMMARY) total || status=1; exit $$status

.PHONY: stage-format stage-vet stage-staticcheck stage-generated
stage-format stage-vet stage-staticcheck stage-generated: stage-%:
	@$(SUMMARY) step $* -- $(MAKE) $*

.PHONY: stage-unit
stage-unit:
	@$(SUMMARY) tests unit -- go test -timeout 5m $(unit_packages)

.PHONY: stage-race
stage-race:
	@$(SUMMARY) tests race -- go test -race -timeout 15m $(CONCURRENT)

.PHONY: stage-e2e
stage-e2e:
	@$(SUMMARY) tests e2e -- go test -count=1 -timeout 10m $(SCRIPTS)

.PHONY: stage-examples
stage-examples:
	@$(SUMMARY) tests examples -- go test -count=1 -timeout 10m ./internal/test/examples/...
	@cd internal/test/manifests && "$(CURDIR)/.cache/summary" -tally "$(CURDIR)/.cache/tally.json" tests manifests -- go test -count=1 ./...

.PHONY: stage-networks
stage-networks:
	@$(SUMMARY) tests networks -- go test -count=1 -timeout 10m ./internal/test/networks/...

.PHONY: stage-crash
stage-crash:
	@VALENCE_CRASH_ROUNDS=$(SHORT_ROUNDS) $(SUMMARY) tests crash -- go test -count=1 -timeout 15m ./internal/test/crash/...

.PHONY: stage-fuzz
stage-fuzz:
	@status=0; \
	found=$$(grep -rHoE --include='*_test.go' --exclude-dir=.cache '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|/[^/]*:func |/ |' | sort -u) || :; \
	for name in $(FUZZED); do \
		grep -q " $$name$$" <<<"$$found" || { $(SUMMARY) step "fuzz $$name" -- bash -c 'echo "there is no such fuzz target"; exit 1' || status=1; }; \
	done; \
	while read -r package name; do \
		[[ -n "$$name" ]] || continue; \
		$(SUMMARY) tests "fuzz $$name" -- go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(EXECUTIONS)x -fuzzminimizetime 1s "$$package" || status=1; \
	done <<<"$$found"; \
	exit $$status

.PHONY: stage-vulnerabilities
stage-vulnerabilities:
	@$(SUMMARY) vulnerabilities -- go tool govulncheck ./...

.PHONY: clean
clean: ## Remove what was built and fetched here.
	@rm -rf bin .cache
