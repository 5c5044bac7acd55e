package examples

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Placeholders in expected values.
const (
	anyValue  = "<any>"
	anyTime   = "<time>"
	sameValue = "<same>"
)

// pair is a member of an object. Objects are ordered lists, because the order
// of keys is checked as well.
type pair struct {
	key   string
	value any
}

// parse reads JSON into nil, bool, string, json.Number, []any and []pair.
func parse(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := parseValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("unexpected text after the JSON value")
	}
	return v, nil
}

func parseValue(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	case json.Delim('{'):
		object := []pair{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(dec)
			if err != nil {
				return nil, err
			}
			object = append(object, pair{key.(string), v})
		}
		_, err := dec.Token()
		return object, err
	}
	return tok, nil
}

// MatchJSON returns the first difference between got and want, or "". Numbers
// must have the same digits and keys the same order. With subset, objects may
// have additional members, in any order.
func MatchJSON(want, got []byte, subset bool) string {
	w, err := parse(want)
	if err != nil {
		return fmt.Sprintf("the expected value is not JSON: %v", err)
	}
	g, err := parse(got)
	if err != nil {
		return fmt.Sprintf("not JSON: %v: %.200q", err, got)
	}
	return differ("", w, g, subset)
}

func differ(at string, want, got any, subset bool) string {
	unlike := func() string {
		return fmt.Sprintf("at %q: got %s, want %s", at, show(got), show(want))
	}
	switch w := want.(type) {
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return unlike()
		}
		for i := range w {
			if d := differ(fmt.Sprintf("%s/%d", at, i), w[i], g[i], subset); d != "" {
				return d
			}
		}
		return ""
	case []pair:
		g, ok := got.([]pair)
		if !ok || !subset && len(g) != len(w) {
			return unlike()
		}
		for i, p := range w {
			var v any
			var found bool
			if subset {
				v, found = find(g, p.key)
			} else if g[i].key == p.key {
				v, found = g[i].value, true
			}
			if !found {
				return unlike()
			}
			if d := differ(at+"/"+p.key, p.value, v, subset); d != "" {
				return d
			}
		}
		return ""
	case string:
		if g, ok := got.(string); ok && w == anyTime {
			if _, err := time.Parse(time.RFC3339Nano, g); err == nil {
				return ""
			}
		}
		if w == anyValue && got != nil && got != "" {
			return ""
		}
	}
	switch got.(type) {
	case []any, []pair:
		return unlike()
	}
	if want != got {
		return unlike()
	}
	return ""
}

func find(object []pair, key string) (any, bool) {
	for _, p := range object {
		if p.key == key {
			return p.value, true
		}
	}
	return nil, false
}

// show formats a parsed value as JSON.
func show(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = show(e)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case []pair:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = show(p.key) + ":" + show(p.value)
		}
		return "{" + strings.Join(parts, ",") + "}"
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// matchHeaders returns the first header that differs, or "". Parameters of a
// media type may be omitted.
func matchHeaders(want map[string]string, got http.Header, same map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		w, g := want[k], got.Get(k)
		if k == "Content-Type" && !strings.Contains(w, ";") {
			g, _, _ = strings.Cut(g, ";")
		}
		if w == sameValue && g != "" {
			if same[k] == "" {
				same[k] = g
			}
			w = same[k]
		}
		if w == anyValue && g != "" {
			continue
		}
		if g != w {
			return fmt.Sprintf("header %s: got %q, want %q", k, g, w)
		}
	}
	return ""
}

// MatchAnswer returns how a response differs from the expected one, or "".
func (x *Expect) MatchAnswer(dir string, status int, header http.Header, body []byte) string {
	if status != x.Status {
		return fmt.Sprintf("got status %d, want %d; body %.500s", status, x.Status, body)
	}
	if d := matchHeaders(x.Headers, header, map[string]string{}); d != "" {
		return d
	}
	if x.Subset != nil {
		if d := MatchJSON(x.Subset, body, true); d != "" {
			return d
		}
	}
	return x.Content.match(dir, body)
}

// match returns how a body differs from the content, or "".
func (c Content) match(dir string, body []byte) string {
	want, given, err := c.Bytes(dir)
	switch {
	case err != nil:
		return err.Error()
	case !given:
		return ""
	case c.Text == nil:
		return MatchJSON(want, body, false)
	case !bytes.Equal(want, body):
		return fmt.Sprintf("got %q, want %q", body, want)
	}
	return ""
}

// MatchCalls returns the expected calls that are missing, and the calls that
// were not expected.
func (e *Example) MatchCalls(got []ReceivedCall) []string {
	rest := append([]ReceivedCall(nil), got...)
	same := map[string]string{}
	var problems []string
	for _, want := range e.Calls {
		near := "no call to it is left"
		at := -1
		for i, g := range rest {
			if g.To != want.To {
				continue
			}
			if near = matchHeaders(want.Headers, g.Header, same); near == "" {
				near = want.Content.match(e.Dir, g.Body)
			}
			if near == "" {
				at = i
				break
			}
		}
		if at < 0 {
			problems = append(problems, fmt.Sprintf("missing: %s: %s", want.To, near))
			continue
		}
		rest = append(rest[:at], rest[at+1:]...)
	}
	for _, g := range rest {
		problems = append(problems, fmt.Sprintf("unexpected: %s (answered %d): %.500s", g.To, g.Status, g.Body))
	}
	return problems
}
