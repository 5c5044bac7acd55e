package loader

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/connectors"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// retry compiles a retry policy. It returns nil after an error.
func retry(d *spec.Decoder, n *yaml.Node) *processes.Retry {
	var r language.Retry
	if at := valueAt(n, "backoff"); at != nil && spec.IsNumber(at.Value) {
		seconds := at.Value + "s"
		d.Problem(at, spec.CodeWrongValue, "`backoff: "+cut(at.Value)+"` has no unit", "write `backoff: "+cut(seconds)+"` for a constant wait, or `backoff: "+cut(seconds)+"..1m` for one that doubles up to a minute").
			Correct(at.Value, seconds)
		return nil
	}
	sub := &spec.Decoder{File: d.File, Report: d.Report}
	sub.Mapping(n, &spec.Keys{What: "`retry:`", Fields: language.RetryFields, Target: &r})
	ok := sub.Fails() == 0
	if r.Spread != "" && !parseBackoff(&r) {
		d.Problem(valueAt(n, "backoff"), spec.CodeWrongValue, "`backoff: "+cut(r.Spread)+"` is not a range of durations", "write the first and the maximum wait, such as `backoff: 1s..1m`")
		ok = false
	}
	for i, on := range r.RetryOn {
		if isFailureCode(on) {
			continue
		}
		at := valueAt(n, "retry_on")
		if at.Kind == yaml.SequenceNode {
			at = at.Content[i]
		}
		d.Problem(at, processes.CodeUnknownCode, "no failure of a call has the code `"+cut(on)+"`", codeHint(on, fault.Codes())).
			Correct(on, spec.Nearest(on, fault.Codes()))
		ok = false
	}
	if !ok {
		return nil
	}
	policy := r.Retry
	return &policy
}

// parseBackoff parses the backoff: 1s..1m, or 10s for constant waits.
func parseBackoff(r *language.Retry) bool {
	first, last, two := strings.Cut(r.Spread, "..")
	if !two {
		last = first
	}
	var err1, err2 error
	r.Backoff, err1 = spec.ParseDuration(first)
	r.MaxBackoff, err2 = spec.ParseDuration(last)
	return err1 == nil && err2 == nil && r.Backoff <= r.MaxBackoff && r.MaxBackoff <= language.MaxDuration
}

// accept compiles a list of statuses. It returns nil after an error.
func accept(d *spec.Decoder, f *spec.Info, n *yaml.Node) connectors.Accept {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	if len(items) == 0 || n.Kind == yaml.MappingNode {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be a list of statuses", spec.Expects(f))
		return nil
	}
	set := make(connectors.Accept, 0, len(items))
	for _, e := range items {
		r, ok := statuses(e.Value)
		if !ok || e.Kind != yaml.ScalarNode {
			d.Problem(e, spec.CodeWrongValue, "`"+cut(e.Value)+"` is not a status", "use statuses such as 404, or classes such as 2xx")
			return nil
		}
		set = append(set, r)
	}
	return set
}

// statuses parses a status such as 404, or a class such as 4xx.
func statuses(s string) (connectors.StatusRange, bool) {
	if len(s) != 3 || s[0] < '1' || s[0] > '5' {
		return connectors.StatusRange{}, false
	}
	if s[1:] == "xx" {
		from := int(s[0]-'0') * 100
		return connectors.StatusRange{From: from, To: from + 99}, true
	}
	n, err := strconv.Atoi(s)
	return connectors.StatusRange{From: n, To: n}, err == nil
}
