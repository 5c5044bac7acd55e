package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"

	"valence/atom/replay"
	"valence/internal/cli/terminal"
)

// Print prints a report. Its groups are sorted first.
func Print(w io.Writer, r *replay.Report, asJSON bool) error {
	r.Sort()
	if asJSON {
		return terminal.EncodeJSON(w, r)
	}
	for _, g := range r.Changes {
		if _, err := fmt.Fprintf(w, "%s: %d changed, such as %s\n  - was %s\n  + now %s\n", g.Kind, g.Count, g.Example.Execution, text(g.Example.Was), text(g.Example.Now)); err != nil {
			return err
		}
	}
	for _, g := range r.NotCompared {
		if _, err := fmt.Fprintf(w, "not compared: %d, such as %s: %s\n", g.Count, g.Example.Execution, g.Kind); err != nil {
			return err
		}
	}
	for _, g := range r.Skipped {
		if _, err := fmt.Fprintf(w, "not replayed: %d, such as %s: %s\n", g.Count, g.Example.Execution, g.Kind); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s of %s replayed: %d changed, %d unchanged\n", terminal.Count(r.Replayed, "execution", "executions"), r.Process, r.Changed, r.Replayed-r.Changed)
	return err
}

// text returns a value in one line.
func text(v any) string {
	if s, ok := v.(string); ok {
		return cmp.Or(s, "nothing")
	}
	b, err := json.Marshal(v)
	if err != nil || v == nil {
		return "nothing"
	}
	return string(b)
}
