// Package bench measures an atom against programs written by hand for the same
// work: the same load, the same machine, in turns, medians of several rounds.
// `make bench` runs it and writes docs/benchmarks.md.
package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Config holds the settings of a run. Every field is set by the environment
// variable of the same name in capitals.
type Config struct {
	Bench       []string      // workloads; empty: all
	Rounds      int           // of each workload; the median counts
	Duration    time.Duration // of each measurement
	Warmup      time.Duration // before each measurement
	Connections int
	Threads     int           // of the load generator
	Backlog     int           // waiting messages
	History     int           // finished executions
	Processes   int           // loaded at once
	Failed      int           // failed executions to resubmit
	Waits       int           // executions that wait for a signal
	Requests    int           // execution requests in each round
	Fleet       int           // atoms on one control plane
	Idle        time.Duration // how long they are watched in each round
	Data        string        // data folder of the measured programs; must be on a disk
	Out         string        // the table
	Root        string        // of the repository
	Valence     string        // path of a built program; "" builds it
}

// ConfigFrom reads the configuration from environment variables.
func ConfigFrom(env func(string) string, root string) (Config, error) {
	c := Config{Root: root, Out: env("OUT"), Data: env("DATA"), Valence: env("VALENCE")}
	var wrong []error
	number := func(key string, fallback int) int {
		text := env(key)
		if text == "" {
			return fallback
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			wrong = append(wrong, fmt.Errorf("%s=%s: a whole number of at least 1 is expected", key, text))
		}
		return n
	}
	span := func(key string, fallback time.Duration) time.Duration {
		text := env(key)
		if text == "" {
			return fallback
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second || d%time.Second != 0 {
			wrong = append(wrong, fmt.Errorf("%s=%s: whole seconds such as 10s are expected", key, text))
		}
		return d
	}
	c.Rounds, c.Connections, c.Threads = number("ROUNDS", 3), number("CONNECTIONS", 64), number("THREADS", 2)
	c.Backlog, c.History, c.Processes = number("BACKLOG", 1_000_000), number("HISTORY", 10_000_000), number("PROCESSES", 2000)
	c.Failed, c.Waits = number("FAILED", 100_000), number("WAITS", 1_000_000)
	c.Requests, c.Fleet, c.Idle = number("REQUESTS", 300), number("FLEET", 10_000), span("IDLE", time.Minute)
	c.Duration, c.Warmup = span("DURATION", 10*time.Second), span("WARMUP", 2*time.Second)
	if c.Out == "" {
		c.Out = filepath.Join(root, "docs", "benchmarks.md")
	}
	known := map[string]bool{}
	for _, w := range workloads {
		known[w.key] = true
	}
	for key := range strings.FieldsFuncSeq(env("BENCH"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if !known[key] {
			wrong = append(wrong, fmt.Errorf("BENCH=%s: there is no such workload; there are %s", key, strings.Join(Workloads(), ", ")))
		}
		c.Bench = append(c.Bench, key)
	}
	return c, errors.Join(wrong...)
}

// Workloads returns the names of the workloads in alphabetical order.
func Workloads() []string {
	var keys []string
	for _, w := range workloads {
		keys = append(keys, w.key)
	}
	sort.Strings(keys)
	return keys
}

// Machine describes the machine of a run.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Disk   string `json:"disk"` // file system of the data folder
	Go     string `json:"go"`
	Load   string `json:"load"` // generator and its settings
}

// fileSystem returns the type of the file system that holds folder, and whether
// a flush there reaches a disk.
func fileSystem(folder string) (name string, onDisk bool, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return "", false, fmt.Errorf("file system of %s: %w", folder, err)
	}
	switch s.Type {
	case 0xEF53:
		return "ext4", true, nil
	case 0x58465342:
		return "xfs", true, nil
	case 0x9123683E:
		return "btrfs", true, nil
	case 0x794C7630:
		return "overlay", true, nil
	case 0x01021994:
		return "tmpfs", false, nil
	}
	return fmt.Sprintf("file system %#x", s.Type), true, nil
}

// fact returns the value of one "key : value" line of a file below /proc.
func fact(file, key string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
