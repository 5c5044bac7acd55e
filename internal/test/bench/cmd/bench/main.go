// Command bench measures an atom against hand-written programs and writes
// docs/benchmarks.md. It is set by variables:
//
//	BENCH=w1,w3      only these workloads: w1 w2 w2e2e w3 soap ack start processes idle backlog history
//	                 resubmit waits replies relay fleet sequence lsp author amqp nats kafka table each carry
//	ROUNDS=3         rounds of each; the median counts
//	DURATION=10s     of each measurement
//	WARMUP=2s        before each measurement
//	CONNECTIONS=64   of the load generator; THREADS=2
//	BACKLOG=1000000  messages waiting
//	HISTORY=10000000 finished executions
//	FAILED=100000    failed executions to be run again
//	PROCESSES=2000   loaded at once
//	WAITS=1000000    executions that wait for a signal
//	REQUESTS=300     execution requests to an atom, in each round
//	FLEET=10000      atoms on one control plane; IDLE=1m, how long they are watched in each round (a single one 65 s at least)
//	DATA=DIR         where data is kept while measuring: it must lie on a disk
//	VALENCE=FILE     a program that is built already
//	OUT=FILE         the table
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"valence/internal/test/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		fail(2, fmt.Errorf("run this inside the repository: %w", err))
	}
	c, err := bench.ConfigFrom(os.Getenv, strings.TrimSpace(string(out)))
	if err != nil {
		fail(2, err)
	}
	if err := bench.Run(ctx, c, os.Stderr); err != nil {
		stop()
		fail(1, err)
	}
	fmt.Println(c.Out)
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(code)
}
