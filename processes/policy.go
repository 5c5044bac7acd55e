package processes

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/connectors"
	"valence/internal/spec"
)

// retry reads a retry policy.
func retry(d *spec.Decoder, n *yaml.Node) *Retry {
	var r retryDecl
	sub := &spec.Decoder{File: d.File, Report: d.Report}
	sub.Mapping(n, &spec.Keys{What: "`retry:`", Fields: retryFields, Target: &r})
	ok := sub.Fails() == 0
	if r.Spread != "" && !r.spread() {
		d.Problem(valueAt(n, "backoff"), spec.CodeWrongValue, "`backoff: "+cut(r.Spread)+"` is not a spread of durations", "write the first wait and the longest, such as `backoff: 1s..1m`")
		ok = false
	}
	for i, on := range r.RetryOn {
		if _, status := statuses(on); status || spec.IsName(on) {
			continue
		}
		at := valueAt(n, "retry_on")
		if at.Kind == yaml.SequenceNode {
			at = at.Content[i]
		}
		d.Problem(at, spec.CodeWrongValue, "`"+cut(on)+"` is neither a code nor a status", "use codes such as timeout and connect, statuses such as 429, or classes such as 5xx")
		ok = false
	}
	if !ok {
		return nil
	}
	policy := r.Retry
	return &policy
}

// spread reads 1s..1m, or 10s for waits that stay the same.
func (r *retryDecl) spread() bool {
	first, last, two := strings.Cut(r.Spread, "..")
	if !two {
		last = first
	}
	var err1, err2 error
	r.Backoff, err1 = spec.ParseDuration(first)
	r.MaxBackoff, err2 = spec.ParseDuration(last)
	return err1 == nil && err2 == nil && r.Backoff <= r.MaxBackoff && r.MaxBackoff <= longest
}

// accept reads a set of statuses.
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
			d.Problem(e, spec.CodeWrongValue, "`"+cut(e.Value)+"` is no status", "use statuses such as 404, or classes such as 2xx")
			return nil
		}
		set = append(set, r)
	}
	return set
}

// statuses reads 404 or 4xx.
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
