package language

import (
	"time"

	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
)

// Coalesce holds the settings of `coalesce:`.
type Coalesce struct {
	processes.Coalesce
	Scope string
}

// The scopes of dedupe and coalesce keys.
const (
	ScopeCaller  = "caller"
	ScopeProcess = "process"
)

// scopeField declares who shares a key.
func scopeField[T any](ptr func(*T) *string) spec.Field {
	return spec.Enum("scope", ptr, "Who shares the keys: with `caller`, the messages of one authenticated caller; with `process`, all messages of the process. Another caller's execution, reply or reply token is never disclosed.", ScopeCaller, ScopeProcess).Or(ScopeCaller)
}

func coalesceField() spec.Field {
	return spec.Optional("coalesce", func(p *Process) **Coalesce { return &p.Coalesce },
		"Runs only the newest of the messages of one key, at the end of a window. The others end as `superseded`. Not allowed with `output:`.",
		spec.Expr("key", func(c *Coalesce) **expression.Expr { return &c.Key }, "Key of the messages that run once. Must not be nil.").Required(),
		spec.Duration("window", func(c *Coalesce) *time.Duration { return &c.Window }, "Length of the window, from the first message.").Min(10*time.Millisecond).Max(24*time.Hour).Required(),
		scopeField(func(c *Coalesce) *string { return &c.Scope }),
	)
}

func echoGuardField() spec.Field {
	return spec.Optional("echo_guard", func(p *Process) **processes.EchoGuard { return &p.EchoGuard },
		"Drops events caused by the project's own calls: those with a version recorded by `marks:` of a call. An event that arrives before the response of such a call waits for it, at most 10 s.",
		spec.Name("system", func(g *processes.EchoGuard) *string { return &g.System }, "Name of the system, as in `marks:`.").Eg("shop").Required(),
		spec.Expr("record", func(g *processes.EchoGuard) **expression.Expr { return &g.Record }, "Key of the record of the event. If nil, the event is not dropped.").Required(),
		spec.Expr("version", func(g *processes.EchoGuard) **expression.Expr { return &g.Version }, "Version of the record. If nil, the event is not dropped.").Required(),
	)
}

// Sequence holds the settings of `sequence:`.
type Sequence struct {
	processes.Sequence
	OnFailure string
}

func sequenceField() spec.Field {
	return spec.Optional("sequence", func(p *Process) **Sequence { return &p.Sequence },
		"Runs messages of one key one at a time, in the order of acceptance. Different keys run in parallel. Retries, waits and restarts keep the order.",
		spec.Expr("key", func(s *Sequence) **expression.Expr { return &s.Key }, "Key of the messages to run in order. Must not be nil.").Required(),
		spec.Enum("on_failure", func(s *Sequence) *string { return &s.OnFailure }, "What a failed execution does to later ones of its key: `block` holds them until the failed execution is resubmitted, skipped or deleted; `skip` runs them.", "block", "skip").Or("block"),
		spec.Name("scope", func(s *Sequence) *string { return &s.Scope }, "Name of a scope. Processes with the same scope share their keys. By default each process has its own keys."),
		spec.Int("limit", func(s *Sequence) *int { return &s.Limit }, "Maximum number of messages that wait behind the first of a key. Further messages get 503 with `Retry-After`. Unlimited by default.").Min(1).Max(100_000),
	)
}

// Resolve returns the retention. Documents are never stored longer than records.
func (r *Retention) Resolve() processes.Retention {
	if r.Documents == asRecords {
		r.Documents = r.Records
	}
	return processes.Retention{Documents: min(r.Documents, r.Records), Records: r.Records}
}
