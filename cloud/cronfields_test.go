package cloud

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"valence/internal/cron"
)

func TestFieldsOf(t *testing.T) {
	for text, want := range map[string]string{
		"30 2 * * *":               "30 2 * * * *",
		"*/15 * * * *":             "0-59/15 * * * * *",
		"0 9-17 * * MON-FRI":       "0 9-17 * * 2-6 *",
		"0 0 1,15 JAN,jul *":       "0 0 1,15 1,7 * *",
		"5/20 */2 * * 0":           "5-45/20 0-23/2 * * 1 *",
		"0 12 * * 5-7":             "0 12 * * 1,6,7 *",
		"0 12 * * 7":               "0 12 * * 1 *",
		"10-12,20 0 3-30/3 * *":    "10-12,20 0 3-30/3 * * *",
		"@weekly":                  "0 0 * * 1 *",
		"@hourly":                  "0 * * * * *",
		"0,1 0 * * *":              "0,1 0 * * * *",
		"* * * * 0-6":              "* * * * * *",
		"  0   6  *  *  sun,TUE ":  "0 6 * * 1,3 *",
		"0-59 0-23 1-31 1-12 1-7 ": "* * * * * *",
	} {
		f, err := ParseCronFields(text)
		got := strings.Join([]string{f.Minutes, f.Hours, f.DaysOfMonth, f.Months, f.DaysOfWeek, f.Years}, " ")
		if err != nil || got != want {
			t.Errorf("%q: %s, want %s, %v", text, got, want, err)
		}
	}
	if _, err := ParseCronFields("99 * * * *"); err == nil {
		t.Error("minute 99: got no error")
	}
}

// The converted fields, read as the platform API does, are due when the
// expression is.
func TestCronFieldsMatchExpression(t *testing.T) {
	number := func(r *rapid.T, label string, low, high int) string {
		item := rapid.OneOf(rapid.Just("*"), rapid.Custom(func(r *rapid.T) string {
			a := rapid.IntRange(low, high).Draw(r, "from")
			b := rapid.IntRange(a, high).Draw(r, "to")
			switch rapid.IntRange(0, 3).Draw(r, "form") {
			case 0:
				return itoa(a)
			case 1:
				return itoa(a) + "-" + itoa(b)
			case 2:
				return itoa(a) + "-" + itoa(b) + "/" + itoa(rapid.IntRange(1, 9).Draw(r, "step"))
			}
			return "*/" + itoa(rapid.IntRange(1, high).Draw(r, "step"))
		}))
		return strings.Join(rapid.SliceOfN(item, 1, 3).Draw(r, label), ",")
	}
	rapid.Check(t, func(r *rapid.T) {
		minute, hour, weekday := number(r, "minute", 0, 59), number(r, "hour", 0, 23), number(r, "weekday", 0, 7)
		text := minute + " " + hour + " * * " + weekday
		s, err := cron.Parse(text, time.UTC)
		if err != nil {
			return // not every expression is a list
		}
		f, err := ParseCronFields(text)
		if err != nil {
			r.Fatal(text, err)
		}
		in := func(field string, n, low, high int) bool {
			all, err := cronSet(field, low, high, nil)
			if err != nil {
				r.Fatal(field, err)
			}
			for _, x := range all {
				if x == n {
					return true
				}
			}
			return false
		}
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 7*24*60-1).Draw(r, "at")) * time.Minute)
		due := s.Next(at.Add(-time.Second)).Equal(at)
		got := in(f.Minutes, at.Minute(), 0, 59) && in(f.Hours, at.Hour(), 0, 23) && in(f.DaysOfWeek, int(at.Weekday())+1, 1, 7)
		if due != got {
			r.Fatalf("%s at %s: due %v, as %+v %v", text, at, due, f, got)
		}
	})
}

func itoa(n int) string { return strings.TrimSpace(string(rune('0'+n/10)) + string(rune('0'+n%10))) }
