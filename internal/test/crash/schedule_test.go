package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom/store/sqlite"
)

// scheduleProject returns a project with schedules due every minute, and one for
// each `misfire` setting.
func scheduleProject(minutely int) string {
	var b strings.Builder
	process := func(name, schedule string) {
		fmt.Fprintf(&b, `process: %s
schedule: { %s }
retry: { max_attempts: 200, backoff: 20ms..100ms }
steps:
  - call: sink.post
    with: { path: "/%s/${props.scheduled_at}" }
---
`, name, schedule, name)
	}
	for n := range minutely {
		process(fmt.Sprintf("minutely-%d", n), `cron: "* * * * *", overlap: allow`)
	}
	for _, misfire := range []string{"skip", "once", "all"} {
		process("missed-"+misfire, `cron: "@hourly", overlap: allow, misfire: `+misfire)
	}
	return b.String() + "connection: sink\nconnector: http\nurl: ${env.SINK}\ntimeout: 5s\ncircuit: { failures: 0 }\n"
}

// TestSchedulesThroughKills kills the program repeatedly around the start of a
// minute. Each schedule starts one execution per minute, identified by its
// calls' idempotency keys. After hours of downtime, missed times are made up
// once, as each schedule says.
func TestSchedulesThroughKills(t *testing.T) {
	t.Parallel()
	const minutely = 40
	var mu sync.Mutex
	runs := map[string]map[time.Time]map[string]bool{} // idempotency keys by process and time
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.EscapedPath(), "/")
		text, _ := url.PathUnescape(parts[2])
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if runs[parts[1]] == nil {
			runs[parts[1]] = map[time.Time]map[string]bool{}
		}
		if runs[parts[1]][at.UTC()] == nil {
			runs[parts[1]][at.UTC()] = map[string]bool{}
		}
		runs[parts[1]][at.UTC()][r.Header.Get("Idempotency-Key")] = true
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(sink.Close)
	random := seeded(t)
	a := newAtom(t, strings.TrimPrefix(sink.URL, "http://"))
	a.runs(scheduleProject(minutely))
	a.start()
	due := time.Now().Add(5 * time.Second).Truncate(time.Minute).Add(time.Minute)
	pause(time.Until(due) - 500*time.Millisecond)
	for time.Now().Before(due.Add(4 * time.Second)) {
		pause(time.Duration(random.IntN(250)) * time.Millisecond)
		a.restart()
	}
	settled := func() bool {
		return len(a.executions("accepted"))+len(a.executions("running"))+len(a.executions("waiting")) == 0
	}
	until := func(what string, met func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !met(); pause(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("not in time: " + what)
			}
		}
	}
	count := func(at time.Time) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for process, times := range runs {
			if strings.HasPrefix(process, "minutely-") && len(times[at]) > 0 {
				n++
			}
		}
		return n
	}
	until("all run", func() bool { return count(due.UTC()) == minutely && settled() })
	mu.Lock()
	for n := range minutely {
		if keys := runs[fmt.Sprintf("minutely-%d", n)][due.UTC()]; len(keys) != 1 {
			t.Errorf("the schedule %d started %d executions", n, len(keys))
		}
	}
	clear(runs)
	mu.Unlock()

	a.kill()
	hour := time.Now().UTC().Truncate(time.Hour)
	ago(t, a.data, hour.Add(-3*time.Hour-10*time.Minute), "missed-skip", "missed-once", "missed-all")
	for range 3 {
		a.start()
		pause(time.Duration(random.IntN(150)) * time.Millisecond)
		a.kill()
	}
	a.start()
	if time.Since(hour) > 2*time.Minute { // otherwise the last time is not missed
		want := map[string][]time.Time{
			"missed-once": {hour}, "missed-all": {hour.Add(-3 * time.Hour), hour.Add(-2 * time.Hour), hour.Add(-time.Hour), hour},
		}
		until("what was missed has run", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(runs["missed-all"]) == 4 && len(runs["missed-once"]) > 0
		})
		until("all have ended", settled)
		mu.Lock()
		for _, process := range []string{"missed-skip", "missed-once", "missed-all"} {
			if len(runs[process]) != len(want[process]) {
				t.Errorf("%s ran for %v", process, runs[process])
			}
			for _, at := range want[process] {
				if len(runs[process][at]) != 1 {
					t.Errorf("%s started %d executions for %s", process, len(runs[process][at]), at)
				}
			}
		}
		mu.Unlock()
	}
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}

// ago sets the schedules' marks back to a time, as if the program had not run
// since.
func ago(t *testing.T, data string, at time.Time, schedules ...string) {
	t.Helper()
	s, err := sqlite.Open(data, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for _, name := range schedules {
		text, err := s.Content(ctx, "schedule:"+name)
		if err != nil {
			t.Fatal(err)
		}
		var mark map[string]any
		if err := json.Unmarshal(text, &mark); err != nil {
			t.Fatal(err)
		}
		mark["done"] = at
		if text, err = json.Marshal(mark); err != nil {
			t.Fatal(err)
		}
		if err := s.PutContent(ctx, "schedule:"+name, text); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
