package agent

import (
	"maps"
	"time"

	"valence/atom/agent/canary"
	"valence/atom/agent/compose"
	"valence/internal/wire"
)

// savedState is the deployed state. It is written in one commit after the new
// version has started, so an atom killed at any moment restarts with either the
// old or the new version.
type savedState struct {
	Generation      int64            `json:"generation"`        // last one dealt with
	Desired         *wire.Desired    `json:"desired,omitempty"` // running, without projects that cannot
	Wanted          *wire.Desired    `json:"wanted,omitempty"`  // complete, if something cannot run; retried at the next start
	Previous        *wire.Desired    `json:"previous,omitempty"`
	Since           time.Time        `json:"since,omitzero"`     // when Previous was replaced
	Refused         int64            `json:"refused,omitempty"`  // newest rejected generation
	Serials         map[string]int64 `json:"serials,omitempty"`  // newest serials by project and environment
	SwitchesApplied int64            `json:"switched,omitempty"` // newest generation whose switches were applied, even if rejected
	Paused          []string         `json:"paused,omitempty"`   // local processes it paused
	Restarted       int64            `json:"restarted,omitempty"`
	Retired         bool             `json:"retired,omitempty"`

	RolledBack map[string]rolledBack `json:"put_back,omitempty"` // by project
}

// desired returns the deployed generation, which may be empty.
func (s *savedState) desired() *wire.Desired {
	if s.Desired == nil {
		return &wire.Desired{}
	}
	return s.Desired
}

// probationers returns the processes to put on probation with their projects:
// those whose package changed. If only values changed, these are all processes,
// with project "".
func (s *savedState) probationers(now *compose.Composition) map[string]string {
	trial := map[string]string{}
	if s.Previous == nil {
		return trial
	}
	differ := changedProjects(now.Desired, s.Previous)
	values := len(differ) == 0 && len(now.Desired.Deployments) == len(s.Previous.Deployments)
	for name, project := range now.ProjectOf {
		switch {
		case values:
			trial[name] = ""
		case differ[project] && findDeployment(s.Previous, project) != nil:
			trial[name] = project
		}
	}
	return trial
}

// rollbackTarget returns the generation to roll back to after now replaces
// before. For an unchanged project on probation it contains the version before
// that: changes of values or other projects do not end its protection.
func (s *savedState) rollbackTarget(before, now *wire.Desired, at time.Time) *wire.Desired {
	if s.Previous == nil || at.Sub(s.Since) > canary.ProbationTime(before.Policy) {
		return before
	}
	previous := *before
	previous.Deployments = nil
	for _, x := range before.Deployments {
		stays, old := findDeployment(now, x.Project), findDeployment(s.Previous, x.Project)
		switch {
		case stays == nil, stays.Package != x.Package, old == nil, old.Package == x.Package:
			previous.Deployments = append(previous.Deployments, x)
		default:
			previous.Deployments = append(previous.Deployments, *old)
		}
	}
	return &previous
}

// changedProjects returns the projects whose package differs from the one in
// before.
func changedProjects(d, before *wire.Desired) map[string]bool {
	differ := map[string]bool{}
	if before == nil {
		return differ
	}
	for _, x := range d.Deployments {
		if old := findDeployment(before, x.Project); old == nil || old.Package != x.Package {
			differ[x.Project] = true
		}
	}
	return differ
}

// requiredSerials returns the lowest acceptable serials for a generation.
// Rolled-back projects have none, since their previous version has an older
// serial.
func (s *savedState) requiredSerials(d *wire.Desired) map[string]int64 {
	serials := maps.Clone(s.Serials)
	for project := range retainRolledBack(s.RolledBack, d) {
		delete(serials, compose.SerialKey(project, d.Environment))
	}
	return serials
}
