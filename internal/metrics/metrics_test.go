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
		t.Fatalf("got status %d, want 200: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// used returns metrics in which every counter was used once.
func used() *metrics.Metrics {
	m := metrics.New()
	m.Version("1.2.3")
	m.Following("sse")
	p := m.Process("order-sync")
	p.Request(200, 3*time.Millisecond)
	p.Request(503, time.Millisecond)
	p.Denied()
	p.FailureDropped()
	p.Ended("completed", time.Second)
	p.Declare("failed")
	p.DeclareRequests()
	p.Step("map", 20*time.Microsecond)
	c := m.Connection("erp")
	c.Start()
	c.Start()
	c.Done("post", metrics.CallOK, true, 40*time.Millisecond)
	c.Circuit(1)
	m.Commit(17, 2*time.Millisecond)
	m.OnSubscriptions(func() []metrics.Subscription {
		return []metrics.Subscription{{Process: "order-sync", Connection: "mq", Up: true, Lag: 12, Delay: 0.5, Messages: map[string]int64{"refused": 3}}}
	})
	m.OnRequestMemory(memory{})
	m.OnScrape(func() metrics.Store {
		return metrics.Store{
			RecordsDropped: 3, ClockJumps: 1, GroupMembers: 2, HistoryBytes: 4096, DiskFree: 1024, DiskSize: 4096,
			Certificates: map[string]time.Time{"listen": time.Unix(1800000000, 0)},
			Backlog: []metrics.Backlog{
				{Process: "order-sync", States: map[string]int64{"accepted": 5, "waiting": 2}, Oldest: time.Now().Add(-time.Minute), Failed: 4, Kept: 9000, Blocked: 1},
				{Process: "idle"},
			},
		}
	})
	return m
}

// memory is a metrics.Memory with fixed values.
type memory struct{}

func (memory) Used() int64    { return 100 }
func (memory) Limit() int64   { return 1024 }
func (memory) Refused() int64 { return 2 }

func TestWhatIsShown(t *testing.T) {
	got := scrape(t, used())
	for _, want := range []string{
		`valence_requests_total{process="order-sync",status="200"} 1`,
		`valence_requests_total{process="order-sync",status="503"} 1`,
		`valence_request_duration_seconds_count{process="order-sync"} 2`,
		`valence_auth_denied_total{process="order-sync"} 1`,
		`valence_group_members 2`,
		`valence_executions_total{process="order-sync",status="completed"} 1`,
		`valence_execution_duration_seconds_bucket{process="order-sync",le="1"} 1`,
		`valence_executions_total{process="order-sync",status="failed"} 0`,
		`valence_requests_total{process="order-sync",status="500"} 0`,
		`valence_failures_unresolved{process="order-sync"} 4`,
		`valence_failures_kept_bytes{process="order-sync"} 9000`,
		`valence_failures_dropped_total{process="order-sync"} 1`,
		`valence_keys_blocked{process="order-sync"} 1`,
		`valence_disk_free_bytes 1024`,
		`valence_certificate_expiry_timestamp_seconds{address="listen"} 1.8e+09`,
		`valence_step_duration_seconds_bucket{kind="map",process="order-sync",le="0.0001"} 1`,
		`valence_call_duration_seconds_count{connection="erp",operation="post",outcome="ok"} 1`,
		`valence_calls_in_flight{connection="erp"} 1`,
		`valence_connection_up{connection="erp"} 1`,
		`valence_subscription_up{connection="mq",process="order-sync"} 1`,
		`valence_subscription_lag{connection="mq",process="order-sync"} 12`,
		`valence_subscription_delay_seconds{connection="mq",process="order-sync"} 0.5`,
		`valence_subscription_messages_total{connection="mq",process="order-sync",result="refused"} 3`,
		`valence_commit_batch_size_bucket{le="32"} 1`,
		`valence_commit_duration_seconds_count 1`,
		`valence_queue_depth{process="order-sync",state="accepted"} 5`,
		`valence_queue_oldest_seconds{process="idle"} 0`,
		`valence_store_up 1`,
		`valence_records_dropped_total 3`,
		`valence_clock_jumps_total 1`,
		`valence_history_bytes 4096`,
		`valence_request_memory_bytes 100`,
		`valence_request_memory_limit_bytes 1024`,
		`valence_request_memory_refused_total 2`,
		`valence_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("not shown: %s", want)
		}
	}
	if !regexp.MustCompile(`valence_queue_oldest_seconds\{process="order-sync"\} (60|6[0-9]\.)`).MatchString(got) {
		t.Errorf("age of the oldest: want about a minute, got\n%s", grep(got, "oldest"))
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
			t.Errorf("%s (%s): got no documentation, want some", name, kind)
		}
	}
	for _, d := range documented {
		if strings.HasSuffix(d.Name, "*") {
			continue
		}
		if shown[d.Name] != d.Type {
			t.Errorf("%s: got type %q, want %s", d.Name, shown[d.Name], d.Type)
		}
		if d.Help == "" {
			t.Errorf("%s: got no help text, want one", d.Name)
		}
	}
}

// usedByAgent returns the metrics of an atom that has joined a control plane,
// with every counter used once.
func usedByAgent() *metrics.Metrics {
	m := used()
	m.OnAgent(func() metrics.Agent { return metrics.Agent{Connected: true, LastPoll: time.Now(), Waiting: 1} })
	return m
}

// usedCloud returns the metrics of a control plane with every counter used
// once.
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
	m.OnScrape(func() metrics.Fleet {
		return metrics.Fleet{Online: 1, Waiting: 3, Atoms: []metrics.FleetAtom{{Account: "default", Environment: "prod", Name: "edge-01", Online: true, Dropped: 7}}}
	})
	return m
}

// TestAtomsAreNamed checks that the control plane's metrics name each atom.
func TestAtomsAreNamed(t *testing.T) {
	got := scrape(t, usedCloud())
	for _, want := range []string{
		`valence_cloud_atom_up{account="default",atom="edge-01",environment="prod"} 1`,
		`valence_cloud_atom_reports_dropped{account="default",atom="edge-01",environment="prod"} 7`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("not shown: %s", want)
		}
	}
}

func TestStoreThatRefuses(t *testing.T) {
	m := metrics.New()
	m.OnScrape(func() metrics.Store { return metrics.Store{Err: errors.New("disk full")} })
	if got := scrape(t, m); !strings.Contains(got, "valence_store_up 0\n") {
		t.Errorf("valence_store_up: want 0, got\n%s", grep(got, "store_up"))
	}
}

func TestNilCountsNothing(t *testing.T) {
	var m *metrics.Metrics
	m.Version("x")
	p := m.Process("a")
	p.Request(200, 1)
	p.Denied()
	p.FailureDropped()
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

// More statuses than the short list holds, from many goroutines: none must be
// lost.
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
