package agent

import (
	"fmt"
	"maps"
	"slices"
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

// judge watches what is new in its first minutes: a project is put back if more
// of the executions of its processes fail than the environment's bound, and
// more than of the same processes before. Executions that wait or are held have
// not ended and do not count; those of the version before, which finish on it,
// count for it.
type judge struct {
	mu     sync.Mutex
	judged map[string]trial // by process: those that are new, or changed
	policy wire.Policy
	before map[string]tally // by process
	now    map[string]tally
}

// trial is a process that is judged.
type trial struct {
	project string // "": all of them, of which the values changed
	since   time.Time
}

// begin starts judging processes, each with its project, of which another
// version runs since then. It goes on with those that it judges and that are
// not of a fresh project.
func (j *judge) begin(since time.Time, policy wire.Policy, projects map[string]string, fresh map[string]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.before == nil {
		j.before, j.now = map[string]tally{}, map[string]tally{}
	}
	next := map[string]trial{}
	for name, project := range projects {
		if t, known := j.judged[name]; known && t.project == project && project != "" && !fresh[project] {
			next[name] = t
			continue
		}
		next[name] = trial{project, since}
		if t := j.now[name]; t.ended > 0 {
			j.before[name] = t
		}
		delete(j.now, name)
	}
	j.policy, j.judged = policy, next
}

func (j *judge) change(policy wire.Policy) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.policy = policy
}

// stop ends the judging of a project.
func (j *judge) stop(project string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.judged, func(_ string, t trial) bool { return t.project == project })
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
	trial, judged := j.judged[e.Process]
	if judged && e.Received.Before(trial.since) {
		counted = j.before
	}
	t := counted[e.Process]
	t.count(failed)
	counted[e.Process] = t
	return failed && judged && j.why(trial.project) != ""
}

// verdict gives a project that is to be put back, and why; "" where none is.
func (j *judge) verdict() (project, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	projects := map[string]bool{}
	for _, t := range j.judged {
		projects[t.project] = true
	}
	for _, project := range slices.Sorted(maps.Keys(projects)) {
		if why := j.why(project); why != "" {
			return project, why
		}
	}
	return "", ""
}

func (j *judge) why(project string) string {
	bound := j.policy.RollbackRate
	now, before := j.sum(project, j.now), j.sum(project, j.before)
	if bound <= 0 || now.ended < judgedAtLeast {
		return ""
	}
	rate := now.rate()
	if rate <= bound || rate <= before.rate() {
		return ""
	}
	return fmt.Sprintf("%.0f of its first %.0f executions failed; the bound is %.0f %%, and of the version before %.0f %% failed",
		now.failed, now.ended, bound*100, before.rate()*100)
}

// newFor is how long a version is new.
func newFor(policy wire.Policy) time.Duration {
	if policy.RollbackMinutes <= 0 {
		return newForMinutes * time.Minute
	}
	return time.Duration(policy.RollbackMinutes) * time.Minute
}

// sum adds up what is counted of a project's processes that are still new.
func (j *judge) sum(project string, by map[string]tally) (all tally) {
	for name, trial := range j.judged {
		if trial.project == project && time.Since(trial.since) <= newFor(j.policy) {
			t := by[name]
			all.ended, all.failed = all.ended+t.ended, all.failed+t.failed
		}
	}
	return all
}

// observe lets the judge see an end.
func (a *Agent) observe(e atom.Ended) {
	if a.judge.observe(e) {
		ring(a.wake)
	}
}
