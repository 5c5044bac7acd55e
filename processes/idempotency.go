package processes

// Idempotency describes the effect of a call that a system receives twice.
// The author declares it for a connection, and for single calls.
type Idempotency string

// The kinds of idempotency. An undeclared one counts as NotIdempotent.
const (
	ByKey         Idempotency = "key"     // the system recognizes the Idempotency-Key
	ByNature      Idempotency = "natural" // a repeated call changes nothing
	NotIdempotent Idempotency = "no"
)

// IdempotencyOf returns the idempotency of the call of a step: as declared in the call's `with:`, else for the connection. Calls that
// only read are idempotent by nature.
func (p *Project) IdempotencyOf(s *Step, c ExternalCall) Idempotency {
	switch conn := p.Connections[c.Operation.Connection]; {
	case c.Operation.Operation != nil && c.Operation.Operation.Safe:
		return ByNature
	case s.Idempotent != "":
		return s.Idempotent
	case conn != nil && conn.Idempotent != "":
		return conn.Idempotent
	}
	return NotIdempotent
}

// RepeatAdvice returns the declaration of a call that has its effect
// twice, and the remedy.
func (p *Project) RepeatAdvice(s *Step, c ExternalCall) (declared, hint string) {
	name := c.Operation.Connection
	if conn := p.Connections[name]; s.Idempotent != "" || conn != nil && conn.Idempotent != "" {
		return "is declared to have its effect twice then", "look for the result before the call, or call an operation that the system can repeat"
	}
	return "the connection `" + name + "` does not declare `idempotent:`",
		"add `idempotent: key` to the connection if the system recognizes the `Idempotency-Key`, or `idempotent: natural` if a repeated call changes nothing"
}
