package crash

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"valence/cloud/cloudtest"
)

// TestFleet measures the control plane's cost of VALENCE_FLEET idle atoms, and
// how they return after the control plane is killed. Without the variable the
// fleet is small.
func TestFleet(t *testing.T) {
	size, err := strconv.Atoi(os.Getenv("VALENCE_FLEET"))
	if err != nil {
		size = 200
	}
	watch := 60 * time.Second
	if size <= 1000 {
		watch = 2 * time.Second
	}
	c := &control{caller: caller{t: t, client: http.DefaultClient}, data: filepath.Join(t.TempDir(), "plane")}
	f, err := cloudtest.NewFleet(t.Context(), c.data, size)
	if err != nil {
		t.Fatal(err)
	}
	c.start()
	defer c.kill()
	start := time.Now()
	f.Start(t.Context(), c.url)
	defer f.Stop()
	if err := f.Await(t.Context(), 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d atoms are there after %v", size, time.Since(start).Round(time.Millisecond))

	cpu, commits, polls := c.cpu(), c.metric("valence_commit_batch_size_count"), f.Polls.Load()
	time.Sleep(watch) // the measured time must pass
	used := (c.cpu() - cpu).Seconds() / watch.Seconds()
	t.Logf("idle for %v: %.1f %% of a core, %d MiB, %.0f commits, %d polls", watch, 100*used, c.memory()>>20, c.metric("valence_commit_batch_size_count")-commits, f.Polls.Load()-polls)
	if size >= 10_000 && used > 0.25 || c.memory() > 1<<30 {
		t.Errorf("that is more than it may take")
	}

	t.Logf("one was refused for overload %d times at most", f.Refused())
	c.kill()
	f.NewRound()
	start = time.Now()
	c.start()
	if err := f.Await(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Logf("after a kill all are back in %v; refused for overload at most %d times", time.Since(start).Round(time.Millisecond), f.Refused())
	if f.Refused() > 2 {
		t.Errorf("one was refused %d times", f.Refused())
	}
}

// cpu returns the processor time of the control plane.
func (c *control) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		c.t.Skip("the processor time of the control plane is read from /proc, which this machine does not have: ", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	var ticks time.Duration
	for _, i := range []int{11, 12} { // utime, stime
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			c.t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// memory returns the resident memory in bytes.
func (c *control) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// metric returns one metric.
func (c *control) metric(name string) float64 {
	req, err := http.NewRequest(http.MethodGet, c.url+"/metrics", http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatalf("%s is not shown", name)
	return 0
}
