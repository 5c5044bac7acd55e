package admin

import (
	"time"

	"valence/atom"
)

// scheduleView is a schedule as shown to operators.
type scheduleView struct {
	Cron          string     `json:"cron"`
	Timezone      string     `json:"timezone"`
	Overlap       string     `json:"overlap"`
	Misfire       string     `json:"misfire"`
	NextDue       *time.Time `json:"next_due,omitempty"`
	LastDue       *time.Time `json:"last_due,omitempty"`
	LastExecution string     `json:"last_execution,omitempty"`
	Waiting       bool       `json:"waiting,omitempty"` // a run waits for the previous one to end
}

func (a *api) scheduleView(d *atom.DeployedProcess) *scheduleView {
	s := d.Process.Schedule
	if s == nil {
		return nil
	}
	t := a.Processes.ScheduleStatus(d)
	v := &scheduleView{
		Cron: s.Cron.String(), Timezone: s.Cron.Zone().String(), Overlap: s.Overlap, Misfire: s.Misfire,
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

// subscribeView is a subscription as shown to operators.
type subscribeView struct {
	Connection string           `json:"connection"`
	Connector  string           `json:"connector"`
	State      string           `json:"state,omitempty"`   // connecting, up, down or standby; "" while the trigger is paused
	Since      *time.Time       `json:"since,omitempty"`   // of the state
	Error      string           `json:"error,omitempty"`   // why it is down
	Warning    string           `json:"warning,omitempty"` // the last thing to know although it runs
	WarningAt  *time.Time       `json:"warning_at,omitempty"`
	Lag        *int64           `json:"lag,omitempty"` // messages that wait at the source
	Delay      *float64         `json:"delay_seconds,omitempty"`
	Messages   map[string]int64 `json:"messages,omitempty"` // since the start, by result
}

func (a *api) subscribeView(d *atom.DeployedProcess) *subscribeView {
	p := d.Process.Subscribe
	if p == nil {
		return nil
	}
	v := &subscribeView{Connection: p.Connection, Connector: p.Connector.Name}
	s, runs := a.Processes.SubscriptionStatus(d)
	if !runs {
		return v
	}
	v.State, v.Since, v.Error, v.Messages = s.State, &s.Since, s.Error, map[string]int64{}
	if s.Warning != "" {
		v.Warning, v.WarningAt = s.Warning, &s.WarningAt
	}
	if s.Lag >= 0 {
		v.Lag = &s.Lag
	}
	if s.Delay >= 0 {
		seconds := s.Delay.Seconds()
		v.Delay = &seconds
	}
	for result, n := range s.Counts {
		v.Messages[string(result)] = n
	}
	return v
}
