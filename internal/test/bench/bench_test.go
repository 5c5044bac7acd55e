package bench

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/internal/test/bench/baseline/order"
	"valence/processes"
	"valence/processes/loader"
)

func TestConfig(t *testing.T) {
	env := map[string]string{"BENCH": "w1, w3", "DURATION": "3s", "BACKLOG": "10"}
	c, err := ConfigFrom(func(k string) string { return env[k] }, "/root")
	if err != nil || len(c.Bench) != 2 || c.Duration != 3*time.Second || c.Backlog != 10 || c.Rounds != 3 || c.Out != "/root/docs/benchmarks.md" {
		t.Errorf("got %+v %v, want len(c.Bench) 2, Duration %v, Backlog 10, Rounds 3, Out /root/docs/benchmarks.md and no error", c, err, 3*time.Second)
	}
	for key, value := range map[string]string{"BENCH": "w9", "DURATION": "1ms", "ROUNDS": "0", "BACKLOG": "many"} {
		if _, err := ConfigFrom(func(k string) string { return map[string]string{key: value}[k] }, "/root"); err == nil || !strings.Contains(err.Error(), key+"="+value) {
			t.Errorf("%s=%s: got %v, want an error with %q", key, value, err, key+"="+value)
		}
	}
}

func TestRow(t *testing.T) {
	tests := []struct {
		row     Row
		verdict string
		line    string
	}{
		{Row{Workload: "w", Baseline: "b", Unit: "r/s", Base: 20000, Atom: 16000, Must: 0.5, Aim: 0.75}, "aim", "w: 16,000 of 20,000 r/s = 0.80, must ≥ 0.50 ×: aim"},
		{Row{Workload: "w", Baseline: "b", Unit: "r/s", Base: 20000, Atom: 12345, Must: 0.5, Aim: 0.75}, "reached", "w: 12,345 of 20,000 r/s = 0.62, must ≥ 0.50 ×: reached"},
		{Row{Workload: "w", Baseline: "b", Unit: "r/s", Base: 20000, Atom: 999, Must: 0.5, Aim: 0.75}, "**missed**", "w: 999 of 20,000 r/s = 0.05, must ≥ 0.50 ×: **missed**"},
		{Row{Workload: "w", Unit: "ms", Atom: 49.5, Must: 150, Aim: 50, Least: true}, "aim", "w: 49.5 ms, must ≤ 150 ms: aim"},
		{Row{Workload: "w", Unit: "ms", Atom: 151, Must: 150, Aim: 50, Least: true}, "**missed**", "w: 151 ms, must ≤ 150 ms: **missed**"},
		{Row{Workload: "w", Baseline: "b", Unit: "ms", Base: 0.2, Atom: 0.25, Must: 1.5, Aim: 1.1, Least: true}, "reached", "w: 0.25 of 0.2 ms = 1.25, must ≤ 1.50 ×: reached"},
		{Row{Workload: "w", Baseline: "b", Unit: "ms", Base: 0.2, Atom: 0.25, Least: true}, "–", "w: 0.25 of 0.2 ms = 1.25, must –: –"},
	}
	for _, test := range tests {
		if got := test.row.verdict(); got != test.verdict {
			t.Errorf("%+v: %s, want %s", test.row, got, test.verdict)
		}
		if got := test.row.line(); got != test.line {
			t.Errorf("got %q, want %q", got, test.line)
		}
	}
	for v, want := range map[float64]string{1234567.4: "1,234,567", 1000: "1,000", 999.6: "1000", 12.34: "12.3", 0.1234: "0.123"} {
		if got := figure(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

// TestReport checks that rows which a run does not measure are copied from the
// previous run.
func TestReport(t *testing.T) {
	out := filepath.Join(t.TempDir(), "docs", "benchmarks.md")
	r, err := readReport(out)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 11, 9, 30, 0, 0, time.UTC)
	r.replace("w3", []Row{{Workload: "three", Baseline: "b", Unit: "r/s", Base: 2, Atom: 1, Must: 0.6}}, Machine{CPU: "x"}, at)
	r.replace("w1", []Row{{Workload: "one", Baseline: "b", Unit: "r/s", Base: 2, Atom: 1, Must: 0.5, Rounds: [][2]float64{{2, 1}, {4, 3}}, Notes: []string{"n"}}}, Machine{CPU: "x"}, at)
	if err := r.write(out); err != nil {
		t.Fatal(err)
	}
	if r, err = readReport(out); err != nil {
		t.Fatal(err)
	}
	r.replace("w3", []Row{{Workload: "three again", Unit: "ms", Atom: 1, Must: 2, Least: true}}, Machine{CPU: "y"}, at)
	text := string(r.markdown())
	for _, want := range []string{
		"| processor | y, 0 cores |",
		"| one | 2 r/s (b) | 1 r/s | 0.50 | ≥ 0.50 × | – | reached |\n| three again | – | 1 ms | – | ≤ 2 ms | – | reached |",
		"- **one** (2026-05-11 09:30): 1 of 2; 3 of 4. n.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestOrder(t *testing.T) {
	b := order.New("t-1-000000001")
	if len(b) != order.Size {
		t.Errorf("got %d bytes, want %v", len(b), order.Size)
	}
	want := `{"orderId":"t-1-000000001","customerId":"C-48213","customerName":"Ana Oliveira","email":"ana.oliveira@example.com",` +
		`"city":"Lisboa","country":"PT","currency":"EUR","total":1289.45,"lineCount":3,"firstSku":"SKU-10021"}`
	if got := string(order.Map(b)); got != want {
		t.Errorf("got %s, want %q", got, want)
	}
	if !strings.Contains(string(script), `"note":"`) || !strings.Contains(string(order.New("x")), `"total":1289.45,"status":"new"`) {
		t.Error("the load and the baselines disagree about an order")
	}
}

// TestBaselines builds the baselines and starts each one.
func TestBaselines(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Config: Config{Root: root, Valence: "not built"}, folder: t.TempDir()}
	b.data = b.folder
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.build(ctx); err != nil {
		t.Fatal(err)
	}
	sink, err := b.sink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.stop()
	handler, err := b.baseline(ctx, "handler", "-source", sink.url)
	if err != nil {
		t.Fatal(err)
	}
	defer handler.stop()
	for path, kind := range map[string]string{"/map": "order", "/fetch": "fetch", "/soap": "fetch"} {
		if err := b.agree(ctx, handler.url+path, kind); err != nil {
			t.Error(err)
		}
	}
	appender, err := b.baseline(ctx, "appender", "-sink", sink.url+"/sink")
	if err != nil {
		t.Fatal(err)
	}
	defer appender.stop()
	if _, err := post(ctx, httpClient(t), appender.url, order.New("a-1")); err != nil {
		t.Fatal(err)
	}
	for now, err := stats(ctx, sink.url); now.Unique != 1; now, err = stats(ctx, sink.url) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if now, _, err := appender.memory(); err != nil || now < 1 {
		t.Errorf("got %v MiB, %v, want at least 1 and no error", now, err)
	}
}

func httpClient(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestProjects checks that the measured projects lint without problems.
func TestProjects(t *testing.T) {
	b := &bench{folder: t.TempDir()}
	written, err := b.written(4)
	if err != nil {
		t.Fatal(err)
	}
	catalog := &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("1")}
	for folder, count := range map[string]int{"project": 11, written: 4} {
		files, err := loader.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		p, problems := loader.Load(files, catalog)
		if len(problems) > 0 {
			t.Fatalf("got %v, want no problems", problems)
		}
		if len(p.Processes) != count {
			t.Errorf("%s: got %d processes, want %v", folder, len(p.Processes), count)
		}
	}
}
