package console

import (
	"time"

	"valence/atom"
)

// scheduleView is the trigger of a time as operators see it.
type scheduleView struct {
	Cron          string     `json:"cron"`
	Timezone      string     `json:"timezone"`
	Overlap       string     `json:"overlap"`
	Misfire       string     `json:"misfire"`
	NextDue       *time.Time `json:"next_due,omitempty"`
	LastDue       *time.Time `json:"last_due,omitempty"`
	LastExecution string     `json:"last_execution,omitempty"`
	Waiting       bool       `json:"waiting,omitempty"` // a run waits for the one before it to end
}

func (c *console) schedule(d *atom.Deployed) *scheduleView {
	s := d.Process.Schedule
	if s == nil {
		return nil
	}
	t := c.Processes.Timing(d)
	v := &scheduleView{
		Cron: s.Cron.String(), Timezone: s.Cron.Place().String(), Overlap: s.Overlap, Misfire: s.Misfire,
		LastExecution: t.LastRun, Waiting: t.Waiting,
	}
	if !t.NextDue.IsZero() {
		v.NextDue = &t.NextDue
	}
	if !t.LastDue.IsZero() {
		v.LastDue = &t.LastDue
	}
	return v
}

// subscribeView is the trigger of a connection that delivers, as operators see it.
type subscribeView struct {
	Connection string `json:"connection"`
	Connector  string `json:"connector"`
	Error      string `json:"error,omitempty"` // why it does not listen at the moment
}
