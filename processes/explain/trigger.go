package explain

import (
	"fmt"
	"strings"

	"valence/internal/spec"
	"valence/processes"
)

// trigger describes the trigger of a process.
func trigger(project *processes.Project, p *processes.Process) string {
	switch {
	case p.Schedule != nil:
		return schedule(p.Schedule)
	case p.Subscribe != nil:
		return fmt.Sprintf("Subscribes to the connection %s (%s).", p.Subscribe.Connection, p.Subscribe.Connector.Name)
	case p.Listen == nil:
		return "No trigger: started by another process, `valence exec` or an execution request."
	}
	l := p.Listen
	who := "no authentication"
	if l.Auth != "none" && l.Auth != "" {
		who = "authenticated by " + l.Auth
		if a := project.Auths[l.Auth]; a != nil {
			who += " (" + a.Scheme + ")"
		}
	}
	body := l.Input + " body"
	if l.Input == "none" {
		body = "no body"
	}
	output := l.Output + " reply"
	if l.Output == "" {
		output = "receipt as response"
	}
	return fmt.Sprintf("Listens on %s %s: %s, %s, %s.", strings.Join(l.Methods, ", "), l.Path, body, output, who)
}

func schedule(s *processes.Schedule) string {
	missed := map[string]string{
		"once": "the latest of the missed times runs once", "all": "every missed time runs", "skip": "missed times are skipped",
	}
	overlap := map[string]string{
		"skip": "a time is skipped while the previous run has not ended", "queue": "a run waits until the previous one has ended", "allow": "runs may overlap",
	}
	return fmt.Sprintf("Starts when %q is due in the time zone %s, at most once per time; %s; %s.", s.Cron, s.Cron.Zone(), overlap[s.Overlap], missed[s.Misfire])
}

// checks lists the checks before acceptance, in the order in which they run.
func (e *explainer) checks() {
	d, l := e.process.Delivery, e.process.Listen
	add := func(format string, args ...any) { e.x.Checks = append(e.x.Checks, fmt.Sprintf(format, args...)) }
	if l != nil {
		if l.Limits.Concurrency > 0 || l.Limits.Rate > 0 {
			add("limits: 429 or 503 if exceeded, and nothing is accepted")
		}
		if l.Auth != "none" && l.Auth != "" {
			add("authentication: 401 if it fails")
		}
		if l.Input != "none" {
			if l.Service != nil {
				add("body: a SOAP envelope of at most %s whose content matches the schema of its operation; a fault otherwise", spec.FormatSize(l.Limits.Body))
			} else {
				add("body: %s of at most %s; 400, 413 or 415 otherwise", l.Input, spec.FormatSize(l.Limits.Body))
			}
		}
	}
	if d.Profile != nil {
		add("profile %s: 400 with the violations if the input does not match", d.Profile.Name)
	}
	if d.Filter != nil {
		add("filter %s: if false, the message is acknowledged and not run", d.Filter.Source())
	}
	if d.Dedupe != nil {
		add("dedupe by %s for %s: a repeat is not run and gets the first response", d.Dedupe.Key.Source(), Duration(d.Dedupe.Window))
	}
	if g := d.EchoGuard; g != nil {
		add("echo guard: an event caused by a call with marks for %s is acknowledged and not run; an event that arrives before the call's response waits for it, at most 10s", g.System)
	}
	if c := d.Coalesce; c != nil {
		add("coalesce by %s for %s: only the newest message of a key runs; the others end as superseded", c.Key.Source(), Duration(c.Window))
	}
	if e.process.Pattern != processes.RequestReply {
		add("backlog: 503 if %d messages are waiting", d.Backlog)
	}
	if s := d.Sequence; s != nil {
		limit := ""
		if s.Limit > 0 {
			limit = fmt.Sprintf("; 503 if %d executions wait behind the first of a key", s.Limit)
		}
		add("sequence by %s: the position is assigned when the message is accepted%s", s.Key.Source(), limit)
	}
}
