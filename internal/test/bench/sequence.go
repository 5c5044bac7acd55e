package bench

import (
	"context"
	"errors"
	"fmt"
)

// sequenced compares deliveries in order per key, over 1,000 keys, with
// deliveries of the same process without an order, in turns on one atom.
func (b *bench) sequenced(ctx context.Context) (_ []Row, err error) {
	sink, p, discard, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, discard()) }()
	paths := [2]string{"/deliver", "/deliver-in-order"}
	for _, path := range paths {
		if _, err := b.delivered(ctx, p, p.url+path, sink.url, b.Warmup); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, p.tail())
		}
	}
	row := Row{Workload: "Delivered one at a time per key, over 1,000 keys", Baseline: "the same process without an order", Unit: "delivered/s", Must: 0.5}
	var bases, atoms []float64
	for round := range b.Rounds {
		var pair [2]float64
		for turn := range 2 {
			which := (turn + round) % 2
			if pair[which], err = b.delivered(ctx, p, p.url+paths[which], sink.url, b.Duration); err != nil {
				return nil, fmt.Errorf("%w\n%s", err, p.tail())
			}
		}
		b.say("  round %d: %s of %s delivered/s (%.2f)", round+1, figure(pair[1]), figure(pair[0]), pair[1]/pair[0])
		bases, atoms, row.Rounds = append(bases, pair[0]), append(atoms, pair[1]), append(row.Rounds, pair)
	}
	row.Base, row.Atom = median(bases), median(atoms)
	return []Row{row}, nil
}
