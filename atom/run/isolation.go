package run

import (
	"context"
	"slices"
	"sync"
	"time"
)

// isolationTime bounds how long an execution waits because of a suspect: one
// that two unclean stops interrupted, and that may have caused them.
const isolationTime = 10 * time.Second

// isolationPeriod bounds how long a process isolates its suspects, from the
// first one on. After that they run as others do.
const isolationPeriod = 30 * time.Second

// isolation lets suspects run alone in their process, so that the next unclean
// stop counts for them and not for the others. Other processes do not wait.
type isolation struct {
	mu        sync.RWMutex
	byProcess map[string]*gate
}

// of returns the gate of a process.
func (i *isolation) of(process string) *gate {
	i.mu.RLock()
	g := i.byProcess[process]
	i.mu.RUnlock()
	if g != nil {
		return g
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if g = i.byProcess[process]; g == nil {
		if i.byProcess == nil {
			i.byProcess = map[string]*gate{}
		}
		g = &gate{}
		i.byProcess[process] = g
	}
	return g
}

// gate admits the executions of one process in the order of arrival.
type gate struct {
	mu      sync.Mutex
	running int
	alone   *time.Timer // of the suspect that runs alone; nil: none
	until   time.Time   // when the isolation of suspects ends; zero: there was none
	waiting []*entrant
}

// entrant is an execution that waits to be admitted.
type entrant struct {
	suspect  bool
	admitted chan struct{}
	alone    *time.Timer // set when it is admitted
}

// enter returns when an execution may run: a suspect when nothing else of its
// process runs, another one when no suspect runs alone, and both after
// isolationTime at the latest. The result is for leave.
func (g *gate) enter(ctx context.Context, suspect bool) (alone *time.Timer) {
	g.mu.Lock()
	if suspect {
		if g.until.IsZero() {
			g.until = time.Now().Add(isolationPeriod)
		}
		suspect = time.Now().Before(g.until)
	}
	if len(g.waiting) == 0 && g.mayEnter(suspect) {
		defer g.mu.Unlock()
		return g.begin(suspect)
	}
	x := &entrant{suspect: suspect, admitted: make(chan struct{})}
	g.waiting = append(g.waiting, x)
	g.mu.Unlock()
	timer := time.NewTimer(isolationTime)
	defer timer.Stop()
	select {
	case <-x.admitted:
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, x); i >= 0 { // it has waited for long enough
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.running++
		g.admit()
	}
	return x.alone
}

func (g *gate) mayEnter(suspect bool) bool { return g.alone == nil && (!suspect || g.running == 0) }

// begin counts an execution that runs. The caller holds g.mu.
func (g *gate) begin(suspect bool) (alone *time.Timer) {
	g.running++
	if !suspect {
		return nil
	}
	alone = time.AfterFunc(isolationTime, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.endAlone(alone)
	})
	g.alone = alone
	return alone
}

// endAlone lets others run alongside a suspect. The caller holds g.mu.
func (g *gate) endAlone(suspect *time.Timer) {
	if suspect != nil && g.alone == suspect {
		g.alone = nil
		g.admit()
	}
}

// admit admits those who may enter now. The caller holds g.mu.
func (g *gate) admit() {
	for len(g.waiting) > 0 && g.mayEnter(g.waiting[0].suspect) {
		x := g.waiting[0]
		g.waiting = g.waiting[1:]
		x.alone = g.begin(x.suspect)
		close(x.admitted)
	}
}

// leave ends a run. alone is the result of enter.
func (g *gate) leave(alone *time.Timer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	if alone != nil {
		alone.Stop()
	}
	g.endAlone(alone)
	g.admit()
}
