package operator

import (
	"time"

	"valence/cloud"
)

type scheduleView struct {
	Atom      string    `json:"atom"` // name
	AtomID    string    `json:"atom_id"`
	Process   string    `json:"process"` // name
	ProcessID string    `json:"process_id"`
	Cron      string    `json:"cron"`
	Timezone  string    `json:"timezone"`
	Enabled   bool      `json:"enabled"`
	NextDue   time.Time `json:"next_due,omitzero"` // not while disabled
}

func scheduleOf(s cloud.ScheduleState) scheduleView {
	return scheduleView{s.AtomName, s.AtomID, s.ProcessName, s.ProcessID, s.Cron, s.Zone, s.Enabled, s.NextDue}
}

// schedules lists the schedules of one atom or of all.
func (a *api) schedules(c *call) (any, error) {
	all, err := a.service.Triggers.Schedules(c.Context(), c.p, c.URL.Query().Get("atom"))
	if err != nil {
		return nil, err
	}
	views := []scheduleView{}
	for _, s := range all {
		if s.Cron != "" {
			views = append(views, scheduleOf(s))
		}
	}
	return map[string]any{"schedules": views}, nil
}

func (a *api) switchSchedule(c *call) (any, error) {
	var in struct{ Enabled *bool }
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Enabled == nil {
		return nil, &cloud.InvalidError{Field: "enabled", Message: "is required: true or false"}
	}
	s, err := a.service.Triggers.SwitchSchedule(c.Context(), c.p, c.vars["id"], c.vars["process"], *in.Enabled)
	if err != nil {
		return nil, err
	}
	return scheduleOf(s), nil
}
