package platform

import (
	"encoding/base64"
	"net/http"
	"strings"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
	"valence/internal/openapi"
)

// conceptual is the prefix of a schedule id. The id is the base64 of the prefix,
// the atom and the process, separated by a colon.
const conceptual = "CPS"

func scheduleID(s cloud.ScheduleState) string {
	return base64.RawStdEncoding.EncodeToString([]byte(conceptual + s.AtomID + ":" + s.ProcessID))
}

// scheduleParts parses an id, with or without padding.
func scheduleParts(id string) (atom, process string, err error) {
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(id, "="))
	rest, ok := strings.CutPrefix(string(text), conceptual)
	if atom, process, _ = strings.Cut(rest, ":"); err != nil || !ok || atom == "" || process == "" {
		return "", "", refuse(http.StatusNotFound, "no such schedule %q: an id is the base64 of %s<atomId>:<processId>", id, conceptual)
	}
	return atom, process, nil
}

func getSchedule(c *call, id string) (cloud.ScheduleState, error) {
	atom, process, err := scheduleParts(id)
	if err != nil {
		return cloud.ScheduleState{}, err
	}
	return c.service.Triggers.Schedule(c.ctx, c.who, atom, process)
}

func listSchedules(c *call) ([]cloud.ScheduleState, error) {
	return c.service.Triggers.Schedules(c.ctx, c.who, "")
}

func scheduleKey(s cloud.ScheduleState) string {
	return s.AtomName + " " + s.AtomID + " " + s.ProcessName + " " + s.ProcessID
}

// sameTarget rejects a body that names another atom or process than the id.
func sameTarget(in *codec.Node, s cloud.ScheduleState) error {
	for name, is := range map[string]string{"atomId": s.AtomID, "processId": s.ProcessID} {
		if given := in.String(name); given != "" && given != is {
			return refuse(http.StatusBadRequest, "%s is %s, but the id belongs to %s", name, given, is)
		}
	}
	return nil
}

var scheduleProperties = []property[cloud.ScheduleState]{
	{Name: "id", Attr: true, Doc: "The id: the base64 of CPS<atomId>:<processId>.", Of: func(_ *call, s cloud.ScheduleState) any { return scheduleID(s) }},
	{Name: "atomId", Attr: true, Filter: true, Doc: "The atom.", Of: func(_ *call, s cloud.ScheduleState) any { return s.AtomID }},
	{Name: "processId", Attr: true, Filter: true, Doc: "The process.", Of: func(_ *call, s cloud.ScheduleState) any { return s.ProcessID }},
}

var schedulesObject = &object[cloud.ScheduleState]{
	Name: "ProcessSchedules", ID: "id",
	Doc: "The schedule of a process on an atom. Every deployed process without a listener has one, which is empty if the process has no `schedule:`. It is part of the package and cannot be changed here.",
	Properties: append(append([]property[cloud.ScheduleState]{}, scheduleProperties...),
		property[cloud.ScheduleState]{Name: "timezone", Attr: true, Doc: "The time zone of the fields. Extension.", Of: func(_ *call, s cloud.ScheduleState) any { return s.Zone }},
		property[cloud.ScheduleState]{Name: "cron", Attr: true, Doc: "The cron expression as written. Extension.", Of: func(_ *call, s cloud.ScheduleState) any { return s.Cron }},
		property[cloud.ScheduleState]{Name: "nextDue", Attr: true, Type: filter.Time, Doc: "The next due time; absent while the schedule is disabled. Extension.", Of: func(_ *call, s cloud.ScheduleState) any { return s.NextDue }},
	),
	Rules: map[verb]cloud.Action{verbGet: "schedule.read", verbBulk: "schedule.read", verbQuery: "schedule.read", verbUpdate: "schedule.update"},
	Key:   scheduleKey, Get: getSchedule, List: listSchedules, Update: updateSchedules, Extra: encodeSchedules,
	Also: doc{"Schedule": openapi.Array(texts("minutes", "hours", "daysOfWeek", "daysOfMonth", "months", "years")),
		"Retry": openapi.Object(nil, doc{"Schedule": openapi.Array(doc{"type": "object"}), "maxRetry": doc{"type": "integer"}})},
}

var scheduleStatusObject = &object[cloud.ScheduleState]{
	Name: "ProcessScheduleStatus", ID: "id", Doc: "Whether the schedule of a process is enabled on an atom.",
	Properties: append(append([]property[cloud.ScheduleState]{}, scheduleProperties...),
		property[cloud.ScheduleState]{Name: "enabled", Attr: true, Type: filter.Bool, Write: onUpdate, Doc: "Whether the schedule is enabled. The setting survives restarts and new versions. Times that pass while it is disabled are skipped.",
			Of: func(_ *call, s cloud.ScheduleState) any { return s.Enabled }},
	),
	Rules: map[verb]cloud.Action{verbGet: "schedule.read", verbBulk: "schedule.read", verbQuery: "schedule.read", verbUpdate: "schedule.update"},
	Key:   scheduleKey, Get: getSchedule, List: listSchedules,
	Update: func(c *call, id string, in *codec.Node) (cloud.ScheduleState, error) {
		s, err := getSchedule(c, id)
		if err == nil {
			err = sameTarget(in, s)
		}
		if err != nil {
			return s, err
		}
		if in.String("enabled") == "" {
			return s, refuse(http.StatusBadRequest, "enabled is missing: true or false")
		}
		on, err := in.Bool("enabled", false)
		if err != nil {
			return s, refuse(http.StatusBadRequest, "%v", err)
		}
		return c.service.Triggers.SwitchSchedule(c.ctx, c.who, s.AtomID, s.ProcessID, on)
	},
}

// fieldsOf returns the fields of a schedule; false if the process has none.
func fieldsOf(s cloud.ScheduleState) (cloud.CronFields, bool) {
	if s.Cron == "" {
		return cloud.CronFields{}, false
	}
	f, err := cloud.ParseCronFields(s.Cron)
	return f, err == nil
}

// encodeSchedules writes the schedule in the public API's form. Schedules are
// not retried, so Retry is empty.
func encodeSchedules(_ *call, s cloud.ScheduleState) []codec.Field {
	all := []*codec.Object{}
	if f, ok := fieldsOf(s); ok {
		one := &codec.Object{Type: "Schedule"}
		for _, x := range scheduleFields(f) {
			one.Fields = append(one.Fields, codec.Field{Name: x.name, Value: x.value, Attr: true})
		}
		all = append(all, one)
	}
	none := &codec.Object{Type: "ScheduleRetry", Fields: []codec.Field{{Name: "Schedule", Value: []*codec.Object{}, Keep: true}, {Name: "maxRetry", Value: 0, Attr: true}}}
	return []codec.Field{{Name: "Schedule", Value: all, Keep: true}, {Name: "Retry", Value: none}}
}

type namedField struct{ name, value string }

func scheduleFields(f cloud.CronFields) []namedField {
	return []namedField{{"minutes", f.Minutes}, {"hours", f.Hours}, {"daysOfWeek", f.DaysOfWeek}, {"daysOfMonth", f.DaysOfMonth}, {"months", f.Months}, {"years", f.Years}}
}

// updateSchedules accepts a body that equals the current schedule, because
// clients send whole objects back. Changes are rejected.
func updateSchedules(c *call, id string, in *codec.Node) (cloud.ScheduleState, error) {
	s, err := getSchedule(c, id)
	if err == nil {
		err = sameTarget(in, s)
	}
	if err != nil {
		return s, err
	}
	var retries []*codec.Node
	for _, r := range in.All("Retry") {
		retries = append(retries, r.All("Schedule")...)
	}
	if same(s, in.All("Schedule")) && len(retries) == 0 {
		return s, nil
	}
	return s, refuse(http.StatusConflict,
		"the schedule of %s is part of the package %s: change `schedule:` in its file and deploy a new version, or enable and disable it with ProcessScheduleStatus", s.ProcessName, s.Source)
}

// same reports whether the sent schedules equal those of the process.
func same(s cloud.ScheduleState, given []*codec.Node) bool {
	f, has := fieldsOf(s)
	if len(given) == 0 || !has {
		return len(given) == 0 && !has
	}
	if len(given) > 1 {
		return false
	}
	for _, x := range scheduleFields(f) {
		said := strings.TrimSpace(given[0].String(x.name))
		if said == "" {
			said = "*"
		}
		if said != x.value {
			return false
		}
	}
	return true
}
