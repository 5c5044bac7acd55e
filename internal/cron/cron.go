// Package cron parses cron expressions and computes when they are due in a time
// zone, including days on which its clocks change.
//
// A library matches the fields on a clock that never changes. This package
// decides how daylight saving affects the result:
//
//   - A time that the clock skips (02:30 when it moves from 02:00 to 03:00) is due
//     once, at the moment of the change. If the schedule matches every hour, the
//     skipped hour is dropped.
//   - A time that occurs twice is due the first time. If the schedule matches
//     every hour (`*`) or every n minutes (`*/5`), it is due both times, so that
//     its rhythm continues.
package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"

	lib "github.com/netresearch/go-cron"
)

// Schedule is a cron expression in a time zone. It is immutable.
type Schedule struct {
	text     string
	zone     *time.Location
	match    lib.Schedule // on a clock without changes
	hourly   bool         // the hour is *
	rhythmic bool         // the hour is *, or the minute is * or */n
}

// Error describes an invalid expression and the position of the error.
type Error struct {
	Offset    int // of the field, in bytes
	Msg, Hint string
}

func (e *Error) Error() string { return e.Msg }

// words are the named expressions.
var aliases = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

var fields = [5]string{"minute", "hour", "day of the month", "month", "day of the week"}

// If both days are restricted, either may match, as in cron.
var parser = lib.MustNewParser(lib.Minute | lib.Hour | lib.Dom | lib.Month | lib.Dow | lib.DowOrDom).WithMaxSearchYears(12)

// Parse parses five fields, or a word such as @daily. Errors are *Errors.
func Parse(text string, place *time.Location) (*Schedule, error) {
	spelled := strings.TrimSpace(text)
	if strings.HasPrefix(spelled, "@") {
		five, ok := aliases[strings.ToLower(spelled)]
		if !ok {
			return nil, &Error{0, "unknown schedule " + spelled, "use @hourly, @daily, @weekly, @monthly or @yearly, or five fields"}
		}
		spelled = five
	} else if err := check(text); err != nil {
		return nil, err
	}
	parts := strings.Fields(spelled)
	match, err := parser.Parse(strings.Join(parts, " "))
	if err != nil {
		return nil, &Error{0, err.Error(), "write five fields: minute, hour, day of the month, month, day of the week"}
	}
	s := &Schedule{text: text, zone: place, match: match, hourly: parts[1] == "*"}
	s.rhythmic = s.hourly || strings.HasPrefix(parts[0], "*")
	if match.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, &Error{0, "the expression never matches: there is no such day", "check the day of the month and the month"}
	}
	return s, nil
}

// check returns an error for the invalid field.
func check(text string) error {
	var at []int
	for i := range text {
		if text[i] != ' ' && (i == 0 || text[i-1] == ' ') {
			at = append(at, i)
		}
	}
	parts := strings.Fields(text)
	switch {
	case len(parts) > 0 && strings.Contains(parts[0], "="):
		return &Error{0, "the expression contains a time zone", "use `timezone:`"}
	case len(parts) == 6:
		return &Error{0, "the expression has six fields, but seconds are not supported", "write five fields: minute, hour, day of the month, month, day of the week"}
	case len(parts) != 5 || len(at) != 5:
		return &Error{0, fmt.Sprintf("the expression has %d fields, expected five", len(parts)), "write minute, hour, day of the month, month, day of the week, such as `0 3 * * *`"}
	}
	for i, part := range parts {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = part
		if _, err := parser.Parse(strings.Join(alone, " ")); err != nil || strings.ContainsAny(part, "HhTt") && i < 2 {
			return &Error{at[i], fmt.Sprintf("`%s` is not a valid %s", part, fields[i]), hints[i]}
		}
	}
	return nil
}

var hints = [5]string{
	"use 0 to 59, *, lists (0,30), ranges (10-20) and steps (*/15)",
	"use 0 to 23, *, lists (6,18), ranges (8-17) and steps (*/2)",
	"use 1 to 31, *, lists, ranges and steps",
	"use 1 to 12 or JAN to DEC, *, lists, ranges and steps",
	"use 0 to 7 (both ends are Sunday) or SUN to SAT, *, lists, ranges and steps",
}

// String returns the expression as written.
func (s *Schedule) String() string { return s.text }

// Zone returns the time zone.
func (s *Schedule) Zone() *time.Location { return s.zone }

// Next returns the first time after t at which the schedule is due, or the zero
// time if there is none.
func (s *Schedule) Next(t time.Time) time.Time {
	t = t.In(s.zone)
	switch {
	case s.hourly:
		return s.nextRhythmic(t)
	case s.rhythmic:
		return earlier(s.nextRhythmic(t), s.nextOnce(t))
	}
	return s.nextOnce(t)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// nextOnce returns the next time if every clock time counts once.
func (s *Schedule) nextOnce(t time.Time) time.Time {
	for n := s.match.Next(wallClock(t)); !n.IsZero(); n = s.match.Next(n) {
		if at := s.firstMoment(n); at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// nextRhythmic returns the next time if every moment counts at which the clock shows a
// matching time.
func (s *Schedule) nextRhythmic(t time.Time) time.Time {
	from := wallClock(t)
	for range 1000 { // changes of the clock
		_, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			end = t.Add(time.Hour) // on the last day of a leap year, ZoneBounds returns an end in the past
		}
		n := s.match.Next(from)
		if n.IsZero() {
			return n
		}
		if at := momentOf(n, t).In(s.zone); end.IsZero() || at.Before(end) {
			return at
		}
		t = end.In(s.zone)
		from = wallClock(t).Add(-time.Second)
	}
	return time.Time{}
}

// wallClock returns the clock time at t, as a time in UTC.
func wallClock(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// momentOf returns the moment at which the clock shows n, with the offset at t.
func momentOf(n, t time.Time) time.Time {
	_, offset := t.Zone()
	return n.Add(-time.Duration(offset) * time.Second)
}

// firstMoment returns the first moment at which the clock shows n, or the moment at
// which it skips n.
func (s *Schedule) firstMoment(n time.Time) time.Time {
	t := time.Date(n.Year(), n.Month(), n.Day(), n.Hour(), n.Minute(), n.Second(), 0, s.zone)
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		if first := momentOf(n, start.Add(-time.Second)).In(s.zone); first.Before(t) && wallClock(first).Equal(n) {
			return first
		}
	}
	switch is := wallClock(t); {
	case is.After(n):
		return start
	case is.Before(n):
		return end
	}
	return t
}

// Zone returns the time zone with a name from the IANA database. Local is not
// accepted, because a file must mean the same on every machine.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || strings.HasPrefix(name, "/") || strings.Contains(name, "..") {
		return nil, errors.New("not a name from the IANA time zone database")
	}
	return time.LoadLocation(name)
}
