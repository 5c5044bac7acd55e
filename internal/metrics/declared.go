package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Doc describes one metric.
type Doc struct {
	Name   string
	Type   string // counter, gauge, histogram
	Labels []string
	Help   string
}

// declared is a metric as it is declared and documented.
type declared struct {
	Doc
	buckets []float64
}

var (
	requestsTotal = declared{Doc{"valence_requests_total", "counter", []string{"process", "status"},
		"Requests answered by listeners, by HTTP status; process is empty where no listener matched."}, nil}
	requestDuration = declared{Doc{"valence_request_duration_seconds", "histogram", []string{"process"},
		"Time from a request's arrival until its answer was written."}, requestBuckets}
	authDenied = declared{Doc{"valence_auth_denied_total", "counter", []string{"process"},
		"Requests refused because they did not prove who sent them."}, nil}
	executionsTotal = declared{Doc{"valence_executions_total", "counter", []string{"process", "status"},
		"Executions that ended, by final status."}, nil}
	executionDuration = declared{Doc{"valence_execution_duration_seconds", "histogram", []string{"process"},
		"Time from acceptance until the end of an execution, waiting included."}, executionBuckets}
	stepDuration = declared{Doc{"valence_step_duration_seconds", "histogram", []string{"process", "kind"},
		"Time that steps took, by kind."}, stepBuckets}
	callDuration = declared{Doc{"valence_call_duration_seconds", "histogram", []string{"connection", "operation", "outcome"},
		"Time of each attempt of a connector call; outcome is ok or the code of the failure."}, requestBuckets}
	callsInFlight = declared{Doc{"valence_calls_in_flight", "gauge", []string{"connection"},
		"Connector calls under way."}, nil}
	connectionUp = declared{Doc{"valence_connection_up", "gauge", []string{"connection"},
		"1 if the other system answered the latest call, 0 if it did not."}, nil}
	queueDepth = declared{Doc{"valence_queue_depth", "gauge", []string{"process", "state"},
		"Live durable executions, by state: accepted, waiting, held."}, nil}
	queueOldest = declared{Doc{"valence_queue_oldest_seconds", "gauge", []string{"process"},
		"Age of the oldest live durable execution, 0 if there is none."}, nil}
	storeUp = declared{Doc{"valence_store_up", "gauge", nil,
		"1 while the store takes work, 0 while it does not."}, nil}
	commitBatch = declared{Doc{"valence_commit_batch_size", "histogram", nil,
		"Writes that shared one transaction of the store."}, prometheus.ExponentialBuckets(1, 2, 11)}
	commitDuration = declared{Doc{"valence_commit_duration_seconds", "histogram", nil,
		"Time of one transaction of the store, flush to disk included."}, commitBuckets}
	historyBytes = declared{Doc{"valence_history_bytes", "gauge", nil,
		"Size of the history of finished executions."}, nil}
	recordsDropped = declared{Doc{"valence_records_dropped_total", "counter", nil,
		"Records of finished request/reply executions that were not kept because the recorder was behind."}, nil}
	clockJumps = declared{Doc{"valence_clock_jumps_total", "counter", nil,
		"Jumps of the wall clock by more than 5 s; each suspends purging and expiry for a while."}, nil}
	followersOpen = declared{Doc{"valence_followers", "gauge", []string{"mode"},
		"Callers who follow an execution now: held requests (poll), event streams (sse), WebSockets (websocket)."}, nil}
	repliesKept = declared{Doc{"valence_replies_kept", "gauge", nil,
		"Replies that are kept to be collected."}, nil}
	connectionCircuit = declared{Doc{"valence_connection_circuit", "gauge", []string{"connection"},
		"Whether a connection's circuit is closed (0), open (1) or probing (2). What needs an open one is held."}, nil}
	info = declared{Doc{"valence_info", "gauge", []string{"version"},
		"Always 1; tells which program runs."}, nil}
)

var (
	requestBuckets   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	executionBuckets = []float64{.001, .01, .1, 1, 10, 60, 600, 3600, 86400}
	stepBuckets      = []float64{.00001, .0001, .001, .01, .1, 1, 10, 60}
	commitBuckets    = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
)

// Documented lists every metric that is shown, in the order of the
// documentation. The metrics of the Go runtime and of the operating-system
// process are listed by their prefix.
func Documented() []Doc {
	var docs []Doc
	for _, d := range []declared{
		requestsTotal, requestDuration, authDenied, executionsTotal, executionDuration, stepDuration,
		callDuration, callsInFlight, connectionUp, connectionCircuit, queueDepth, queueOldest, storeUp,
		commitBatch, commitDuration, historyBytes, recordsDropped, clockJumps, followersOpen, repliesKept,
		agentConnected, agentLastPoll, agentGeneration, agentWaiting, agentDropped, info,
	} {
		docs = append(docs, d.Doc)
	}
	for _, d := range cloudDocs() {
		docs = append(docs, d.Doc)
	}
	return append(docs,
		Doc{"go_*", "gauge", nil, "The Go runtime: memory, garbage collection, goroutines."},
		Doc{"process_*", "gauge", nil, "The operating-system process: CPU time, resident memory, open files, start time."},
	)
}

func (d declared) counters() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
}

func (d declared) gauges() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)
}

func (d declared) histograms() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.buckets}, d.Labels)
}

func (d declared) desc() *prometheus.Desc {
	return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
}

// storeCollector reads how the store fares when it is scraped, not when it changes.
type storeCollector struct {
	source                                                   atomic.Pointer[func() Store]
	depth, oldest, up, dropped, jumps, historyBytes, replies *prometheus.Desc
}

func newStoreCollector() *storeCollector {
	return &storeCollector{
		depth: queueDepth.desc(), oldest: queueOldest.desc(), up: storeUp.desc(),
		dropped: recordsDropped.desc(), jumps: clockJumps.desc(), historyBytes: historyBytes.desc(), replies: repliesKept.desc(),
	}
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.depth, c.oldest, c.up, c.dropped, c.jumps, c.historyBytes, c.replies} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	f := c.source.Load()
	if f == nil {
		return
	}
	s := (*f)()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := 1.0
	if s.Err != nil {
		up = 0
	}
	gauge(c.up, up)
	gauge(c.historyBytes, float64(s.HistoryBytes))
	gauge(c.replies, float64(s.RepliesKept))
	ch <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(s.RecordsDropped))
	ch <- prometheus.MustNewConstMetric(c.jumps, prometheus.CounterValue, float64(s.ClockJumps))
	for _, b := range s.Backlog {
		for state, n := range b.States {
			gauge(c.depth, float64(n), b.Process, state)
		}
		age := 0.0
		if !b.Oldest.IsZero() {
			age = max(0, time.Since(b.Oldest).Seconds())
		}
		gauge(c.oldest, age, b.Process)
	}
}
