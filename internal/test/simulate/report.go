package simulate

import (
	"fmt"
	"io"
	"time"
)

// Total adds seconds. Queue is the longest.
func Total(all []Second) (t Second) {
	for _, s := range all {
		t.Polls += s.Polls
		t.Requests += s.Requests
		t.Refused += s.Refused
		t.Busy += s.Busy
		t.Queue = max(t.Queue, s.Queue)
	}
	return t
}

// peak returns the most requests in a second.
func peak(all []Second) (most int) {
	for _, s := range all {
		most = max(most, s.Requests)
	}
	return most
}

// scenario is something that happens to a fleet that has polled for a while.
type scenario struct {
	name string
	down int           // control planes that are killed; -1: all
	gone time.Duration // for how long
}

var scenarios = []scenario{
	{"all control planes restart, 2 s", -1, 2 * time.Second},
	{"all are down for 10 minutes", -1, 10 * time.Minute},
	{"one of them restarts, 2 s", 1, 2 * time.Second},
}

const (
	before = 2 * time.Minute
	watch  = 6 * time.Minute
)

// Report simulates the scenarios, and writes a table.
func Report(w io.Writer, c Config) error {
	f := New(c)
	f.Run(before + time.Minute)
	idle := Total(f.Seconds[60:180])
	_, err := fmt.Fprintf(w, "%d atoms, %d groups of %d members, %d control planes with %d cores\n\nidle: %d polls/s, %.2f cores, %.1f GiB in each control plane\n\n", c.Atoms, c.Groups, c.Members, c.Planes, c.Cores,
		idle.Polls/120, idle.Busy.Seconds()/120, float64(c.Memory)*float64(c.pollers())/float64(c.Planes)/(1<<30))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "| | half back | 99 % back | all back | peak requests/s | longest queue | refused | peak 5 min later |\n| --- | --- | --- | --- | --- | --- | --- | --- |"); err != nil {
		return err
	}
	for _, s := range scenarios {
		if err := s.report(w, c); err != nil {
			return err
		}
	}
	return nil
}

func (s scenario) report(w io.Writer, c Config) error {
	f := New(c)
	f.Run(before)
	down := s.down
	if down < 0 {
		down = c.Planes
	}
	f.Kill(down)
	f.NewRound()
	f.Run(s.gone)
	up := f.Now()
	f.Start()
	f.Run(watch)
	row := "| " + s.name
	for _, share := range []float64{0.5, 0.99, 1} {
		if at, ok := f.Back(share); ok {
			row += fmt.Sprintf(" | %.1f s", (at - up).Seconds())
		} else {
			row += " | –"
		}
	}
	after := f.Seconds[int(up/time.Second):]
	t := Total(after)
	_, err := fmt.Fprintf(w, "%s | %d | %d | %d | %d |\n", row, peak(after[:60]), t.Queue, t.Refused, peak(after[300:]))
	return err
}
