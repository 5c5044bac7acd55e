package loader

import (
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// order sets and checks the settings that depend on the order of messages.
func (b *processBuilder) order(decl *language.Process, d *spec.Decoder) {
	b.proc.Delivery.EchoGuard = decl.EchoGuard
	if decl.Coalesce != nil {
		coalesce := decl.Coalesce.Coalesce
		coalesce.Shared = decl.Coalesce.Scope == language.ScopeProcess
		b.proc.Delivery.Coalesce = &coalesce
	}
	if decl.Coalesce != nil && b.proc.Listen != nil && b.proc.Listen.Output != "" {
		d.Problem(valueAt(b.comp.root, "coalesce"), processes.CodeNoEffect, "`coalesce:` is not allowed with `output:`: callers of older messages would get no reply", "remove one of them")
	}
	if decl.Sequence == nil {
		return
	}
	s := decl.Sequence.Sequence
	s.Skip = decl.Sequence.OnFailure == "skip"
	b.proc.Delivery.Sequence = &s
	// An execution can wait for its key only if it is durable.
	b.proc.SuspendsCaller = b.proc.Listen != nil && b.proc.Listen.Output != ""
}
