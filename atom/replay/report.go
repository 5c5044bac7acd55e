package replay

import (
	"cmp"
	"slices"
	"sync"

	"valence/atom"
)

// Report counts changes by kind.
type Report struct {
	Process  string   `json:"process"`
	Replayed int      `json:"replayed"`
	Changed  int      `json:"changed"`
	Changes  []*Group `json:"changes"`
	Skipped  []*Group `json:"not_replayed"`
	// NotCompared lists the parts that records of replayed executions lack.
	NotCompared []*Group `json:"not_compared,omitempty"`

	mu sync.Mutex
}

// Group is a kind of change, or a reason, with its number and an example.
type Group struct {
	Kind    string  `json:"kind"`
	Count   int     `json:"count"`
	Example Example `json:"example"`
}

// Example is one execution of a group.
type Example struct {
	Execution string `json:"execution"`
	Was       any    `json:"was,omitempty"`
	Now       any    `json:"now,omitempty"`
}

// NewReport returns an empty report on a process.
func NewReport(process string) *Report {
	return &Report{Process: process, Changes: []*Group{}, Skipped: []*Group{}}
}

// Add adds the result of an execution. It may be called by many goroutines.
func (r *Report) Add(v *atom.ExecutionView, result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result.unable != "" {
		count(&r.Skipped, string(result.unable), Example{Execution: v.Execution})
		return
	}
	r.Replayed++
	if len(result.changes) > 0 {
		r.Changed++
	}
	for _, what := range result.notCompared {
		count(&r.NotCompared, what, Example{Execution: v.Execution})
	}
	for _, c := range result.changes {
		count(&r.Changes, c.kind, Example{v.Execution, c.was, c.now})
	}
}

// count adds one to a group. Its example is the execution with the lowest id, so
// that the report is the same each time.
func count(list *[]*Group, kind string, e Example) {
	i := slices.IndexFunc(*list, func(g *Group) bool { return g.Kind == kind })
	if i < 0 {
		i = len(*list)
		*list = append(*list, &Group{Kind: kind, Example: e})
	}
	g := (*list)[i]
	g.Count++
	if e.Execution < g.Example.Execution {
		g.Example = e
	}
}

// Sort sorts the groups by their number.
func (r *Report) Sort() {
	for _, list := range [][]*Group{r.Changes, r.Skipped, r.NotCompared} {
		slices.SortFunc(list, func(a, b *Group) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind)) })
	}
}
