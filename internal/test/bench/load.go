package bench

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed load.lua
var script []byte

// load is one result of wrk.
type load struct {
	Requests     int64   `json:"requests"`
	Microseconds float64 `json:"microseconds"`
	P50          float64 `json:"p50"` // milliseconds, as are the next ones
	P90          float64 `json:"p90"`
	P99          float64 `json:"p99"`
	Max          float64 `json:"max"`
	Status       int     `json:"status"` // responses outside 2xx and 3xx
	Connect      int     `json:"connect"`
	Read         int     `json:"read"`
	Write        int     `json:"write"`
	Timeout      int     `json:"timeout"`
}

// rate returns requests per second.
func (l *load) rate() float64 { return float64(l.Requests) / (l.Microseconds / 1e6) }

// drive sends load to a URL. A failed or missing response fails the measurement,
// because fast rejections would count as speed.
func (b *bench) drive(ctx context.Context, url, kind string, connections int, d time.Duration) (*load, error) {
	b.tag++
	cmd := exec.CommandContext(ctx, "wrk", "-t", strconv.Itoa(min(b.Threads, connections)), "-c", strconv.Itoa(connections),
		"-d", strconv.Itoa(int(d.Seconds()))+"s", "--timeout", "20s", "--latency", "-s", filepath.Join(b.folder, "load.lua"), url)
	cmd.Env = append(os.Environ(), "KIND="+kind, "TAG=r"+strconv.Itoa(b.tag))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	_, result, ok := strings.Cut(string(out), "\nRESULT ")
	if !ok {
		return nil, fmt.Errorf("wrk gave no result:\n%s", out)
	}
	result, _, _ = strings.Cut(result, "\n")
	l := &load{}
	if err := json.Unmarshal([]byte(result), l); err != nil {
		return nil, fmt.Errorf("wrk's result %s: %w", result, err)
	}
	if l.Status+l.Connect+l.Read+l.Write+l.Timeout > 0 {
		return nil, fmt.Errorf("%s: of %d requests %d were answered with an error, %d with nothing in time; connections: %d not made, %d broken",
			url, l.Requests, l.Status, l.Timeout, l.Connect, l.Read+l.Write)
	}
	return l, nil
}

// needWrk finds the load generator, or installs it if the system allows that.
func needWrk(ctx context.Context) error {
	if _, err := exec.LookPath("wrk"); err == nil {
		return nil
	}
	_, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return errors.New("the load generator wrk is not installed (Debian, Ubuntu: apt-get install wrk)")
	}
	cmd := exec.CommandContext(ctx, "apt-get", "install", "--yes", "--no-install-recommends", "wrk")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get install wrk: %w\n%s", err, out)
	}
	return nil
}
