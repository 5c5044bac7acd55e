package console

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/cloud"
)

// executionsData is a page of execution records.
type executionsData struct {
	Filter       recordForm
	Statuses     []string
	Environments []cloud.Environment
	Processes    []cloud.Component
	Records      []*cloud.ExecutionRecord
	Older        string // link to older records
	Newest       bool   // the page starts with the newest record
	Problem      string
}

// recordForm is the search form as entered.
type recordForm struct{ Status, Process, Atom, Environment, From, To, ID string }

// Any reports whether the form filters records.
func (f recordForm) Any() bool { return f != recordForm{} }

var statuses = []string{cloud.Failed, cloud.CompleteWarn, cloud.Complete, cloud.InProcess, cloud.Enqueued, cloud.Started, cloud.Aborted, cloud.Discarded}

// Limits of the record search.
const (
	recordsPage  = 50
	maxProcesses = 500 // offered processes
	maxLook      = 10 * time.Second
)

func (c *console) executions(v *visit) (*answer, error) {
	q := v.URL.Query()
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	d := &executionsData{Statuses: statuses, Filter: recordForm{get("status"), get("process"), get("atom"), get("environment"), get("from"), get("to"), get("id")}}
	var err error
	if d.Environments, err = c.Service.Environments.List(v.Context(), v.p); err != nil {
		return nil, err
	}
	if d.Processes, err = c.Service.Packages.Components(v.Context(), v.p); err != nil {
		return nil, err
	}
	d.Newest = !q.Has("before")
	a := &answer{page: "executions", title: "Executions", data: d}
	want, err := c.recordFilter(v, d)
	d.Processes = d.Processes[:min(len(d.Processes), maxProcesses)]
	if invalid := (*cloud.InvalidError)(nil); errors.As(err, &invalid) || errors.Is(err, cloud.ErrNotFound) {
		d.Problem = capital(err.Error())
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	var after cloud.Cursor
	if before := q.Get("before"); before != "" {
		if _, err := fmt.Sscanf(before, "%d.%d", &after.Time, &after.Seq); err != nil {
			return nil, &cloud.InvalidError{Field: "before", Message: "is not a valid position in the list"}
		}
	}
	ctx, cancel := context.WithTimeout(v.Context(), maxLook)
	defer cancel()
	found, next, err := c.Service.Executions.Records(ctx, v.p, want, after, recordsPage)
	if err != nil && v.Context().Err() == nil && ctx.Err() != nil {
		d.Problem = "The search took too long. Narrow the time range or the filter."
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	d.Records = found
	if next != (cloud.Cursor{}) {
		q.Set("before", fmt.Sprintf("%d.%d", next.Time, next.Seq))
		q.Del("done")
		d.Older = "/executions?" + q.Encode()
	}
	if d.Newest {
		a.every = liveEvery
	}
	return a, nil
}

// recordFilter parses the search form.
func (c *console) recordFilter(v *visit, d *executionsData) (cloud.RecordFilter, error) {
	f := d.Filter
	want := cloud.RecordFilter{}
	if f.Status != "" {
		if !slices.Contains(statuses, f.Status) {
			return want, &cloud.InvalidError{Field: "status", Message: "no such status"}
		}
		want.Status = f.Status
	}
	switch {
	case strings.HasPrefix(f.ID, "executionrecord-"):
		want.RequestID = f.ID
	case f.ID != "":
		want.ID = f.ID
	}
	if f.Atom != "" {
		x, err := c.Service.Fleet.Atom(v.Context(), v.p, f.Atom)
		if err != nil {
			return want, err
		}
		want.AtomID, d.Filter.Atom = x.ID, x.Name
		if x.Revoked {
			d.Filter.Atom = x.ID // the name may belong to another atom now
		}
	}
	if f.Environment != "" {
		x, err := c.Service.Environments.Get(v.Context(), v.p, f.Environment)
		if err != nil {
			return want, err
		}
		want.Environments = []string{x.ID}
	}
	var err error
	if want.ProcessID, err = processID(d.Processes, f.Process); err != nil {
		return want, err
	}
	if want.From, err = minute("from", f.From); err != nil {
		return want, err
	}
	want.To, err = minute("to", f.To)
	return want, err
}

// processID finds a process by id, by name, or by name and project as the page
// offers them.
func processID(all []cloud.Component, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	found := ""
	for _, x := range all {
		switch {
		case x.ID == text || x.Name+" · "+x.Project == text:
			return x.ID, nil
		case x.Name == text && found != "":
			return "", &cloud.InvalidError{Field: "process", Message: "several projects have a process with this name: choose one from the list"}
		case x.Name == text:
			found = x.ID
		}
	}
	if found == "" {
		return "", &cloud.InvalidError{Field: "process", Message: "no such process: " + cut(100, text)}
	}
	return found, nil
}

// minute parses a browser's date and time field as UTC.
func minute(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &cloud.InvalidError{Field: field, Message: "must be a time in UTC such as 2026-01-02T15:04"}
}

// executionData is an execution, or a request that has not started one yet.
type executionData struct {
	Record      *cloud.ExecutionRecord  // nil: the atom has not reported yet
	Request     *cloud.ExecutionRequest // nil: started without a request
	Environment string                  // name
	Atom        *cloud.Atom             // nil: removed
	Document    string
	Props       string
	Original    string // path of the resubmitted execution
}

// Again reports whether the execution can be resubmitted here.
func (d *executionData) Again() bool {
	return d.Record != nil && d.Record.Status == cloud.Failed && d.Record.HasRun() && d.Record.ResubmittedAs == "" && d.Atom != nil && !d.Atom.Revoked && !d.Atom.Retired
}

// Over reports whether the execution has ended.
func (d *executionData) Over() bool { return d.Record != nil && d.Record.Ended() }

func (c *console) execution(v *visit) (*answer, error) {
	r, err := c.Service.Executions.Record(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d := &executionData{Record: r}
	if r.RequestID != "" {
		d.Request, err = c.Service.Executions.ExecutionRequest(v.Context(), v.p, r.RequestID)
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return nil, err
		}
	}
	return c.executionPage(v, d, r.AtomID, r.ProcessName)
}

// request shows the state of an execution request.
func (c *console) request(v *visit) (*answer, error) {
	x, err := c.Service.Executions.ExecutionRequest(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d := &executionData{Request: x}
	if d.Record, err = c.Service.Executions.WaitRecord(v.Context(), v.p, x.ID, 0); err != nil {
		return nil, err
	}
	return c.executionPage(v, d, x.AtomID, x.ProcessName)
}

func (c *console) executionPage(v *visit, d *executionData, atom, process string) (*answer, error) {
	if x, err := c.Service.Fleet.Atom(v.Context(), v.p, atom); err == nil {
		d.Atom = &x
	}
	if d.Record != nil {
		d.Environment, d.Document = d.Record.EnvironmentID, readable(d.Record.Document)
		if e, err := c.Service.Environments.Get(v.Context(), v.p, d.Record.EnvironmentID); err == nil {
			d.Environment = e.Name
		}
		if strings.HasPrefix(d.Record.OriginalID, "execution-") {
			d.Original = "/executions/" + url.PathEscape(d.Record.OriginalID)
		}
	}
	if d.Request != nil && len(d.Request.Props) > 0 {
		d.Props = readable(d.Request.Props)
	}
	a := &answer{page: "execution", title: process, data: d}
	switch {
	case d.Over():
	case d.Request != nil && time.Since(d.Request.Created) < time.Minute:
		a.every = soonEvery
	default:
		a.every = liveEvery
	}
	return a, nil
}

func (c *console) askCancel(v *visit) (*answer, error) {
	id := v.PathValue("id")
	back := "/executions/" + url.PathEscape(id)
	var err error
	if strings.HasPrefix(id, "executionrecord-") {
		back = "/requests/" + url.PathEscape(id)
		_, err = c.Service.Executions.ExecutionRequest(v.Context(), v.p, id)
	} else {
		_, err = c.Service.Executions.Record(v.Context(), v.p, id)
	}
	if err != nil {
		return nil, err
	}
	return confirm("Cancel this execution?", &confirmation{
		Crumb: "Execution", CrumbHref: back, Action: "/executions/" + url.PathEscape(id) + "/cancel",
		What: []string{"The atom receives the cancellation at its next poll. A call in flight may still take effect; completed steps are not undone."}, Button: "Cancel it", Danger: true,
	})
}

func (c *console) cancel(v *visit) (*answer, error) {
	id := v.PathValue("id")
	if err := c.Service.Executions.Cancel(v.Context(), v.p, id); err != nil {
		return nil, err
	}
	if strings.HasPrefix(id, "executionrecord-") {
		return see("/requests/"+url.PathEscape(id), "cancelled")
	}
	return see("/executions/"+url.PathEscape(id), "cancelled")
}

// askResubmit asks for confirmation and for the starting point.
func (c *console) askResubmit(v *visit) (*answer, error) {
	x, err := c.Service.Executions.Record(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	from := v.URL.Query().Get("from")
	d := &confirmation{
		Crumb: "Execution", CrumbHref: "/executions/" + url.PathEscape(x.ID), Action: "/executions/" + url.PathEscape(x.ID) + "/resubmit", Fields: map[string]string{"from": from},
		What:   []string{"The atom runs it again from the start, with the same message, on the version deployed now. Repeated calls carry the same idempotency keys."},
		Button: "Resubmit it",
	}
	if from == cloud.FromFailedStep {
		d.What[0] = "The atom continues at the failed step, on the version deployed now. Completed steps are not repeated."
	}
	d.What = append(d.What, "The resubmission is a new execution. A failed execution can be resubmitted only once.")
	return confirm("Resubmit this execution?", d)
}

func (c *console) resubmit(v *visit) (*answer, error) {
	request, err := c.Service.Executions.Resubmit(v.Context(), v.p, v.PathValue("id"), v.PostForm.Get("from"))
	if err != nil {
		return nil, err
	}
	return see("/requests/"+url.PathEscape(request), "resubmitted")
}
