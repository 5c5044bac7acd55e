package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// bench is one benchmark run.
type bench struct {
	Config
	log     io.Writer
	folder  string // binaries, logs, script
	data    string // data folder of the measured programs
	valence string
	tag     int // of the latest load; ids never repeat
}

// workload is one selectable measurement.
type workload struct {
	key string
	run func(*bench, context.Context) ([]Row, error)
}

var workloads = []workload{
	{"w1", (*bench).requestReply},
	{"w2", (*bench).acknowledge},
	{"w2e2e", (*bench).deliver},
	{"w3", (*bench).fetch},
	{"soap", (*bench).soap},
	{"ack", (*bench).alone},
	{"start", (*bench).coldStart},
	{"processes", (*bench).manyProcesses},
	{"idle", (*bench).idle},
	{"backlog", (*bench).waiting},
	{"history", (*bench).history},
	{"resubmit", (*bench).resubmission},
	{"waits", (*bench).waits},
	{"replies", (*bench).replies},
	{"relay", (*bench).relay},
	{"fleet", (*bench).fleet},
	{"sequence", (*bench).sequenced},
	{"lsp", (*bench).typing},
	{"author", (*bench).authorTools},
	{"amqp", (*bench).rabbit},
	{"nats", (*bench).stream},
	{"kafka", (*bench).kafka},
	{"table", (*bench).table},
	{"each", (*bench).each},
	{"carry", (*bench).carry},
}

// Run measures the configured workloads and writes the table. Rows of other
// workloads are copied from the previous run.
func Run(ctx context.Context, c Config, log io.Writer) error {
	if err := needWrk(ctx); err != nil {
		return err
	}
	b := &bench{Config: c, log: log}
	var err error
	if b.folder, err = os.MkdirTemp("", "valence-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	if b.data = c.Data; b.data == "" {
		b.data = filepath.Join(b.folder, "data")
	}
	if err := os.MkdirAll(b.data, 0o700); err != nil {
		return err
	}
	disk, onDisk, err := fileSystem(b.data)
	if err != nil {
		return err
	}
	if !onDisk {
		return fmt.Errorf("%s is in memory (%s), so a flush costs nothing; set DATA to a folder on a disk", b.data, disk)
	}
	if err := os.WriteFile(filepath.Join(b.folder, "load.lua"), script, 0o600); err != nil {
		return err
	}
	b.say("building")
	if err := b.build(ctx); err != nil {
		return err
	}
	report, err := readReport(c.Out)
	if err != nil {
		return err
	}
	machine := b.machine(disk)
	var failed []error
	for _, w := range workloads {
		if len(c.Bench) > 0 && !slices.Contains(c.Bench, w.key) {
			continue
		}
		b.say("%s", w.key)
		begin := time.Now()
		rows, err := w.run(b, ctx)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.key, err))
			b.say("%s failed: %v", w.key, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		for i := range rows {
			rows[i].Took = time.Since(begin).Round(time.Second).String()
			b.say("  %s", rows[i].line())
		}
		report.replace(w.key, rows, machine, begin)
		if err := report.write(c.Out); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }

func (b *bench) project() string {
	return filepath.Join(b.Root, "internal", "test", "bench", "project")
}

func (b *bench) machine(disk string) Machine {
	wrk, _ := exec.Command("wrk", "-v").CombinedOutput()
	version, _, _ := strings.Cut(string(wrk), "\n")
	version, _, _ = strings.Cut(version, " Copyright")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return Machine{
		CPU: fact("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: gib(fact("/proc/meminfo", "MemTotal")),
		Kernel: strings.TrimSpace(string(kernel)), Disk: disk, Go: runtime.Version(),
		Load: fmt.Sprintf("%s, %d connections, %d threads, %v after %v of warm-up, %d rounds", strings.TrimSpace(version),
			b.Connections, b.Threads, b.Duration, b.Warmup, b.Rounds),
	}
}

func gib(text string) string {
	n, err := kib(text)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%.0f GiB", n/1024)
}

// post sends one document and returns the response body.
func post(ctx context.Context, client *http.Client, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("POST %s answered %s: %s", url, resp.Status, answer)
	}
	return answer, err
}

// joined joins the error of a deferred function.
func joined(err error, f func() error) error { return errors.Join(err, f()) }

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
