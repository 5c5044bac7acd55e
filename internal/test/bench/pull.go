package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pull compares an atom that receives from a server with a hand-written program
// on the same client library. Each turn fills a new source first.
type pull struct {
	title, baseline string
	must            float64
	n               int
	// fill puts n messages into a source with a name of its own.
	fill func(ctx context.Context, source string) error
	// program receives the messages. It starts and ends within the measured time.
	program func(ctx context.Context, source string) error
	// project is the project of the atom. SOURCE stands for the name of the source.
	project string
	env     []string
	// finished returns how many messages the atom has dealt with.
	finished func(ctx context.Context, p *program, source string) (int, error)
}

// measurePull measures a pull in rounds. The time of the atom includes its start.
func (b *bench) measurePull(ctx context.Context, c *pull) (Row, error) {
	row := Row{Workload: c.title, Baseline: c.baseline, Unit: "messages/s", Must: c.must,
		Notes: []string{fmt.Sprintf("%d messages of 1 KiB in each round, with the start of the atom; load of the machine before %s", c.n, loadAverage())}}
	var bases, atoms []float64
	for round := range b.Rounds {
		var pair [2]float64
		for turn := range 2 {
			which := (turn + round) % 2
			source := fmt.Sprintf("s%d%d", round, which)
			if err := c.fill(ctx, source); err != nil {
				return row, fmt.Errorf("fill: %w", err)
			}
			var took time.Duration
			var err error
			if which == 0 {
				began := time.Now()
				err = c.program(ctx, source)
				took = time.Since(began)
			} else {
				took, err = b.pulled(ctx, c, source)
			}
			if err != nil {
				return row, err
			}
			pair[which] = float64(c.n) / took.Seconds()
		}
		b.say("  round %d: %s of %s messages/s (%.2f)", round+1, figure(pair[1]), figure(pair[0]), pair[1]/pair[0])
		bases, atoms, row.Rounds = append(bases, pair[0]), append(atoms, pair[1]), append(row.Rounds, pair)
	}
	row.Base, row.Atom = median(bases), median(atoms)
	return row, nil
}

// pulled starts an atom and returns the time until it has dealt with all messages.
func (b *bench) pulled(ctx context.Context, c *pull, source string) (took time.Duration, err error) {
	folder, err := os.MkdirTemp(b.folder, "pull-")
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(folder, "project.yaml"), []byte(strings.ReplaceAll(c.project, "SOURCE", source)), 0o600); err != nil {
		return 0, err
	}
	p, err := b.startAtom(ctx, folder, "", "", c.env...)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, p.tail())
		}
		err = errors.Join(err, p.discard())
	}()
	deadline := p.started.Add(3 * time.Minute)
	for last := 0; ; {
		select {
		case <-time.After(200 * time.Millisecond): // the metrics cost something
		case <-p.exited:
			return 0, errors.New("the atom has ended")
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		n, err := c.finished(ctx, p, source)
		if n >= c.n {
			return time.Since(p.started), nil
		}
		if last = max(n, last); time.Now().After(deadline) {
			return 0, fmt.Errorf("%d of %d messages after %v (%v)", last, c.n, time.Since(p.started), err)
		}
	}
}

// completed returns how many executions have ended. The processes here cannot fail.
func completed(ctx context.Context, p *program, _ string) (int, error) {
	n, err := p.metric(ctx, "valence_executions_total")
	return int(n), err
}

// loadAverage returns the load of the machine.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:1], "")
}
