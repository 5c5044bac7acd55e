package cli

import (
	"fmt"

	"valence/processes"
)

// suspensions lists where the process waits without a thread: for a signal, or
// for a time.
func (e *explainer) suspensions(block processes.Block) {
	for _, s := range block {
		if x, ok := s.Settings.(processes.Suspender); ok {
			text := fmt.Sprintf("sleep  %s: for %s", s.Pos, x.Suspends().For)
			if w := x.Suspends(); w.Name != "" {
				text = fmt.Sprintf("wait %s  %s: %s", w.Name, s.Pos, endsBy(w, len(s.Lists) > 0))
			}
			e.x.Suspends = append(e.x.Suspends, text)
		}
		for _, l := range s.Lists {
			e.suspensions(l.Steps)
		}
	}
}

// endsBy tells what ends a wait.
func endsBy(w processes.Suspension, onTimeout bool) string {
	by := "until a POST to its callback()"
	if w.Keyed {
		by = "until a resume with its key, or a POST to its callback()"
	}
	switch {
	case w.Timeout == 0:
		return by + ", however long that takes"
	case onTimeout:
		return by + ", at most " + exact(w.Timeout) + ": then on_timeout"
	}
	return by + ", at most " + exact(w.Timeout) + ": then it goes on with nil"
}
