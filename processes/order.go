package processes

import (
	"valence/internal/expression"
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

type sequenceDecl struct {
	Sequence
	OnFailure string
}

func sequenceField() spec.Field {
	return spec.Optional("sequence", func(p *processDecl) **sequenceDecl { return &p.Sequence },
		"Runs messages of one key one at a time, in the order in which they were accepted; keys run in parallel. A retry, a wait or a restart keeps the place.",
		spec.Expr("key", func(s *sequenceDecl) **expression.Expr { return &s.Key }, "What is the same for messages that keep their order; nil is a failure.").Text().Required(),
		spec.Enum("on_failure", func(s *sequenceDecl) *string { return &s.OnFailure }, "What a failed execution means for those behind it: `block` holds them until somebody resubmits, skips or deletes it, `skip` lets them go on.", "block", "skip").Or("block"),
		spec.Name("scope", func(s *sequenceDecl) *string { return &s.Scope }, "A name; processes with the same one share their keys. The process alone by default."),
		spec.Int("limit", func(s *sequenceDecl) *int { return &s.Limit }, "Most messages that wait behind the first of a key; beyond it 503 with `Retry-After`. No limit by default.").Min(1).Max(100_000),
	)
}

// order fills in what keeps messages in order, and refuses what cannot be.
func (b *building) order(decl *processDecl, d *spec.Decoder) {
	if decl.Sequence == nil {
		return
	}
	s := decl.Sequence.Sequence
	s.Skip = decl.Sequence.OnFailure == "skip"
	b.proc.Delivery.Sequence = &s
	if decl.Listen != nil && decl.Listen.Output != "" {
		d.Problem(valueAt(b.comp.root, "sequence"), spec.CodeNotAvailable, "`sequence:` beside `output:` is not available yet: a caller would wait for every message before",
			"drop `output:` to acknowledge at once, or `sequence:`")
	}
}
