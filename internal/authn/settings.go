package authn

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/internal/access"
)

// settings reads the values of a scheme and collects problems.
type settings struct {
	values   map[string]any
	policy   *access.Policy
	problems []string
	refused  error // by the policy
}

func (s *settings) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// check reports unknown and missing keys.
func (s *settings) check(scheme Scheme) {
	for k := range s.values {
		if !slices.ContainsFunc(scheme.Settings, func(d Setting) bool { return d.Name == k }) {
			s.problem("%s: is not a setting of this scheme", k)
		}
	}
	for _, d := range scheme.Settings {
		v, ok := s.values[d.Name]
		if !ok || v == nil {
			if d.Required {
				s.problem("%s: is missing", d.Name)
			}
			continue
		}
		if len(d.Enum) > 0 && !slices.Contains(d.Enum, s.text(d.Name)) {
			s.problem("%s: must be one of %s", d.Name, strings.Join(d.Enum, ", "))
		}
	}
}

func (s *settings) has(key string) bool { return s.values[key] != nil }

// text returns a string, or "" if it is missing.
func (s *settings) text(key string) string {
	switch v := s.values[key].(type) {
	case nil:
	case string:
		if v == "" {
			s.problem("%s: is empty", key)
		}
		return v
	default:
		s.problem("%s: must be a string", key)
	}
	return ""
}

// texts returns a string or a list of strings, none of them empty.
func (s *settings) texts(key string) []string {
	switch v := s.values[key].(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for i, e := range v {
			t, ok := e.(string)
			if !ok || t == "" {
				s.problem("%s: element %d must be a non-empty string", key, i+1)
				continue
			}
			out = append(out, t)
		}
		if len(v) == 0 {
			s.problem("%s: is an empty list", key)
		}
		return out
	case string:
		if v == "" {
			s.problem("%s: is empty", key)
			return nil
		}
		return []string{v}
	}
	s.problem("%s: must be a string or a list of strings", key)
	return nil
}

// duration returns a duration such as 90s or 5m.
func (s *settings) duration(key string, otherwise time.Duration) time.Duration {
	return s.durationUpTo(key, otherwise, maxDuration)
}

func (s *settings) durationUpTo(key string, otherwise, most time.Duration) time.Duration {
	if !s.has(key) {
		return otherwise
	}
	var err error
	d, ok := s.values[key].(time.Duration)
	if !ok {
		d, err = time.ParseDuration(s.text(key))
	}
	if err != nil || d < 0 || d > most {
		s.problem("%s: must be a duration of at most %dh, such as 5m", key, int(most.Hours()))
		return otherwise
	}
	return d
}
