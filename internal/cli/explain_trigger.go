package cli

import (
	"fmt"
	"time"

	"valence/processes"
)

// scheduled says what starts a process by the clock.
func scheduled(s *processes.Schedule) string {
	missed := map[string]string{
		"once": "missed times are made up for once, with the latest", "all": "each missed time is made up for", "skip": "missed times are left out",
	}
	overlap := map[string]string{
		"skip": "a time at which the run before has not ended is left out", "queue": "a run waits until the one before has ended", "allow": "runs may overlap",
	}
	return fmt.Sprintf("Starts when %q is due by the clock of %s, never twice for one time; %s; %s.", s.Cron, s.Cron.Place(), overlap[s.Overlap], missed[s.Misfire])
}

// subscribed says what delivers messages to a process.
func subscribed(s *processes.Subscribe) string {
	return fmt.Sprintf("Takes what the connection %s (%s) delivers.", s.Connection, s.Connector.Name)
}

// outside is where the asynchronous boundary lies where no request comes in.
func outside(p *processes.Process) string {
	if p.Schedule != nil {
		return "At the scheduled time: the run is on disk before its first step, and every step runs later."
	}
	return "At acceptance: the source is told that the message is done once it is on disk, and every step runs later."
}

// trigger is how a list shows what starts a process.
type triggerView struct {
	Listen *struct {
		Path    string
		Methods []string
	}
	Schedule *struct {
		Cron, Timezone string
		NextDue        *time.Time `json:"next_due"`
		Waiting        bool
	}
	Subscribe *struct {
		Connection, Connector string
		Error                 string
	}
}

func (v *triggerView) String() string {
	switch {
	case v.Listen != nil:
		text := ""
		for i, m := range v.Listen.Methods {
			if i > 0 {
				text += ","
			}
			text += m
		}
		return text + " " + v.Listen.Path
	case v.Schedule != nil:
		text := v.Schedule.Cron + " " + v.Schedule.Timezone
		switch {
		case v.Schedule.Waiting:
			text += ", waits for the run before"
		case v.Schedule.NextDue != nil:
			text += ", next in " + span(time.Until(*v.Schedule.NextDue))
		}
		return text
	case v.Subscribe != nil && v.Subscribe.Error != "":
		return v.Subscribe.Connection + " (" + v.Subscribe.Connector + "): " + v.Subscribe.Error
	case v.Subscribe != nil:
		return v.Subscribe.Connection + " (" + v.Subscribe.Connector + ")"
	}
	return ""
}
