package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// few is the number of waiting messages in the backlog's baseline.
const few = 1000

// waiting compares acknowledgements with a large and a small backlog. A
// destination that never answers makes the messages wait.
func (b *bench) waiting(ctx context.Context) (rows []Row, err error) {
	sink, large, discard, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, discard()) }()
	begin := time.Now()
	filled, err := b.fill(ctx, large, b.Backlog)
	if err != nil {
		return nil, err
	}
	b.say("  %d waiting after %v", filled, time.Since(begin).Round(time.Second))

	acks := Row{Workload: figure(float64(b.Backlog)) + " messages waiting, acknowledged/s", Baseline: figure(few) + " waiting at first", Unit: "acknowledged/s", Must: 0.9, Aim: 1}
	size := Row{Workload: figure(float64(b.Backlog)) + " messages waiting, resident memory", Unit: "MiB", Must: 200, Least: true}
	var bases, atoms, sizes []float64
	for round := range b.Rounds {
		var pair [2]float64
		for turn := range 2 {
			if (turn+round)%2 == 0 {
				pair[0], err = b.fewWaiting(ctx, sink)
			} else {
				pair[1], err = b.acknowledged(ctx, large)
			}
			if err != nil {
				return nil, fmt.Errorf("%w\n%s", err, large.tail())
			}
		}
		now, _, err := b.settled(ctx, large, time.Second)
		if err != nil {
			return nil, err
		}
		b.say("  round %d: %s of %s (%.2f), %s MiB", round+1, figure(pair[1]), figure(pair[0]), pair[1]/pair[0], figure(now))
		bases, atoms, sizes = append(bases, pair[0]), append(atoms, pair[1]), append(sizes, now)
		acks.Rounds = append(acks.Rounds, pair)
		size.Rounds = append(size.Rounds, [2]float64{0, now})
	}
	acks.Base, acks.Atom, size.Atom = median(bases), median(atoms), median(sizes)
	restart, after, err := b.again(ctx, large, sink)
	if err != nil {
		return nil, err
	}
	size.Notes = append(size.Notes, fmt.Sprintf("started again on it, the atom was ready after %s and took %s MiB", restart.Round(time.Millisecond), figure(after)))
	return []Row{acks, size}, nil
}

// fill posts messages until n of them wait, and returns how many do.
func (b *bench) fill(ctx context.Context, p *program, n int) (int, error) {
	filled, rate := 0, 0.0
	for filled < n {
		l, err := b.drive(ctx, p.url+"/hold", "order", b.Connections, enough(n-filled, rate))
		if err != nil {
			return filled, fmt.Errorf("%w\n%s", err, p.tail())
		}
		filled, rate = filled+int(l.Requests), l.rate()
	}
	return filled, nil
}

// enough returns how long a load of n requests takes at the given rate: whole
// seconds, at most a minute, or one second if the rate is not known yet.
func enough(n int, rate float64) time.Duration {
	if rate == 0 {
		return time.Second
	}
	return max(time.Second, min(time.Minute, time.Duration(float64(n)/rate+0.5)*time.Second))
}

// acknowledged returns the acknowledgements per second of messages that wait.
func (b *bench) acknowledged(ctx context.Context, p *program) (float64, error) {
	if _, err := b.drive(ctx, p.url+"/hold", "order", b.Connections, b.Warmup); err != nil {
		return 0, err
	}
	l, err := b.drive(ctx, p.url+"/hold", "order", b.Connections, b.Duration)
	if err != nil {
		return 0, err
	}
	return l.rate(), nil
}

// fewWaiting measures an atom that starts with a small backlog.
func (b *bench) fewWaiting(ctx context.Context, sink *program) (v float64, err error) {
	p, err := b.atom(ctx, b.project(), "", sink.url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.discard()) }()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := range few {
		if _, err := post(ctx, client, p.url+"/hold", order.New(fmt.Sprintf("few-%d", i))); err != nil {
			return 0, err
		}
	}
	return b.acknowledged(ctx, p)
}

// again stops an atom and restarts it on the same data. It returns the start-up
// time and the resident memory.
func (b *bench) again(ctx context.Context, p *program, sink *program) (time.Duration, float64, error) {
	p.stop()
	next, err := b.atom(ctx, b.project(), p.data, sink.url)
	if err != nil {
		return 0, 0, err
	}
	defer next.stop()
	took := time.Since(next.started)
	now, _, err := b.settled(ctx, next, 5*time.Second)
	return took, now, err
}
