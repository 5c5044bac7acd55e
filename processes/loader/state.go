package loader

import (
	"slices"

	"gopkg.in/yaml.v3"

	"valence/internal/spec"
	"valence/processes"
)

// setsState records a property that a step sets.
func (c *compiler) setsState(d *spec.Decoder, k *yaml.Node) bool {
	if k.Value == "version" {
		d.Problem(k, spec.CodeBadName, "`state.version` cannot be set: it counts the commits", "choose another name")
		return false
	}
	if c.b.stateSets == nil {
		c.b.stateSets = map[string]bool{}
	}
	c.b.stateSets[k.Value] = true
	return true
}

// state reports properties of `state` that are read but never set. Processes do
// not share their state.
func (b *processBuilder) state() {
	known := []string{"version"}
	for name := range b.stateSets {
		known = append(known, name)
	}
	for _, r := range b.stateReads {
		if r.name == "" || slices.Contains(known, r.name) {
			continue
		}
		hint := "set it with `- state: { set: { " + cut(r.name) + ": … } }`"
		near := spec.Nearest(r.name, known)
		if near != "" {
			hint = "did you mean `state." + near + "`?"
		}
		b.problem(r.at, processes.CodeUnknownVariable, "no step of this process sets `state."+cut(r.name)+"`", hint).Correct(r.name, near)
	}
}
