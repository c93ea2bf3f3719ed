# One target a verb. CI calls nothing else than these.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(BIN)/tools
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X main.version=$(VERSION)

# Programs that only tests need may stand there (scripts/setup.sh).
export PATH := $(TOOLS):$(PATH)
export GOTESTSUM_FORMAT ?= standard-quiet

STATICCHECK_VERSION := v0.8.2
GOLANGCI_VERSION    := v2.15.0
GOTESTSUM_VERSION   := v1.13.0

# What is tested, and added to each run of `go test`: make test PKGS=./pkg/sink TESTFLAGS='-v -run Golden'
PKGS      ?= ./...
TESTFLAGS ?=
VMTESTFLAGS ?=
# Executions, not seconds: when a time is over, Go 1.26's fuzzer at times calls that a failure (golang/go#75804).
FUZZTIME  ?= 200000x

# Tests that measure share their cores with whatever else runs there. One that fails is run again by itself, up to twice, and the
# run says so ("DONE 2 runs"); more than eight failures, a data race, a panic or a failure to build are final at once.
GOTESTSUM := $(TOOLS)/gotestsum-$(GOTESTSUM_VERSION) \
	--rerun-fails=2 --rerun-fails-max-failures=8 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race

# These measure in namespaces, where the race detector would be what is measured; config starts no goroutine. The others
# run with -short: what one goroutine does again and again, it does less often.
NO_RACE := /internal/(lab|e2e|config)$$|/scripts/|/cmd/

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/llama-agent
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/llama-agent ./cmd/llama-agent

.PHONY: test
test: $(TOOLS)/gotestsum-$(GOTESTSUM_VERSION) ## set up what tests need, vet, run all tests (root: namespaces too), then once more with the race detector
	./scripts/setup.sh test
	$(GO) vet $(PKGS)
	$(GOTESTSUM) --packages='$(PKGS)' -- -p 1 -count=1 -timeout 25m $(TESTFLAGS)
	@racy="$$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' $(PKGS) | grep -vE '$(NO_RACE)' || true)"; \
	if [ -z "$$racy" ]; then exit 0; fi; \
	if [ "$$($(GO) env CGO_ENABLED)" != 1 ]; then echo "race detector left out: it needs a C compiler (apt-get install gcc libc6-dev)"; \
		[ -z "$${LLAMA_TEST_NOSKIP:-}" ]; exit; fi; \
	echo "$(GO) test -race -short" $$racy; $(GOTESTSUM) --packages="$$(echo $$racy)" -- -race -short -p 1 -count=1 -timeout 25m $(TESTFLAGS)

.PHONY: test-vm
test-vm: ## the same tests on Debian's kernels, emulated, a line each (KERNEL=6.1 for one; docs/vm-test.md)
	./scripts/setup.sh vm
	PKGS='$(PKGS)' VMTESTFLAGS='$(VMTESTFLAGS)' $(GO) run ./scripts/vm-test

.PHONY: demo
demo: build ## three hosts in namespaces, a fault in the fabric, and how it shows (20 s; DEMO=forever)
	$(GO) run ./scripts/demo

.PHONY: bench
bench: build ## ours beside irtt, sockperf and a plain C echo, in one table
	./scripts/bench/run

.PHONY: lint
lint: $(TOOLS)/staticcheck-$(STATICCHECK_VERSION) $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) ## gofmt, vet, staticcheck, golangci-lint (import rules in .golangci.yml)
	@unformatted="$$(gofmt -l cmd internal pkg scripts)"; \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags vm ./cmd/... ./pkg/... ./internal/...
	$(TOOLS)/staticcheck-$(STATICCHECK_VERSION) ./...
	$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) run ./...

.PHONY: check
check: lint test ## lint, then test

# Built with the Go at hand: a linter built with an older one refuses this module.
$(TOOLS)/staticcheck-$(STATICCHECK_VERSION):
	@echo "building staticcheck $(STATICCHECK_VERSION) into bin/tools"
	GOBIN=$(TOOLS)/new $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	mv $(TOOLS)/new/staticcheck $@

$(TOOLS)/gotestsum-$(GOTESTSUM_VERSION):
	@echo "building gotestsum $(GOTESTSUM_VERSION) into bin/tools"
	GOBIN=$(TOOLS)/new $(GO) install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
	mv $(TOOLS)/new/gotestsum $@

$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION):
	@echo "building golangci-lint $(GOLANGCI_VERSION) into bin/tools (minutes, once)"
	GOBIN=$(TOOLS)/new $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/new/golangci-lint $@

# The one place that says which clang: another one makes another object.
CLANG_VERSION := 19

# Where Debian keeps the kernel's headers of an architecture (asm/types.h).
MULTIARCH = $(shell gcc -print-multiarch)

.PHONY: generate
generate: ## compile bpf/ into pkg/loader (clang of one version; installed if missing)
	CLANG_VERSION=$(CLANG_VERSION) ./scripts/setup.sh generate
	BPF2GO_CC=clang-$(CLANG_VERSION) BPF2GO_STRIP=llvm-strip-$(CLANG_VERSION) \
	BPF2GO_CFLAGS='-idirafter /usr/include/$(MULTIARCH)' $(GO) generate ./pkg/loader

.PHONY: generate-check
generate-check: generate ## fail if what is committed in pkg/loader is not what bpf/ compiles to
	@changed="$$(git status --porcelain -- pkg/loader/llama_bpf*)"; \
	if [ -n "$$changed" ]; then echo "not what bpf/ compiles to, with:"; clang-$(CLANG_VERSION) --version | head -n 1; \
		echo "$$changed"; git --no-pager diff --stat -- pkg/loader/llama_bpf*; exit 1; fi

.PHONY: fuzz
fuzz: ## each native fuzz target for FUZZTIME (200000x: so many executions)
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|^(.*)/[^/]+:[0-9]+:func (.*)$$|\1 \2|' | sort -u \
	| while read -r dir target; do \
		echo "fuzz $$dir $$target for $(FUZZTIME)"; \
		$(GO) test "$$dir" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x < /dev/null; \
	done

.PHONY: clean
clean: ## remove what was built, the linters in bin/tools too
	rm -rf $(BIN)
