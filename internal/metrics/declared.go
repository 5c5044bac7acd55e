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

// declared is a metric with its documentation.
type declared struct {
	Doc
	buckets []float64
}

var (
	requestsTotal = declared{Doc{"valence_requests_total", "counter", []string{"process", "status"},
		"Requests answered by listeners, by HTTP status. The process is empty if no listener matched."}, nil}
	requestDuration = declared{Doc{"valence_request_duration_seconds", "histogram", []string{"process"},
		"Time from receiving a request to writing its response."}, requestBuckets}
	authDenied = declared{Doc{"valence_auth_denied_total", "counter", []string{"process"},
		"Requests rejected because authentication failed."}, nil}
	executionsTotal = declared{Doc{"valence_executions_total", "counter", []string{"process", "status"},
		"Ended executions by final status."}, nil}
	executionDuration = declared{Doc{"valence_execution_duration_seconds", "histogram", []string{"process"},
		"Time from acceptance to the end of an execution, including waits."}, executionBuckets}
	stepDuration = declared{Doc{"valence_step_duration_seconds", "histogram", []string{"process", "kind"},
		"Duration of steps by kind."}, stepBuckets}
	callDuration = declared{Doc{"valence_call_duration_seconds", "histogram", []string{"connection", "operation", "outcome"},
		"Duration of each attempt of a connector call. The outcome is ok or the failure code."}, requestBuckets}
	callsInFlight = declared{Doc{"valence_calls_in_flight", "gauge", []string{"connection"},
		"Connector calls in progress."}, nil}
	connectionUp = declared{Doc{"valence_connection_up", "gauge", []string{"connection"},
		"1 if the other system responded to the latest call, 0 if not."}, nil}
	queueDepth = declared{Doc{"valence_queue_depth", "gauge", []string{"process", "state"},
		"Live durable executions by state: accepted (ready or running), waiting (for a time or a signal), held (for a connection or a blocked key)."}, nil}
	queueOldest = declared{Doc{"valence_queue_oldest_seconds", "gauge", []string{"process"},
		"Age of the oldest durable execution that is accepted or held, 0 if there is none."}, nil}
	failuresUnresolved = declared{Doc{"valence_failures_unresolved", "gauge", []string{"process"},
		"Failed and expired executions that nobody has resubmitted or deleted."}, nil}
	failuresKept = declared{Doc{"valence_failures_kept_bytes", "gauge", []string{"process"},
		"Approximate size of the unresolved failures of waiting callers; see --max-kept-failures."}, nil}
	failuresDropped = declared{Doc{"valence_failures_dropped_total", "counter", []string{"process"},
		"Failures of waiting callers that were not kept, because of --max-kept-failures."}, nil}
	keysBlocked = declared{Doc{"valence_keys_blocked", "gauge", []string{"process"},
		"Sequence keys that a failed execution of the process blocks."}, nil}
	diskFree = declared{Doc{"valence_disk_free_bytes", "gauge", nil,
		"Space that is available on the disk of the data folder."}, nil}
	diskSize = declared{Doc{"valence_disk_size_bytes", "gauge", nil,
		"Size of the disk of the data folder."}, nil}
	certificateExpiry = declared{Doc{"valence_certificate_expiry_timestamp_seconds", "gauge", []string{"address"},
		"When the TLS certificate of an address expires: listen or admin, in seconds since 1970. Absent without TLS."}, nil}
	storeUp = declared{Doc{"valence_store_up", "gauge", nil,
		"1 if the store accepts work, 0 if not."}, nil}
	commitBatch = declared{Doc{"valence_commit_batch_size", "histogram", nil,
		"Writes per transaction of the store."}, prometheus.ExponentialBuckets(1, 2, 11)}
	commitDuration = declared{Doc{"valence_commit_duration_seconds", "histogram", nil,
		"Duration of a transaction of the store, including the flush to disk."}, commitBuckets}
	historyBytes = declared{Doc{"valence_history_bytes", "gauge", nil,
		"Size of the history of finished executions."}, nil}
	recordsDropped = declared{Doc{"valence_records_dropped_total", "counter", nil,
		"Records of finished request/reply executions that were dropped because the recorder could not keep up."}, nil}
	clockJumps = declared{Doc{"valence_clock_jumps_total", "counter", nil,
		"Jumps of the wall clock by more than 5 s. Each one suspends purging and expiry for a while."}, nil}
	followersOpen = declared{Doc{"valence_followers", "gauge", []string{"mode"},
		"Callers following an execution, by mode: long polls (poll), event streams (sse), WebSockets (websocket)."}, nil}
	repliesKept = declared{Doc{"valence_replies_kept", "gauge", nil,
		"Deferred replies that have not been collected."}, nil}
	groupMembers = declared{Doc{"valence_group_members", "gauge", nil,
		"Members of the group of atoms whose lease lasts, as this member sees it. Absent without a group."}, nil}
	connectionCircuit = declared{Doc{"valence_connection_circuit", "gauge", []string{"connection"},
		"State of a connection's circuit: closed (0), open (1) or probing (2). Executions that need an open one are held."}, nil}
	requestMemory = declared{Doc{"valence_request_memory_bytes", "gauge", nil,
		"Memory that requests hold: their bodies, decompressed and converted."}, nil}
	requestMemoryLimit = declared{Doc{"valence_request_memory_limit_bytes", "gauge", nil,
		"Limit of valence_request_memory_bytes (--max-request-memory)."}, nil}
	requestMemoryRefused = declared{Doc{"valence_request_memory_refused_total", "counter", nil,
		"Requests refused with 503 or 413 because requests held all memory for requests."}, nil}
	connectionsRefused = declared{Doc{"valence_connections_refused_total", "counter", nil,
		"Connections to the web services that were closed because their address had its share (--max-connections-per-address)."}, nil}
	info = declared{Doc{"valence_info", "gauge", []string{"version"},
		"Always 1; the label is the version of the program."}, nil}
)

var (
	requestBuckets   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	executionBuckets = []float64{.001, .01, .1, 1, 10, 60, 600, 3600, 86400}
	stepBuckets      = []float64{.00001, .0001, .001, .01, .1, 1, 10, 60}
	commitBuckets    = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
)

// Documented returns all metrics in the order of the documentation. The metrics
// of the Go runtime and of the operating-system process are listed by prefix.
func Documented() []Doc {
	var docs []Doc
	for _, d := range []declared{
		requestsTotal, requestDuration, authDenied, executionsTotal, executionDuration, stepDuration,
		callDuration, callsInFlight, connectionUp, connectionCircuit, subscriptionUp, subscriptionLag, subscriptionDelay, subscriptionMessages, queueDepth, queueOldest, failuresUnresolved, failuresKept, failuresDropped, keysBlocked,
		diskFree, diskSize, certificateExpiry, storeUp,
		commitBatch, commitDuration, historyBytes, recordsDropped, clockJumps, followersOpen, repliesKept, groupMembers,
		requestMemory, requestMemoryLimit, requestMemoryRefused, connectionsRefused,
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

// storeCollector reads the state of the store on each scrape.
type storeCollector struct {
	source                                                            atomic.Pointer[func() Store]
	depth, oldest, up, dropped, jumps, historyBytes, replies, members *prometheus.Desc
	failures, kept, blocked, free, size, certificate                  *prometheus.Desc
}

func newStoreCollector() *storeCollector {
	return &storeCollector{
		depth: queueDepth.desc(), oldest: queueOldest.desc(), up: storeUp.desc(),
		dropped: recordsDropped.desc(), jumps: clockJumps.desc(), historyBytes: historyBytes.desc(), replies: repliesKept.desc(), members: groupMembers.desc(),
		failures: failuresUnresolved.desc(), kept: failuresKept.desc(), blocked: keysBlocked.desc(), free: diskFree.desc(), size: diskSize.desc(), certificate: certificateExpiry.desc(),
	}
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.depth, c.oldest, c.up, c.dropped, c.jumps, c.historyBytes, c.replies, c.members,
		c.failures, c.kept, c.blocked, c.free, c.size, c.certificate} {
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
	if s.GroupMembers > 0 {
		gauge(c.members, float64(s.GroupMembers))
	}
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
		gauge(c.failures, float64(b.Failed), b.Process)
		gauge(c.kept, float64(b.Kept), b.Process)
		gauge(c.blocked, float64(b.Blocked), b.Process)
	}
	if s.DiskSize > 0 {
		gauge(c.free, float64(s.DiskFree))
		gauge(c.size, float64(s.DiskSize))
	}
	for address, at := range s.Certificates {
		gauge(c.certificate, float64(at.Unix()), address)
	}
}
