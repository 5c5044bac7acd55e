package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// contest is one measurement of two programs in turns.
type contest struct {
	title, baseline, unit string
	must, aim             float64
	program               []string // of the baseline, with its flags; SINK stands for the destination's URL
	path, atomPath        string
	kind                  string // of the load
	answers               bool   // both must return the same document
	// measure returns the figure of one round. If it is nil, the figure is
	// requests per second.
	measure func(ctx context.Context, p *program, url, sink string) (float64, error)
}

// duel runs the rounds of a contest and returns its row.
func (b *bench) duel(ctx context.Context, c *contest) (row Row, err error) {
	row = Row{Workload: c.title, Baseline: c.baseline, Unit: c.unit, Must: c.must, Aim: c.aim}
	sink, err := b.sink(ctx)
	if err != nil {
		return row, err
	}
	defer sink.stop()
	var bases, atoms []float64
	for round := range b.Rounds {
		pair := [2]float64{}
		for turn := range 2 {
			atom := (turn+round)%2 == 1
			v, err := b.turn(ctx, c, atom, sink)
			if err != nil {
				return row, err
			}
			if atom {
				pair[1] = v
			} else {
				pair[0] = v
			}
		}
		bases, atoms = append(bases, pair[0]), append(atoms, pair[1])
		row.Rounds = append(row.Rounds, pair)
		b.say("  round %d: %s of %s %s (%.2f)", round+1, figure(pair[1]), figure(pair[0]), c.unit, pair[1]/pair[0])
	}
	row.Base, row.Atom = median(bases), median(atoms)
	return row, nil
}

// turn starts one of the two programs, measures it and removes it.
func (b *bench) turn(ctx context.Context, c *contest, atom bool, sink *program) (v float64, err error) {
	var p *program
	path := c.path
	if atom {
		path = c.atomPath
		p, err = b.atom(ctx, b.project(), "", sink.url)
	} else {
		p, err = b.baseline(ctx, c.program[0], with(c.program[1:], sink.url)...)
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, p.tail())
		}
		err = errors.Join(err, p.discard())
	}()
	if c.answers {
		if err := b.agree(ctx, p.url+path, c.kind); err != nil {
			return 0, err
		}
	}
	if c.measure != nil {
		return c.measure(ctx, p, p.url+path, sink.url)
	}
	if _, err := b.drive(ctx, p.url+path, c.kind, b.Connections, b.Warmup); err != nil {
		return 0, err
	}
	l, err := b.drive(ctx, p.url+path, c.kind, b.Connections, b.Duration)
	if err != nil {
		return 0, err
	}
	return l.rate(), nil
}

func with(args []string, sink string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; a == "SINK" {
			out[i] = sink
		} else if a == "SINK/sink" {
			out[i] = sink + "/sink"
		}
	}
	return out
}

// agree checks that the response contains the ten fields of the order.
func (b *bench) agree(ctx context.Context, url, kind string) error {
	const id = "agree-1"
	record := order.New(id)
	body := record
	if kind == "fetch" {
		body = []byte(`{"id":"` + id + `"}`)
	}
	answer, err := post(ctx, http.DefaultClient, url, body)
	if err != nil {
		return err
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(answer, &got), json.Unmarshal(order.Map(record), &want)); err != nil {
		return fmt.Errorf("%s answers %s: %w", url, answer, err)
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		return fmt.Errorf("%s answers %s, not %s", url, g, w)
	}
	return nil
}

func (b *bench) requestReply(ctx context.Context) ([]Row, error) {
	return one(b.duel(ctx, &contest{title: "W1 request/reply, recording on", baseline: "hand-written handler", unit: "requests/s", must: 0.50, aim: 0.75,
		program: []string{"handler"}, path: "/map", atomPath: "/map", kind: "order", answers: true}))
}

func (b *bench) fetch(ctx context.Context) ([]Row, error) {
	return one(b.duel(ctx, &contest{title: "W3 request/reply with one outbound GET", baseline: "hand-written handler", unit: "requests/s", must: 0.60, aim: 0.80,
		program: []string{"handler", "-source", "SINK"}, path: "/fetch", atomPath: "/fetch", kind: "fetch", answers: true}))
}

func (b *bench) soap(ctx context.Context) ([]Row, error) {
	return one(b.duel(ctx, &contest{title: "SOAP call and answer", baseline: "hand-written net/http and etree", unit: "requests/s", must: 0.50, aim: 0.70,
		program: []string{"handler", "-source", "SINK"}, path: "/soap", atomPath: "/soap", kind: "fetch", answers: true}))
}

// acknowledge measures acceptance twice: with executions that run after it, and
// with executions that wait, which matches the baseline's work.
func (b *bench) acknowledge(ctx context.Context) ([]Row, error) {
	c := &contest{title: "W2 fire-and-forget, acknowledged/s, executions running behind", baseline: "append and shared fdatasync", unit: "acknowledged/s", must: 0.60, aim: 0.75,
		program: []string{"appender"}, path: "/", atomPath: "/take", kind: "order"}
	running, err := b.duel(ctx, c)
	if err != nil {
		return nil, err
	}
	c.title, c.atomPath = "W2 fire-and-forget, acknowledged/s, executions waiting", "/hold"
	waiting, err := b.duel(ctx, c)
	return []Row{running, waiting}, err
}

func (b *bench) deliver(ctx context.Context) ([]Row, error) {
	c := &contest{title: "W2 end to end: acknowledged, run, delivered, finished", baseline: "append, delivery from memory", unit: "delivered/s", must: 0.50, aim: 0.65,
		program: []string{"appender", "-sink", "SINK/sink", "-workers", "64"}, path: "/", atomPath: "/deliver", kind: "order"}
	c.measure = func(ctx context.Context, p *program, url, sink string) (float64, error) {
		if _, err := b.delivered(ctx, p, url, sink, b.Warmup); err != nil {
			return 0, err
		}
		return b.delivered(ctx, p, url, sink, b.Duration)
	}
	return one(b.duel(ctx, c))
}

// taken is the destination's count of received orders.
type taken struct {
	Count, Unique, Last int64
}

// delivered sends load for the duration d and waits until the destination has
// received all of it. It returns deliveries per second from the first request to
// the last delivery.
func (b *bench) delivered(ctx context.Context, p *program, url, sink string, d time.Duration) (float64, error) {
	if _, err := post(ctx, http.DefaultClient, sink+"/reset", nil); err != nil {
		return 0, err
	}
	begin := time.Now()
	l, err := b.drive(ctx, url, "order", b.Connections, d)
	if err != nil {
		return 0, err
	}
	// Requests in flight when the load ends are not in its count but may be
	// accepted.
	deadline := time.After(10*time.Minute + 10*d)
	var before taken
	for quiet := 0; ; {
		now, err := stats(ctx, sink)
		if err != nil {
			return 0, err
		}
		if now.Unique >= l.Requests && now.Count == before.Count {
			quiet++
		} else {
			quiet = 0
		}
		if quiet >= 5 {
			if now.Count != now.Unique {
				return 0, fmt.Errorf("%d deliveries of %d orders: nothing failed, so nothing may repeat", now.Count, now.Unique)
			}
			return float64(now.Count) / time.Unix(0, now.Last).Sub(begin).Seconds(), nil
		}
		before = now
		select {
		case <-time.After(100 * time.Millisecond):
		case <-p.exited:
			return 0, fmt.Errorf("%s ended", p.name)
		case <-deadline:
			return 0, fmt.Errorf("%d of %d acknowledged orders are delivered, the rest does not come", now.Unique, l.Requests)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func stats(ctx context.Context, sink string) (t taken, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, sink+"/stats", nil)
	if err != nil {
		return t, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	return t, json.NewDecoder(resp.Body).Decode(&t)
}

func one(r Row, err error) ([]Row, error) {
	if err != nil {
		return nil, err
	}
	return []Row{r}, nil
}
