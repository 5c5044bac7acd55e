package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Sizes of the work of the author's tools.
const (
	lintedProcesses = 1000
	authorTests     = 1000
	replays         = 10_000
)

// authorTools measures lint, tests, crash tests, live changes and replays.
func (b *bench) authorTools(ctx context.Context) ([]Row, error) {
	many, err := b.written(lintedProcesses)
	if err != nil {
		return nil, err
	}
	tests, err := b.testProject("tests", 2, authorTests)
	if err != nil {
		return nil, err
	}
	crashes, err := b.testProject("crashes", 8, 1)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, w := range []struct {
		name string
		most float64 // s
		args []string
	}{
		{"Lint of 1,000 processes", 1, []string{"lint", many}},
		{"1,000 tests of a process with two calls", 5, []string{"test", tests}},
		{"Crash test of a process with eight calls, --kill-at=every-step", 5, []string{"test", crashes, "--kill-at=every-step"}},
	} {
		row := Row{Workload: w.name, Unit: "s", Must: w.most, Least: true, Notes: []string{"the whole command, valence " + w.args[0]}}
		if err := b.timed(ctx, &row, w.args...); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	live, err := b.liveReload(ctx)
	if err != nil {
		return nil, err
	}
	replay, err := b.replayed(ctx)
	return append(rows, live, replay), err
}

// timed runs a command in each round, and sets the figures of a row.
func (b *bench) timed(ctx context.Context, row *Row, args ...string) error {
	var times []float64
	for range b.Rounds {
		cmd := exec.CommandContext(ctx, b.valence, args...)
		cmd.Dir = b.folder
		begin := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("valence %s: %w\n%s", args[0], err, out)
		}
		times = append(times, time.Since(begin).Seconds())
		row.Rounds = append(row.Rounds, [2]float64{0, times[len(times)-1]})
	}
	row.Atom = median(times)
	return nil
}

// testProject writes a process with a number of calls, and a test with cases.
func (b *bench) testProject(name string, calls, cases int) (string, error) {
	var text strings.Builder
	text.WriteString("connection: erp\nconnector: http\nidempotent: key\nurl: http://127.0.0.1:9\n---\nprocess: steps\nsteps:\n")
	for i := range calls {
		fmt.Fprintf(&text, "  - call: erp.post\n    with: { path: /%d }\n", i)
	}
	text.WriteString("---\ntest: all steps\ntarget: steps\ninput: { id: 1 }\nmocks: { erp.post: { reply: { n: 1 } } }\ncases:\n")
	for i := range cases {
		fmt.Fprintf(&text, "  - name: case %d\n", i)
	}
	folder := filepath.Join(b.folder, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	return folder, os.WriteFile(filepath.Join(folder, "p.yaml"), []byte(text.String()), 0o644)
}

// replayed measures the replay of requests that an atom has answered.
func (b *bench) replayed(ctx context.Context) (_ Row, err error) {
	row := Row{Workload: "Replay of 10,000 executions", Unit: "s", Must: 20, Least: true,
		Notes: []string{"valence replay on the same version, from the history of an atom on the same machine"}}
	project, err := b.written(2)
	if err != nil {
		return row, err
	}
	p, _, err := b.started(ctx, project, time.Minute)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, p.discard()) }()
	if err := postOrders(p.url+"/answer/0", replays); err != nil {
		return row, err
	}
	select {
	case <-time.After(3 * time.Second): // they reach the history within a second
	case <-ctx.Done():
		return row, ctx.Err()
	}
	err = b.timed(ctx, &row, "replay", project, "--process", "answer-0", "--last", fmt.Sprint(replays), "--data", p.data)
	return row, err
}

// postOrders posts n orders, 8 at a time.
func postOrders(url string, n int) error {
	const order = `{"order_id":1,"total":20,"customer":{"name":"Ada"},"lines":[{"sku":"TEA","qty":2,"price":10}]}`
	var workers sync.WaitGroup
	errs := make([]error, 8)
	for w := range errs {
		workers.Go(func() {
			for range n / len(errs) {
				r, err := http.Post(url, "application/json", strings.NewReader(order))
				if err == nil {
					err = r.Body.Close()
				}
				if err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}
