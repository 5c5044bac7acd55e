package processes

import (
	"time"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Sequence runs executions of one key one at a time, in the order in which
// they were accepted.
type Sequence struct {
	Key   *expression.Expr
	Skip  bool   // one that fails does not block its key
	Scope string // what processes with the same one share their keys by; "" is the process alone
	Limit int    // most that wait behind the first of a key; 0: any number
}

// Coalesce runs messages of one key inside a window once, with the newest.
type Coalesce struct {
	Key    *expression.Expr
	Window time.Duration
}

// EchoGuard drops events that calls of ours caused.
type EchoGuard struct {
	System  string
	Record  *expression.Expr
	Version *expression.Expr
}

func coalesceField() spec.Field {
	return spec.Optional("coalesce", func(p *processDecl) **Coalesce { return &p.Coalesce },
		"Messages of one key inside a window run once, when it is over, with the newest; the others end `superseded`. Not with `output:`.",
		spec.Expr("key", func(c *Coalesce) **expression.Expr { return &c.Key }, "What is the same for messages that run once; nil is a failure.").Required(),
		spec.Duration("window", func(c *Coalesce) *time.Duration { return &c.Window }, "From the first message on.").Min(10*time.Millisecond).Max(24*time.Hour).Required(),
	)
}

func echoGuardField() spec.Field {
	return spec.Optional("echo_guard", func(p *processDecl) **EchoGuard { return &p.EchoGuard },
		"Drops the event that our own write caused: one with a version that a call made, as its `marks:` say. An event that overtakes the answer to such a call waits for it, 10 s at most.",
		spec.Name("system", func(g *EchoGuard) *string { return &g.System }, "The system, by the name that `marks:` gives it.").Eg("shop").Required(),
		spec.Expr("record", func(g *EchoGuard) **expression.Expr { return &g.Record }, "The record that the event is of; nothing is dropped where it is nil.").Required(),
		spec.Expr("version", func(g *EchoGuard) **expression.Expr { return &g.Version }, "Its version; nothing is dropped where it is nil.").Required(),
	)
}

type sequenceDecl struct {
	Sequence
	OnFailure string
}

func sequenceField() spec.Field {
	return spec.Optional("sequence", func(p *processDecl) **sequenceDecl { return &p.Sequence },
		"Runs messages of one key one at a time, in the order in which they were accepted; keys run in parallel. A retry, a wait or a restart keeps the place.",
		spec.Expr("key", func(s *sequenceDecl) **expression.Expr { return &s.Key }, "What is the same for messages that keep their order; nil is a failure.").Required(),
		spec.Enum("on_failure", func(s *sequenceDecl) *string { return &s.OnFailure }, "What a failed execution means for those behind it: `block` holds them until somebody resubmits, skips or deletes it, `skip` lets them go on.", "block", "skip").Or("block"),
		spec.Name("scope", func(s *sequenceDecl) *string { return &s.Scope }, "A name; processes with the same one share their keys. The process alone by default."),
		spec.Int("limit", func(s *sequenceDecl) *int { return &s.Limit }, "Most messages that wait behind the first of a key; beyond it 503 with `Retry-After`. No limit by default.").Min(1).Max(100_000),
	)
}

// order fills in what keeps messages in order, and refuses what cannot be.
func (b *building) order(decl *processDecl, d *spec.Decoder) {
	b.proc.Delivery.Coalesce, b.proc.Delivery.EchoGuard = decl.Coalesce, decl.EchoGuard
	if decl.Coalesce != nil && decl.Listen != nil && decl.Listen.Output != "" {
		d.Problem(valueAt(b.comp.root, "coalesce"), CodeNoEffect, "`coalesce:` does not go with `output:`: those who sent the older messages would get no reply", "drop one of them")
	}
	if decl.Sequence == nil {
		return
	}
	s := decl.Sequence.Sequence
	s.Skip = decl.Sequence.OnFailure == "skip"
	b.proc.Delivery.Sequence = &s
	// In the caller's memory nothing can wait for its turn.
	b.proc.SuspendsCaller = decl.Listen != nil && decl.Listen.Output != ""
}

// callerWaitsForKey warns of a caller that waits for the messages before its own.
func (l *loader) callerWaitsForKey(b *building) {
	s, listen := b.proc.Delivery.Sequence, b.proc.Listen
	if s == nil || !listen.Sync() {
		return
	}
	then := "504 and its message is cancelled"
	if listen.TimeoutAction == Continue {
		then = "202"
	}
	hint := "`reply_modes: [deferred]`, so that nobody waits on a connection"
	if !s.Skip {
		hint += "; `on_failure: skip`, as one that fails holds all callers of its key until somebody mends it"
	}
	l.problems = append(l.problems, &fault.Problem{Pos: s.Key.Pos(), Severity: fault.Warning, Code: CodeCallerWaits,
		Msg:  "the caller waits, connection open, for every earlier message of its key; after " + spec.FormatDuration(listen.Timeout) + " it gets " + then,
		Hint: hint})
}
