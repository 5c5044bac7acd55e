// Package canary detects new versions of deployed projects that fail too often.
package canary

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/wire"
)

const (
	MinExecutions  = 20 // before a version is judged
	defaultMinutes = 5  // without a policy
	tallyWindow    = 1000
)

// tally counts outcomes. It decays, so that it represents the last thousand or
// so.
type tally struct{ ended, failed float64 }

func (t *tally) count(failed bool) {
	if t.ended >= tallyWindow {
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

// Canary observes new versions during their probation. A project fails if the
// failure rate of its processes exceeds the policy's limit and that of the
// previous version. Suspended executions have not ended and do not count.
// Executions that finish on the previous version count for that version.
// Methods are safe for concurrent use.
type Canary struct {
	mu         sync.Mutex
	probations map[string]probation // by process
	policy     wire.Policy
	before     map[string]tally // by process
	current    map[string]tally
}

// probation is a process with a new version.
type probation struct {
	project string // "": all projects, whose values changed
	since   time.Time
}

// Start puts processes on probation. projects maps each process to its project.
// Probations of projects that are not in fresh continue unchanged.
func (c *Canary) Start(since time.Time, policy wire.Policy, projects map[string]string, fresh map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before == nil {
		c.before, c.current = map[string]tally{}, map[string]tally{}
	}
	next := map[string]probation{}
	for name, project := range projects {
		if t, known := c.probations[name]; known && t.project == project && project != "" && !fresh[project] {
			next[name] = t
			continue
		}
		next[name] = probation{project, since}
		if t := c.current[name]; t.ended > 0 {
			c.before[name] = t
		}
		delete(c.current, name)
	}
	c.policy, c.probations = policy, next
}

func (c *Canary) SetPolicy(policy wire.Policy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policy = policy
}

// Probations returns the project of each process on probation.
func (c *Canary) Probations() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	projects := map[string]string{}
	for name, p := range c.probations {
		projects[name] = p.project
	}
	return projects
}

// Stop ends the probation of a project.
func (c *Canary) Stop(project string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.probations, func(_ string, t probation) bool { return t.project == project })
}

// Observe counts one outcome and reports whether a project now fails its
// probation.
func (c *Canary) Observe(e atom.ExecutionEnd) bool {
	if e.Status == store.Cancelled || e.Status == store.Superseded {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return false // nothing is deployed yet
	}
	failed := e.Status == store.Failed || e.Status == store.Expired
	counted := c.current
	trial, judged := c.probations[e.Process]
	if judged && e.Received.Before(trial.since) {
		counted = c.before
	}
	t := counted[e.Process]
	t.count(failed)
	counted[e.Process] = t
	return failed && judged && c.exceeds(trial.project) != ""
}

// FailingProject returns a project that fails its probation and the reason, or
// "" and "".
func (c *Canary) FailingProject() (project, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	projects := map[string]bool{}
	for _, t := range c.probations {
		projects[t.project] = true
	}
	for _, project := range slices.Sorted(maps.Keys(projects)) {
		if why := c.exceeds(project); why != "" {
			return project, why
		}
	}
	return "", ""
}

func (c *Canary) exceeds(project string) string {
	bound := c.policy.RollbackRate
	now, before := c.sum(project, c.current), c.sum(project, c.before)
	if bound <= 0 || now.ended < MinExecutions {
		return ""
	}
	rate := now.rate()
	if rate <= bound || rate <= before.rate() {
		return ""
	}
	return fmt.Sprintf("%.0f of its first %.0f executions failed: the limit is %.0f %%, and %.0f %% failed in the previous version",
		now.failed, now.ended, bound*100, before.rate()*100)
}

// ProbationTime returns how long a version is new.
func ProbationTime(policy wire.Policy) time.Duration {
	if policy.RollbackMinutes <= 0 {
		return defaultMinutes * time.Minute
	}
	return time.Duration(policy.RollbackMinutes) * time.Minute
}

// sum adds the tallies of a project's processes that are still on probation.
func (c *Canary) sum(project string, by map[string]tally) (all tally) {
	for name, trial := range c.probations {
		if trial.project == project && time.Since(trial.since) <= ProbationTime(c.policy) {
			t := by[name]
			all.ended, all.failed = all.ended+t.ended, all.failed+t.failed
		}
	}
	return all
}
