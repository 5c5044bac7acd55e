package importer

import (
	"fmt"
	"strings"
)

// The states of a part of the source.
const (
	TakenOver = "taken_over" // it has a counterpart in the project
	Todo      = "todo"       // a step that fails stands for it
	LeftOut   = "left_out"   // the project works without it, perhaps differently
)

// Part is a part of the source.
type Part struct {
	Place  string `json:"place"` // in the source
	Part   string `json:"part"`
	Status string `json:"status"`
	As     string `json:"as,omitempty"`  // its counterpart
	Why    string `json:"why,omitempty"` // it is a TODO or was left out
}

// Value is a value that the project reads from its environment.
type Value struct {
	Kind       string `json:"kind"` // env or secret
	Name       string `json:"name"`
	About      string `json:"about"`
	Suggestion string `json:"suggestion,omitempty"` // the value in the source
}

// Report lists every part of a source.
type Report struct {
	Kind   string   `json:"kind"`
	Source string   `json:"source"`
	Dir    string   `json:"dir"`
	Files  []string `json:"files"`
	Parts  []Part   `json:"parts"`
	Values []Value  `json:"values"`

	seen map[Part]bool
}

func (r *Report) add(p Part) {
	p.Part, p.Why = printable(shorten(p.Part, 160)), printable(shorten(p.Why, 240))
	if r.seen[p] { // a resource that is used more than once
		return
	}
	if r.seen == nil {
		r.seen = map[Part]bool{}
	}
	r.seen[p] = true
	r.Parts = append(r.Parts, p)
}

func (r *Report) value(v Value) {
	for _, known := range r.Values {
		if known.Kind == v.Kind && known.Name == v.Name {
			return
		}
	}
	v.About, v.Suggestion = printable(shorten(v.About, 120)), printable(shorten(v.Suggestion, 120))
	r.Values = append(r.Values, v)
}

// move changes the place of the last part with a place.
func (r *Report) move(from, to string) {
	for i := len(r.Parts) - 1; i >= 0; i-- {
		if r.Parts[i].Place == from {
			r.Parts[i].Place = to
			return
		}
	}
}

// Count returns the number of parts with a status.
func (r *Report) Count(status string) (n int) {
	for _, p := range r.Parts {
		if p.Status == status {
			n++
		}
	}
	return n
}

// Text returns the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	section := func(title, status string) {
		if r.Count(status) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s:\n", title)
		for _, p := range r.Parts {
			if p.Status != status {
				continue
			}
			detail := p.Why
			if p.As != "" {
				detail = p.As
			}
			fmt.Fprintf(&b, "  %s: %s: %s\n", p.Place, p.Part, detail)
		}
	}
	section("Taken over", TakenOver)
	section("To do; a step that fails stands for each", Todo)
	section("Left out", LeftOut)
	if len(r.Values) > 0 {
		b.WriteString("\nSet before the project starts:\n")
		for _, v := range r.Values {
			fmt.Fprintf(&b, "  %s (%s): %s", v.Name, v.Kind, v.About)
			if v.Suggestion != "" {
				fmt.Fprintf(&b, "; in the source %s", v.Suggestion)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
