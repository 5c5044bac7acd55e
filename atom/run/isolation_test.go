package run

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// visit is an execution that runs for a time.
type visit struct {
	process  string
	suspect  bool
	lasts    time.Duration
	from, to time.Duration // when it must begin and end
}

func TestIsolation(t *testing.T) {
	const s = time.Second
	cases := map[string][]visit{
		"others run side by side": {
			{"p", false, s, 0, s},
			{"p", false, s, 0, s},
		},
		"a suspect runs alone in its process": {
			{"p", false, s, 0, s},
			{"p", true, 2 * s, s, 3 * s},
			{"p", false, s, 3 * s, 4 * s},
			{"p", false, s, 3 * s, 4 * s},
			{"p", true, s, 4 * s, 5 * s},
			{"q", false, s, 0, s},
			{"q", true, s, s, 2 * s},
		},
		"a long suspect lets others in": {
			{"p", true, time.Hour, 0, time.Hour},
			{"p", false, s, isolationTime, isolationTime + s},
			{"p", true, s, isolationTime, isolationTime + s}, // at the same time
		},
		"a suspect does not wait for a long execution": {
			{"p", false, time.Hour, 0, time.Hour},
			{"p", true, s, isolationTime, isolationTime + s},
			{"p", false, s, isolationTime, isolationTime + s},
		},
	}
	for name, visits := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all isolation
				var done sync.WaitGroup
				start := time.Now()
				got := slices.Clone(visits)
				for n := range got {
					v := &got[n]
					done.Go(func() {
						g := all.of(v.process)
						alone := g.enter(context.Background(), v.suspect)
						v.from = time.Since(start)
						time.Sleep(v.lasts)
						v.to = time.Since(start)
						g.leave(alone)
					})
					synctest.Wait()
				}
				done.Wait()
				if !slices.Equal(got, visits) {
					t.Errorf("got %+v, want %+v", got, visits)
				}
				if g := all.of("p"); g.running != 0 || g.alone != nil || len(g.waiting) != 0 {
					t.Errorf("got %+v at the end, want nothing running", g)
				}
			})
		})
	}
}

// A process with many suspects isolates them for a bounded time.
func TestIsolationPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := (&isolation{}).of("p")
		var done sync.WaitGroup
		start := time.Now()
		for range 200 { // as workers of one process
			done.Go(func() {
				alone := g.enter(context.Background(), true)
				time.Sleep(time.Second)
				g.leave(alone)
			})
		}
		done.Wait()
		time.Sleep(isolationPeriod)
		side := time.Now()
		for range 2 {
			done.Go(func() {
				alone := g.enter(context.Background(), true)
				time.Sleep(time.Second)
				g.leave(alone)
			})
		}
		done.Wait()
		if first, later := side.Sub(start)-isolationPeriod, time.Since(side); first > isolationPeriod || later != time.Second {
			t.Errorf("200 suspects took %v, and two later ones %v; want at most %v, and 1s", first, later, isolationPeriod)
		}
	})
}

// A stopping atom waits for nobody.
func TestIsolationEndsWithTheAtom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := (&isolation{}).of("p")
		suspect := g.enter(context.Background(), true)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		start := time.Now()
		g.leave(g.enter(ctx, false))
		if took := time.Since(start); took != 0 {
			t.Errorf("enter took %v, want 0", took)
		}
		g.leave(suspect)
	})
}
