package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

type explainCmd struct {
	Process string   `arg:"" help:"The process."`
	Paths   []string `arg:"" optional:"" files:"" help:"Folders and files of the project; the current folder by default."`
	JSON    bool     `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*explainCmd) Help() string {
	return `Everything is computed from the files; nothing is called or started.

Examples:

    valence explain order-sync
    valence explain order-sync orders/ --json
`
}

// Run explains one process.
func (c *explainCmd) Run(s *streams) error {
	p, err := loadRight(c.Paths, s.err)
	if err != nil {
		return err
	}
	process, ok := p.project.Processes[c.Process]
	if !ok {
		names := sortedKeys(p.project.Processes)
		return wrong("one of: "+strings.Join(names, ", "), "the project has no process %s", c.Process)
	}
	x := explain(p.project, process)
	if c.JSON {
		return encodeJSON(s.out, x)
	}
	return x.print(s.out)
}

// explanation is what can be said of a process without running it.
type explanation struct {
	Process     string        `json:"process"`
	Description string        `json:"description,omitempty"`
	Position    string        `json:"position"`
	Pattern     string        `json:"pattern"`
	Trigger     string        `json:"trigger"`
	Checks      []string      `json:"checked_before_the_answer"`
	Boundary    string        `json:"asynchronous_boundary"`
	Durable     []string      `json:"durable"`
	Calls       []callSummary `json:"calls"`
	Suspends    []string      `json:"suspends,omitempty"`
	Repeats     []string      `json:"repeats"`
	CallerWaits string        `json:"caller_waits"`
	WaitsMS     int64         `json:"caller_waits_at_most_ms,omitempty"`
	CallerSteps *spanView     `json:"caller_steps,omitempty"` // that run while the caller waits
	Sequence    *sequenceView `json:"sequence,omitempty"`
	Pools       []poolView    `json:"pools"`
	Notes       []string      `json:"notes,omitempty"`
}

// callSummary is one call or start of another process.
type callSummary struct {
	What       string `json:"what"`
	Position   string `json:"position"`
	Step       string `json:"step,omitempty"`
	Durable    bool   `json:"durable"`  // its result is kept, so that a crash does not make it again
	Handoff    bool   `json:"handoff"`  // an execution of its own
	Changes    bool   `json:"changes"`  // it may change something in the other system
	Attempts   int    `json:"attempts"` // at most, the first included
	TimeoutMS  int64  `json:"timeout_ms,omitempty"`
	LongestMS  int64  `json:"longest_ms,omitempty"` // all attempts and the waits between
	Repeatable string `json:"repeat"`               // what makes a repeat safe
	Marks      string `json:"marks,omitempty"`      // what becomes of the event that it causes
}

func (x *explanation) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  (%s)\n", x.Process, x.Position)
	if x.Description != "" {
		fmt.Fprintf(&b, "  %s\n", x.Description)
	}
	section := func(title string, lines ...string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	section("Pattern", x.Pattern, x.Trigger)
	section("Before the answer", x.Checks...)
	section("Asynchronous boundary", x.Boundary)
	section("Durable", x.Durable...)
	var calls []string
	for _, c := range x.Calls {
		calls = append(calls, c.lines()...)
	}
	section("Calls", calls...)
	section("Waits without a thread", x.Suspends...)
	section("What can repeat", x.Repeats...)
	section("Longest wait of a caller", append([]string{x.CallerWaits}, x.CallerSteps.lines("The steps until the reply")...)...)
	section("What a blocked key costs", x.Sequence.lines()...)
	var pools []string
	for _, p := range x.Pools {
		pools = append(pools, p.Pool+": "+p.Effect)
	}
	section("What is starved by what", pools...)
	section("Notes", x.Notes...)
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *callSummary) lines() []string {
	how := "in the request"
	switch {
	case c.Handoff:
		how = "handed off"
	case c.Durable:
		how = "durable"
	}
	first := fmt.Sprintf("%s  %s", c.What, c.Position)
	second := "  " + how + ", " + plural(c.Attempts, "attempt", "attempts")
	if c.TimeoutMS > 0 {
		second += " of at most " + exact(time.Duration(c.TimeoutMS)*time.Millisecond)
	}
	if c.Attempts > 1 && c.LongestMS > 0 {
		second += ", done or failed within " + exact(time.Duration(c.LongestMS)*time.Millisecond)
	}
	lines := []string{first, second, "  " + c.Repeatable}
	if c.Marks != "" {
		lines = append(lines, "  "+c.Marks)
	}
	return lines
}

// exact prints a duration without zero parts: 1m30s, 10m, 2h.
func exact(d time.Duration) string {
	s := d.Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
