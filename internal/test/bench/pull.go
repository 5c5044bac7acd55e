package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pull compares an atom that receives from a server with a hand-written program
// on the same client library. Each turn fills a new source first. The measured
// time begins when the messages wait and the receiver connects: the
// program when it is called, the atom, which runs already, when its paused
// subscription is resumed. It ends when the last message is done.
type pull struct {
	title, baseline string
	must            float64
	n               int
	// fill puts n messages into a source with a name of its own.
	fill func(ctx context.Context, source string) error
	// program receives the messages. It starts and ends within the measured time.
	program func(ctx context.Context, source string) error
	// project is the project of the atom, with one process of the given name.
	// SOURCE stands for the name of the source.
	project, process string
	env              []string
	// finished returns how many messages the atom has dealt with.
	finished func(ctx context.Context, p *program, source string) (int, error)
}

// measurePull measures a pull in rounds.
func (b *bench) measurePull(ctx context.Context, c *pull) (Row, error) {
	row := Row{Workload: c.title, Baseline: c.baseline, Unit: "messages/s", Must: c.must,
		Notes: []string{fmt.Sprintf("%d messages of 1 KiB in each round; load of the machine before %s", c.n, loadAverage())}}
	var bases, atoms []float64
	for round := range b.Rounds {
		var pair [2]float64
		for turn := range 2 {
			which := (turn + round) % 2
			source := fmt.Sprintf("s%d%d", round, which)
			var took time.Duration
			var err error
			if which == 0 {
				took, err = c.plain(ctx, source)
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

// plain runs the hand-written program and returns the time until it has dealt
// with all messages.
func (c *pull) plain(ctx context.Context, source string) (time.Duration, error) {
	if err := c.fill(ctx, source); err != nil {
		return 0, fmt.Errorf("fill: %w", err)
	}
	began := time.Now()
	err := c.program(ctx, source)
	return time.Since(began), err
}

// pulled starts an atom and returns the time from resuming its subscription
// until it has dealt with all messages.
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
	if err := p.ready(ctx, "/readyz", http.StatusOK, time.Minute); err != nil {
		return 0, err
	}
	if err := p.trigger(ctx, c.process, "pause"); err != nil {
		return 0, err
	}
	if err := c.fill(ctx, source); err != nil {
		return 0, fmt.Errorf("fill: %w", err)
	}
	began := time.Now()
	if err := p.trigger(ctx, c.process, "resume"); err != nil {
		return 0, err
	}
	deadline := began.Add(3 * time.Minute)
	for last, wait := 0, minPoll; ; {
		select {
		case <-time.After(wait):
		case <-p.exited:
			return 0, errors.New("the atom has ended")
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		n, err := c.finished(ctx, p, source)
		if n >= c.n {
			return time.Since(began), nil
		}
		wait = minPoll
		if n > 0 {
			wait = min(max(time.Since(began)*time.Duration(c.n-n)/time.Duration(n)/2, minPoll), maxPoll)
		}
		if last = max(n, last); time.Now().After(deadline) {
			return 0, fmt.Errorf("%d of %d messages after %v (%v)", last, c.n, time.Since(began), err)
		}
	}
}

// An atom is asked whether it is done after half of the time that it still needs
// by its speed so far, within these bounds: the answer costs it something.
const (
	minPoll = 10 * time.Millisecond
	maxPoll = 500 * time.Millisecond
)

// trigger pauses or resumes the trigger of a process.
func (p *program) trigger(ctx context.Context, process, action string) error {
	token, err := os.ReadFile(filepath.Join(p.data, "admin.token"))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.admin+"/api/v1/processes/"+process+"/"+action, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s %s answered %s: %s", action, process, resp.Status, text)
	}
	return nil
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
