// Package cron reads cron expressions and tells when they are due by the
// clock of a place, whatever that place does to its clocks.
//
// The fields are matched by a library, on a clock that never changes. What
// daylight saving does to the result is decided here:
//
//   - A time that the clock skips (02:30 when it goes from 02:00 to 03:00)
//     runs at the moment of the change, once, unless every hour has the
//     schedule: then there is simply no such hour.
//   - A time that the clock shows twice runs the first time, unless the
//     schedule goes by every hour (`*`) or by every so many minutes (`*/5`):
//     then it runs both times, because its rhythm must not break off.
package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"

	lib "github.com/netresearch/go-cron"
)

// Schedule is a cron expression in a time zone. It is never changed.
type Schedule struct {
	text    string
	place   *time.Location
	match   lib.Schedule // on a clock without changes
	hourly  bool         // the hour is *
	flowing bool         // and also: the minute is * or */n
}

// Error is what is wrong with an expression, and where in it.
type Error struct {
	Offset    int // in bytes, of the field
	Msg, Hint string
}

func (e *Error) Error() string { return e.Msg }

// words are the expressions with a name.
var words = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

var fields = [5]string{"minute", "hour", "day of the month", "month", "day of the week"}

// As cron has it: where both days are given, either may match.
var parser = lib.MustNewParser(lib.Minute | lib.Hour | lib.Dom | lib.Month | lib.Dow | lib.DowOrDom).WithMaxSearchYears(12)

// Parse reads five fields, or a word such as @daily. An error is an *Error.
func Parse(text string, place *time.Location) (*Schedule, error) {
	spelled := strings.TrimSpace(text)
	if strings.HasPrefix(spelled, "@") {
		five, ok := words[strings.ToLower(spelled)]
		if !ok {
			return nil, &Error{0, "there is no " + spelled, "use @hourly, @daily, @weekly, @monthly or @yearly, or five fields"}
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
	s := &Schedule{text: text, place: place, match: match, hourly: parts[1] == "*"}
	s.flowing = s.hourly || strings.HasPrefix(parts[0], "*")
	if match.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, &Error{0, "there is no such day: it is never due", "look at the day of the month and the month"}
	}
	return s, nil
}

// check finds the field that is wrong.
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
		return &Error{0, "the time zone does not stand in the expression", "write it as `timezone:`"}
	case len(parts) == 6:
		return &Error{0, "it has six fields; there is none for seconds", "write five fields: minute, hour, day of the month, month, day of the week"}
	case len(parts) != 5 || len(at) != 5:
		return &Error{0, fmt.Sprintf("it has %d fields, not five", len(parts)), "write minute, hour, day of the month, month, day of the week, such as `0 3 * * *`"}
	}
	for i, part := range parts {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = part
		if _, err := parser.Parse(strings.Join(alone, " ")); err != nil || strings.ContainsAny(part, "HhTt") && i < 2 {
			return &Error{at[i], fmt.Sprintf("`%s` is no %s", part, fields[i]), hints[i]}
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

// String is the expression as written.
func (s *Schedule) String() string { return s.text }

// Place is the time zone.
func (s *Schedule) Place() *time.Location { return s.place }

// Next gives the first time after t at which it is due, zero if there is none.
func (s *Schedule) Next(t time.Time) time.Time {
	t = t.In(s.place)
	switch {
	case s.hourly:
		return s.flow(t)
	case s.flowing:
		return earlier(s.flow(t), s.once(t))
	}
	return s.once(t)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// once gives every time of the clock its one moment.
func (s *Schedule) once(t time.Time) time.Time {
	for n := s.match.Next(shown(t)); !n.IsZero(); n = s.match.Next(n) {
		if at := s.moment(n); at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// flow gives every moment at which the clock shows a time that matches.
func (s *Schedule) flow(t time.Time) time.Time {
	from := shown(t)
	for range 1000 { // changes of the clock
		_, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			end = t.Add(time.Hour) // on the last day of a leap year ZoneBounds gives an end that is over
		}
		n := s.match.Next(from)
		if n.IsZero() {
			return n
		}
		if at := moved(n, t).In(s.place); end.IsZero() || at.Before(end) {
			return at
		}
		t = end.In(s.place)
		from = shown(t).Add(-time.Second)
	}
	return time.Time{}
}

// shown is what the clock shows, as a time of a clock without changes.
func shown(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// moved is when the clock shows n, if it goes as at t.
func moved(n, t time.Time) time.Time {
	_, offset := t.Zone()
	return n.Add(-time.Duration(offset) * time.Second)
}

// moment is when the clock first shows n, or where it skips n, when it does so.
func (s *Schedule) moment(n time.Time) time.Time {
	t := time.Date(n.Year(), n.Month(), n.Day(), n.Hour(), n.Minute(), n.Second(), 0, s.place)
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		if first := moved(n, start.Add(-time.Second)).In(s.place); first.Before(t) && shown(first).Equal(n) {
			return first
		}
	}
	switch is := shown(t); {
	case is.After(n):
		return start
	case is.Before(n):
		return end
	}
	return t
}

// Zone finds a time zone by its name in the IANA database. Local is no name:
// the same file must mean the same everywhere.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || strings.HasPrefix(name, "/") || strings.Contains(name, "..") {
		return nil, errors.New("it is no name of the IANA time zone database")
	}
	return time.LoadLocation(name)
}
