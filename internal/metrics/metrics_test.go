package metrics_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/internal/metrics"
)

func scrape(t *testing.T, m interface{ Handler() http.Handler }) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// used is metrics in which everything was counted once.
func used() *metrics.Metrics {
	m := metrics.New()
	m.Version("1.2.3")
	m.Following("sse")
	p := m.Process("order-sync")
	p.Request(200, 3*time.Millisecond)
	p.Request(503, time.Millisecond)
	p.Denied()
	p.Ended("completed", time.Second)
	p.Step("map", 20*time.Microsecond)
	c := m.Connection("erp")
	c.Start()
	c.Start()
	c.Done("post", metrics.CallOK, true, 40*time.Millisecond)
	c.Circuit(1)
	m.Commit(17, 2*time.Millisecond)
	m.OnScrape(func() metrics.Store {
		return metrics.Store{
			RecordsDropped: 3, ClockJumps: 1, HistoryBytes: 4096,
			Backlog: []metrics.Backlog{
				{Process: "order-sync", States: map[string]int64{"accepted": 5, "waiting": 2}, Oldest: time.Now().Add(-time.Minute)},
				{Process: "idle"},
			},
		}
	})
	return m
}

func TestWhatIsShown(t *testing.T) {
	got := scrape(t, used())
	for _, want := range []string{
		`valence_requests_total{process="order-sync",status="200"} 1`,
		`valence_requests_total{process="order-sync",status="503"} 1`,
		`valence_request_duration_seconds_count{process="order-sync"} 2`,
		`valence_auth_denied_total{process="order-sync"} 1`,
		`valence_executions_total{process="order-sync",status="completed"} 1`,
		`valence_execution_duration_seconds_bucket{process="order-sync",le="1"} 1`,
		`valence_step_duration_seconds_bucket{kind="map",process="order-sync",le="0.0001"} 1`,
		`valence_call_duration_seconds_count{connection="erp",operation="post",outcome="ok"} 1`,
		`valence_calls_in_flight{connection="erp"} 1`,
		`valence_connection_up{connection="erp"} 1`,
		`valence_commit_batch_size_bucket{le="32"} 1`,
		`valence_commit_duration_seconds_count 1`,
		`valence_queue_depth{process="order-sync",state="accepted"} 5`,
		`valence_queue_oldest_seconds{process="idle"} 0`,
		`valence_store_up 1`,
		`valence_records_dropped_total 3`,
		`valence_clock_jumps_total 1`,
		`valence_history_bytes 4096`,
		`valence_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("not shown: %s", want)
		}
	}
	if !regexp.MustCompile(`valence_queue_oldest_seconds\{process="order-sync"\} (60|6[0-9]\.)`).MatchString(got) {
		t.Errorf("age of the oldest is not about a minute:\n%s", grep(got, "oldest"))
	}
}

func TestEverythingShownIsDocumentedAndBack(t *testing.T) {
	shown := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(scrape(t, usedByAgent())+scrape(t, usedCloud()), -1) {
		shown[m[1]] = m[2]
	}
	documented := metrics.Documented()
	for name, kind := range shown {
		ok := slices.ContainsFunc(documented, func(d metrics.Doc) bool {
			if prefix, any := strings.CutSuffix(d.Name, "*"); any {
				return strings.HasPrefix(name, prefix)
			}
			return d.Name == name && d.Type == kind
		})
		if !ok {
			t.Errorf("%s (%s) is shown at /metrics but not documented", name, kind)
		}
	}
	for _, d := range documented {
		if strings.HasSuffix(d.Name, "*") {
			continue
		}
		if shown[d.Name] != d.Type {
			t.Errorf("%s is documented as a %s but shown as %q", d.Name, d.Type, shown[d.Name])
		}
		if d.Help == "" {
			t.Errorf("%s has no help", d.Name)
		}
	}
}

// usedByAgent is an atom that has counted everything once and has joined a
// control plane.
func usedByAgent() *metrics.Metrics {
	m := used()
	m.OnAgent(func() metrics.Agent { return metrics.Agent{Connected: true, LastPoll: time.Now(), Waiting: 1} })
	return m
}

// usedCloud is a control plane that has counted everything once.
func usedCloud() *metrics.Cloud {
	m := metrics.NewCloud()
	m.Version("1.2.3")
	m.Commit(1, time.Millisecond)
	m.Poll("idle")
	m.Hold(1)
	m.Refused("replayed")
	m.Request()
	m.Delivered(2)
	m.Ended("COMPLETE")
	m.OnScrape(func() metrics.Fleet { return metrics.Fleet{Online: 1, Waiting: 3} })
	return m
}

func TestStoreThatRefuses(t *testing.T) {
	m := metrics.New()
	m.OnScrape(func() metrics.Store { return metrics.Store{Err: errors.New("disk full")} })
	if got := scrape(t, m); !strings.Contains(got, "valence_store_up 0\n") {
		t.Errorf("store is not shown as down:\n%s", grep(got, "store_up"))
	}
}

func TestNilCountsNothing(t *testing.T) {
	var m *metrics.Metrics
	m.Version("x")
	p := m.Process("a")
	p.Request(200, 1)
	p.Denied()
	p.Ended("completed", 1)
	p.Step("map", 1)
	c := m.Connection("b")
	c.Start()
	c.Done("get", metrics.CallOK, true, 1)
	m.Commit(1, 1)
	m.OnScrape(nil)
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 404 {
		t.Errorf("status %d, want 404", rec.Code)
	}
}

// More statuses than the short list holds, from many goroutines: none is lost.
func TestManyChildrenAtOnce(t *testing.T) {
	m := metrics.New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				m.Process("p").Request(200+i%40, time.Millisecond)
				m.Process(fmt.Sprint("q", i%30)).Step("map", time.Microsecond)
			}
		})
	}
	wg.Wait()
	got := scrape(t, m)
	for i := range 40 {
		want := fmt.Sprintf(`valence_requests_total{process="p",status="%d"} 200`+"\n", 200+i)
		if !strings.Contains(got, want) {
			t.Errorf("not shown: %s", want)
		}
	}
	if want := `valence_step_duration_seconds_count{kind="map",process="q29"}`; !strings.Contains(got, want) {
		t.Errorf("not shown: %s", want)
	}
}

func BenchmarkRequest(b *testing.B) {
	p := metrics.New().Process("p")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Request(200, time.Millisecond)
		}
	})
}

func grep(text, word string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
