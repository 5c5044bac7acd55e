package steps

import (
	"valence/connectors"
	"valence/processes"
)

// ReplyPath is the path of the step that sends the replies of a subscription.
// No step of a process has it.
const ReplyPath = "reply"

// ReplyStep returns the step that sends the replies of a process' subscription;
// nil if it has none.
func ReplyStep(p *processes.Process) *processes.Step {
	s := p.Subscribe
	if s == nil || s.Connector == nil {
		return nil
	}
	operation := processes.Operation{Connection: s.Connection, Connector: s.Connector, Operation: &connectors.ReplyOperation}
	return &processes.Step{Kind: "call", Path: ReplyPath, Name: ReplyPath, Pos: s.Pos, Fingerprint: "reply " + s.Connection, Settings: &call{Operation: operation}}
}
