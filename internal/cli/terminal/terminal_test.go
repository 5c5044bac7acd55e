package terminal

import (
	"strings"
	"testing"
	"time"
)

func TestDurationHasOneUnit(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{-1, "0s"}, {250 * time.Microsecond, "250µs"}, {12 * time.Millisecond, "12ms"}, {3400 * time.Millisecond, "3.4s"},
		{70 * time.Second, "70s"}, {5 * time.Minute, "5m"}, {26 * time.Hour, "26h"}, {72 * time.Hour, "3d"},
	} {
		if got := Duration(c.d); got != c.want {
			t.Errorf("Duration(%v): got %s, want %s", c.d, got, c.want)
		}
	}
}

func TestParseSinceAcceptsTimesAndDurations(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "7d": now.Add(-7 * 24 * time.Hour), "30m": now.Add(-30 * time.Minute),
		"2026-01-02T15:04:05Z": time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
	} {
		if got, err := ParseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("ParseSince(%q): got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	table := &Table{Head: []string{"A", "BB", ""}}
	table.Add("ärger", "1", "x")
	table.Add("b", "22", "")
	var b strings.Builder
	if err := table.Print(&b); err != nil {
		t.Fatal(err)
	}
	if want := "A      BB\närger  1   x\nb      22\n"; b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
}

func TestTruncateKeepsCharactersWhole(t *testing.T) {
	if got, want := Truncate("äöü\n  xyz", 5), "äöü …"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChangeDirQuotes(t *testing.T) {
	for path, want := range map[string]string{
		"orders":   "cd orders",
		"a/b-c.d":  "cd a/b-c.d",
		"a b":      "cd 'a b'",
		"it's":     `cd 'it'\''s'`,
		"-x":       "cd ./'-x'",
		"$(touch)": "cd '$(touch)'",
	} {
		if got := ChangeDir(path); got != want {
			t.Errorf("ChangeDir(%q): got %s, want %s", path, got, want)
		}
	}
}
