package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	"valence/atom"
	"valence/internal/cli/terminal"
)

// report counts changes by kind.
type report struct {
	Process  string   `json:"process"`
	Replayed int      `json:"replayed"`
	Changed  int      `json:"changed"`
	Changes  []*group `json:"changes"`
	Skipped  []*group `json:"not_replayed"`

	mu sync.Mutex
}

// group is a kind of change, or a reason, with its number and an example.
type group struct {
	Kind    string  `json:"kind"`
	Count   int     `json:"count"`
	Example example `json:"example"`
}

// example is one execution of a group.
type example struct {
	Execution string `json:"execution"`
	Was       any    `json:"was,omitempty"`
	Now       any    `json:"now,omitempty"`
}

func newReport(process string) *report {
	return &report{Process: process, Changes: []*group{}, Skipped: []*group{}}
}

// add adds the result of an execution.
func (r *report) add(v *atom.ExecutionView, result result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result.unable != "" {
		count(&r.Skipped, string(result.unable), example{Execution: v.Execution})
		return
	}
	r.Replayed++
	if len(result.changes) > 0 {
		r.Changed++
	}
	for _, c := range result.changes {
		count(&r.Changes, c.Kind, example{v.Execution, c.Was, c.Now})
	}
}

// count adds one to a group. Its example is the execution with the lowest id, so
// that the report is the same each time.
func count(list *[]*group, kind string, e example) {
	i := slices.IndexFunc(*list, func(g *group) bool { return g.Kind == kind })
	if i < 0 {
		i = len(*list)
		*list = append(*list, &group{Kind: kind, Example: e})
	}
	g := (*list)[i]
	g.Count++
	if e.Execution < g.Example.Execution {
		g.Example = e
	}
}

// print prints the report.
func (r *report) print(w io.Writer, asJSON bool) error {
	for _, list := range [][]*group{r.Changes, r.Skipped} {
		slices.SortFunc(list, func(a, b *group) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind)) })
	}
	if asJSON {
		return terminal.EncodeJSON(w, r)
	}
	for _, g := range r.Changes {
		if _, err := fmt.Fprintf(w, "%s: %d changed, such as %s\n  - was %s\n  + now %s\n", g.Kind, g.Count, g.Example.Execution, text(g.Example.Was), text(g.Example.Now)); err != nil {
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
