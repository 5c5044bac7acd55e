package agent

import (
	"fmt"
	"sync"
	"time"

	"valence/atom"
	"valence/internal/wire"
)

// The bounds of judging a new version.
const (
	judgedAtLeast  = 20 // executions
	newForMinutes  = 5  // where the policy does not say
	rememberedEnds = 1000
)

// tally counts how executions ended. It forgets slowly, so that it tells of
// the last thousand or so.
type tally struct{ ended, failed float64 }

func (t *tally) count(failed bool) {
	if t.ended >= rememberedEnds {
		t.ended, t.failed = t.ended/2, t.failed/2
	}
	t.ended++
	if failed {
		t.failed++
	}
}

func (t *tally) rate() float64 {
	if t.ended == 0 {
		return 0
	}
	return t.failed / t.ended
}

// judge watches what is new in its first minutes: it is put back if more of
// the executions of its processes fail than the environment's bound, and more
// than of the same processes before. Executions that wait or are held have not
// ended and do not count; those of the version before, which finish on it,
// count for it.
type judge struct {
	mu     sync.Mutex
	names  map[string]bool // the processes that are new, or changed
	since  time.Time
	judged bool
	policy wire.Policy
	before map[string]tally // by process
	now    map[string]tally
}

// begin starts judging processes of which another version runs since then;
// judged is false where there is no version before to go back to.
func (j *judge) begin(since time.Time, judged bool, policy wire.Policy, names map[string]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.before == nil {
		j.before, j.now = map[string]tally{}, map[string]tally{}
	}
	for name := range names {
		if t := j.now[name]; t.ended > 0 {
			j.before[name] = t
		}
		delete(j.now, name)
	}
	j.since, j.judged, j.policy, j.names = since, judged, policy, names
}

func (j *judge) change(policy wire.Policy) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.policy = policy
}

func (j *judge) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.judged = false
}

// observe counts one end, and reports whether the version is to be put back.
func (j *judge) observe(e atom.Ended) bool {
	if e.Status == atom.Cancelled || e.Status == atom.Superseded {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now == nil {
		return false // nothing is deployed yet
	}
	failed := e.Status == atom.Failed || e.Status == atom.Expired
	counted := j.now
	if j.names[e.Process] && e.Received.Before(j.since) {
		counted = j.before
	}
	t := counted[e.Process]
	t.count(failed)
	counted[e.Process] = t
	return failed && j.names[e.Process] && j.why() != ""
}

// verdict tells why the version is to be put back, "" if it is not.
func (j *judge) verdict() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.why()
}

func (j *judge) why() string {
	bound := j.policy.RollbackRate
	minutes := j.policy.RollbackMinutes
	if minutes <= 0 {
		minutes = newForMinutes
	}
	now, before := j.sum(j.now), j.sum(j.before)
	if !j.judged || bound <= 0 || now.ended < judgedAtLeast || time.Since(j.since) > time.Duration(minutes)*time.Minute {
		return ""
	}
	rate := now.rate()
	if rate <= bound || rate <= before.rate() {
		return ""
	}
	return fmt.Sprintf("%.0f of its first %.0f executions failed; the bound is %.0f %%, and of the version before %.0f %% failed",
		now.failed, now.ended, bound*100, before.rate()*100)
}

// sum adds up what is counted of the processes that are judged.
func (j *judge) sum(by map[string]tally) (all tally) {
	for name := range j.names {
		t := by[name]
		all.ended, all.failed = all.ended+t.ended, all.failed+t.failed
	}
	return all
}

// observe lets the judge see an end.
func (a *Agent) observe(e atom.Ended) {
	if a.judge.observe(e) {
		ring(a.wake)
	}
}
