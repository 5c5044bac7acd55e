package processes

import (
	"gopkg.in/yaml.v3"

	"valence/internal/spec"
)

// setsState notes a property that a step sets.
func (c *compiler) setsState(d *spec.Decoder, k *yaml.Node) bool {
	if k.Value == "version" {
		d.Problem(k, spec.CodeBadName, "`state.version` counts the commits, it cannot be set", "choose another name")
		return false
	}
	if c.b.stateSets == nil {
		c.b.stateSets = map[string]bool{}
	}
	c.b.stateSets[k.Value] = true
	return true
}

// state checks what is read of `state` against what the process sets: its
// state is its own.
func (b *building) state() {
	known := []string{"version"}
	for name := range b.stateSets {
		known = append(known, name)
	}
	for _, r := range b.stateReads {
		if r.name == "" || contains(known, r.name) {
			continue
		}
		hint := "set it: `- state: { set: { " + cut(r.name) + ": … } }`"
		if near := nearest(r.name, known); near != "" {
			hint = "did you mean `state." + near + "`?"
		}
		b.problem(r.at, CodeUnknownVariable, "no step of this process sets `state."+cut(r.name)+"`", hint)
	}
}
