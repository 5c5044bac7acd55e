package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestChanges(t *testing.T) {
	for _, c := range []struct{ cron, from, want string }{
		{"30 2 * * *", "2026-03-28 12:00", "03-29T03:00+02 03-30T02:30+02"},                                                  // skipped: at the change
		{"30 2 * * *", "2026-10-24 12:00", "10-25T02:30+02 10-26T02:30+01"},                                                  // twice: the first
		{"0,30 2,3 * * *", "2026-03-28 12:00", "03-29T03:00+02 03-29T03:30+02 03-30T02:00+02"},                               //
		{"30 * * * *", "2026-03-29 00:45", "03-29T01:30+01 03-29T03:30+02 03-29T04:30+02"},                                   // an hour apart
		{"30 * * * *", "2026-10-25 01:45", "10-25T02:30+02 10-25T02:30+01 10-25T03:30+01"},                                   // likewise
		{"*/30 * * * *", "2026-03-29 01:00", "03-29T01:30+01 03-29T03:00+02 03-29T03:30+02"},                                 //
		{"*/30 1-3 * * *", "2026-10-25 01:30", "10-25T02:00+02 10-25T02:30+02 10-25T02:00+01 10-25T02:30+01 10-25T03:00+01"}, // its rhythm goes on
		{"*/30 2 * * *", "2026-03-28 12:00", "03-29T03:00+02 03-30T02:00+02"},                                                //
		{"0 */2 * * *", "2026-03-28 23:30", "03-29T00:00+01 03-29T03:00+02 03-29T04:00+02"},                                  //
		{"0 0 13 * 5", "2026-03-01 00:00", "03-06T00:00+01 03-13T00:00+01 03-20T00:00+01"},                                   // either day
		{"@daily", "2026-03-28 12:00", "03-29T00:00+01 03-30T00:00+02"},                                                      //
		{"0 12 29 2 *", "2096-03-01 00:00", "02-29T12:00+01"},                                                                // eight years on
	} {
		place, _ := Zone("Europe/Berlin")
		s, err := Parse(c.cron, place)
		if err != nil {
			t.Fatalf("%s: got %v, want nil", c.cron, err)
		}
		at, _ := time.ParseInLocation("2006-01-02 15:04", c.from, place)
		var got []string
		for range strings.Fields(c.want) {
			at = s.Next(at)
			got = append(got, at.Format("01-02T15:04-07"))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s from %s:\n got %s\nwant %s", c.cron, c.from, g, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "0 the expression has 0 fields, expected five",
		"* * * *":                    "0 the expression has 4 fields, expected five",
		"0 0 3 * * *":                "0 the expression has six fields, but seconds are not supported",
		"0 24 * * *":                 "2 `24` is not a valid hour",
		"0 3 * FOO *":                "6 `FOO` is not a valid month",
		"0 0 30 2 *":                 "0 the expression never matches: there is no such day",
		"@every 5m":                  "0 unknown schedule @every 5m",
		"@reboot":                    "0 unknown schedule @reboot",
		"TZ=Europe/Berlin 0 3 * * *": "0 the expression contains a time zone",
		"H 3 * * *":                  "0 `H` is not a valid minute",
		"*/0 * * * *":                "0 `*/0` is not a valid minute",
	} {
		_, err := Parse(text, time.UTC)
		var e *Error
		if !errors.As(err, &e) || fmt.Sprint(e.Offset, " ", e.Msg) != want && fmt.Sprintf("%d %s", e.Offset, e.Msg) != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for _, name := range []string{"", "Local", "../etc/passwd", "Mars/Base"} {
		if _, err := Zone(name); err == nil {
			t.Errorf("%q: got a zone, want an error", name)
		}
	}
}

// zones have clock changes of an hour, half an hour or a day, at midnight, in
// both halves of the year, and none.
var zones = []string{"UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Sao_Paulo", "America/Havana",
	"America/Caracas", "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Apia", "Pacific/Chatham", "Pacific/Auckland", "Asia/Kathmandu", "Asia/Tehran",
	"Asia/Beirut", "Asia/Gaza", "Asia/Pyongyang", "Africa/Casablanca", "Africa/Cairo", "Antarctica/Troll", "America/Santiago", "America/Asuncion", "Asia/Amman", "America/Nuuk"}

// TestEveryChange compares Next with a clock that is read every minute of the
// three days around a change.
func TestEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		place, err := Zone(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(rapid.IntRange(1980, 2040).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month")), 1, 0, 0, 0, 0, place)
		if _, end := at.ZoneBounds(); !end.IsZero() {
			at = end
		}
		minutes, minute := field(t, "minute", 0, 59)
		hours, hour := field(t, "hour", 0, 23)
		s, err := Parse(minute+" "+hour+" * * *", place)
		if err != nil {
			t.Fatal(err)
		}
		from, to := at.Add(-36*time.Hour).Truncate(time.Minute), at.Add(36*time.Hour).Truncate(time.Minute)
		matches := func(n time.Time) bool { return minutes[n.Minute()] && hours[n.Hour()] }
		var want []time.Time
		seen := map[time.Time]bool{}
		for u := from.Add(-36 * time.Hour); u.Before(to); u = u.Add(time.Minute) {
			n, before := wallClock(u.In(place)), wallClock(u.Add(-time.Minute).In(place))
			due := matches(n) && (hour == "*" || strings.HasPrefix(minute, "*") || !seen[n])
			if hour != "*" {
				for skipped := before.Add(time.Minute); skipped.Before(n); skipped = skipped.Add(time.Minute) {
					due = due || matches(skipped)
				}
			}
			seen[n] = true
			if due && u.After(from) {
				want = append(want, u.UTC())
			}
		}
		var got []time.Time
		for u := s.Next(from); u.Before(to); u = s.Next(u) {
			if len(got) > 0 && !u.After(got[len(got)-1]) {
				t.Fatalf("got %s after %s, want a later time", u, got[len(got)-1])
			}
			got = append(got, u.UTC())
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s in %s around %s:\n got %s\nwant %s", s, place, at, got, want)
		}
	})
}

// field draws a field and the values it matches.
func field(t *rapid.T, name string, from, to int) (map[int]bool, string) {
	values := map[int]bool{}
	switch step := rapid.IntRange(1, min(30, to)).Draw(t, name+" step"); rapid.IntRange(0, 3).Draw(t, name+" form") {
	case 0:
		for i := from; i <= to; i++ {
			values[i] = true
		}
		return values, "*"
	case 1:
		for i := from; i <= to; i += step {
			values[i] = true
		}
		return values, fmt.Sprintf("*/%d", step)
	case 2:
		lo := rapid.IntRange(from, to).Draw(t, name+" from")
		hi := rapid.IntRange(lo, to).Draw(t, name+" to")
		step = min(step, max(hi-lo, 1))
		for i := lo; i <= hi; i += step {
			values[i] = true
		}
		if lo == hi {
			return values, fmt.Sprint(lo)
		}
		return values, fmt.Sprintf("%d-%d/%d", lo, hi, step)
	}
	var list []string
	for _, v := range rapid.SliceOfN(rapid.IntRange(from, to), 1, 4).Draw(t, name+" list") {
		values[v] = true
		list = append(list, fmt.Sprint(v))
	}
	return values, strings.Join(list, ",")
}
