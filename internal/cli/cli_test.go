package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/processes"
)

func TestSpans(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{-1, "0s"}, {250 * time.Microsecond, "250µs"}, {12 * time.Millisecond, "12ms"}, {3400 * time.Millisecond, "3.4s"},
		{70 * time.Second, "70s"}, {5 * time.Minute, "5m"}, {26 * time.Hour, "26h"}, {72 * time.Hour, "3d"},
	} {
		if got := span(c.d); got != c.want {
			t.Errorf("span(%v) = %s, want %s", c.d, got, c.want)
		}
	}
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {30 * time.Second, "30s"}, {90 * time.Second, "1m30s"}, {10 * time.Minute, "10m"}, {2 * time.Hour, "2h"},
		{1500 * time.Millisecond, "1.5s"}, {24 * time.Hour, "24h"}, {100 * time.Second, "1m40s"},
	} {
		if got := exact(c.d); got != c.want {
			t.Errorf("exact(%v) = %s, want %s", c.d, got, c.want)
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "7d": now.Add(-7 * 24 * time.Hour), "30m": now.Add(-30 * time.Minute),
		"2026-01-02T15:04:05Z": time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("moment(%q) = %v, %v", text, got, err)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	tab := &table{head: []string{"A", "BB", ""}}
	tab.add("ärger", "1", "x")
	tab.add("b", "22", "")
	var b strings.Builder
	if err := tab.print(&b); err != nil {
		t.Fatal(err)
	}
	if want := "A      BB\närger  1   x\nb      22\n"; b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	if got := cut("äöü\n  xyz", 5); got != "äöü …" {
		t.Errorf("%q", got)
	}
}

func TestExecutionRequests(t *testing.T) {
	for _, c := range []struct {
		args, stdin, want string
	}{
		{"", "", `{}`},
		{`-d {"a":1.10}`, "", `{"document":{"a":1.10}}`},
		{`-d 4711`, "", `{"document":4711}`},
		{`-d -`, `[1,2]`, `{"document":[1,2]}`},
		{`-d <a/> --media-type application/xml`, "", `{"document":"\u003ca/\u003e","media_type":"application/xml"}`},
		{`-d hello --media-type text/plain`, "", `{"document":"hello","media_type":"text/plain"}`},
		{`-d @testdata/order.xml`, "", `{"document":"\u003corder id=\"1\"/\u003e\n","media_type":"application/xml"}`},
		{`--prop a=1 --prop b=x,y --prop c={"d":2} --prop e=`, "", `{"props":{"a":1,"b":"x,y","c":{"d":2},"e":""}}`},
	} {
		s := &streams{strings.NewReader(c.stdin), &strings.Builder{}, &strings.Builder{}}
		parser, err := newParser(s)
		if err != nil {
			t.Fatal(err)
		}
		ctx, err := parser.Parse(append([]string{"exec", "p"}, strings.Fields(c.args)...))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		cmd := ctx.Selected().Target.Addr().Interface().(*execCmd)
		req, err := cmd.request(s.in)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if got, err := json.Marshal(req); err != nil || string(got) != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
}

// A save of several files is one change, a file that comes and goes is none.
func TestWatchWaitsForFilesToSettle(t *testing.T) {
	file := func(text string) []processes.File {
		return []processes.File{{Name: "a.yaml", Content: []byte(text)}}
	}
	looks := [][]processes.File{file("1"), file("2"), file("3"), file("3"), file("3"), file("4"), file("3"), file("5"), nil, file("5"), file("5")}
	ctx, cancel := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	var seen []string
	i := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx, tick, func() ([]processes.File, error) {
			files := looks[i]
			i++
			if files == nil {
				return nil, fmt.Errorf("the folder is gone for a moment")
			}
			return files, nil
		}, file("1"), func(files []processes.File) { seen = append(seen, string(files[0].Content)) })
	}()
	for range looks {
		tick <- time.Time{}
	}
	cancel()
	<-done
	if want := []string{"3", "5"}; !slices.Equal(seen, want) {
		t.Errorf("changes: %v, want %v", seen, want)
	}
}

func TestAddressesThatCanBeReached(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:9090": "127.0.0.1:9090", "0.0.0.0:9090": "127.0.0.1:9090", "[::]:9090": "127.0.0.1:9090", "[::1]:1": "[::1]:1", "192.0.2.1:80": "192.0.2.1:80",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	for i := range 5000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	if text := l.String(); len(text) != longestTail || !strings.HasSuffix(text, "line 4999\n") {
		t.Errorf("%d bytes, ending in %q", len(text), text[len(text)-20:])
	}
}
