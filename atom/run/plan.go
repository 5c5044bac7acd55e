package run

import (
	"strings"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/metrics"
	"valence/processes"
)

// Plan is one process of a deployed version, with the other processes of the
// version, which it may call.
type Plan struct {
	Process *processes.Process
	Project *processes.Project
	Release string // name of the project if several are deployed
	Files   string // content hash of the project's files
	Stats   *metrics.ProcessMetrics
}

// Key identifies the plan among those of this run of the atom.
func (p *Plan) Key() string { return p.Release + "/" + p.Process.Hash }

// Name is how a record refers to the plan. ParsePlanName reads it.
func (p *Plan) Name() string {
	if p.Release == "" {
		return p.Process.Hash + "@" + p.Files
	}
	return p.Process.Hash + "@" + p.Files + "/" + p.Release
}

// ParsePlanName returns the key, the files and the release of a plan name.
func ParsePlanName(name string) (key, files, release string) {
	hash, rest, _ := strings.Cut(name, "@")
	files, release, _ = strings.Cut(rest, "/")
	return release + "/" + hash, files, release
}

// Qualify names a connection or the scope of a sequence among those of all releases.
func Qualify(release, name string) string {
	if release == "" {
		return name
	}
	return release + "/" + name
}

// Step returns the step with a structural path in this process or in those
// that it calls, or the one that sends the reply of a subscription; nil if there
// is none.
func (p *Plan) Step(path string) *processes.Step {
	if path == steps.ReplyPath {
		return steps.ReplyStep(p.Process)
	}
	process := p.Process
	for {
		own, rest, calls := strings.Cut(path, "/")
		s := findStep(process.Steps, own)
		if s == nil || !calls {
			return s
		}
		r, ok := s.Settings.(processes.ExternalCaller)
		if !ok {
			return nil
		}
		called, ok := p.Project.Processes[r.ExternalCall().Process]
		if !ok {
			return nil
		}
		process, path = called, rest
	}
}

// findStep returns the step with a structural path; nil if there is none.
func findStep(block processes.Block, path string) *processes.Step {
	for _, s := range block {
		if s.Path == path {
			return s
		}
		for _, l := range s.Lists {
			if found := findStep(l.Steps, path); found != nil {
				return found
			}
		}
	}
	return nil
}

// StructuralPath returns the path of a key without the indices of loops.
func StructuralPath(key string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(key, '[')
		if i < 0 {
			b.WriteString(key)
			return b.String()
		}
		b.WriteString(key[:i])
		_, key, _ = strings.Cut(key[i:], "]")
	}
}

// operationOf returns the operation that a step calls, as connection.operation;
// "" if it calls none.
func operationOf(s *processes.Step) string {
	c, ok := s.Settings.(processes.ExternalCaller)
	if !ok {
		return ""
	}
	o := c.ExternalCall().Operation
	if o.Operation == nil {
		return ""
	}
	return o.Connection + "." + o.Operation.Name
}

// Redacted returns a document without the values that the plan does not store.
func (p *Plan) Redacted(d *document.Document) *document.Document { return redacted(d, p.redact()) }

// redact returns the paths whose values are not stored.
func (p *Plan) redact() []string {
	own, all := p.Process.Delivery.Redact, p.Project.Defaults.Redact
	if len(all) == 0 {
		return own
	}
	return append(append([]string{}, all...), own...)
}
