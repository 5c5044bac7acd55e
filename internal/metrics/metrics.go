// Package metrics declares every metric once. The values at /metrics and the
// reference come from the same declarations.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds the metrics of one atom. All methods are safe for concurrent
// use and do nothing on a nil *Metrics.
type Metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	denied         *prometheus.CounterVec
	dropped        *prometheus.CounterVec
	executions     *prometheus.CounterVec
	executionSecs  *prometheus.HistogramVec
	stepSeconds    *prometheus.HistogramVec
	callSeconds    *prometheus.HistogramVec
	callsInFlight  *prometheus.GaugeVec
	connectionUp   *prometheus.GaugeVec
	circuit        *prometheus.GaugeVec
	commitBatch    prometheus.Histogram
	commitSeconds  prometheus.Histogram
	followers      *prometheus.GaugeVec
	connRefused    prometheus.Counter
	info           *prometheus.GaugeVec
	store          *storeCollector
	processes      children[string, *ProcessMetrics]
	connections    children[string, *ConnectionMetrics]
}

// New returns the metrics of one atom with a registry of their own.
func New() *Metrics {
	m := &Metrics{
		registry:       prometheus.NewRegistry(),
		requests:       requestsTotal.counters(),
		requestSeconds: requestDuration.histograms(),
		denied:         authDenied.counters(),
		executions:     executionsTotal.counters(),
		executionSecs:  executionDuration.histograms(),
		dropped:        failuresDropped.counters(),
		stepSeconds:    stepDuration.histograms(),
		callSeconds:    callDuration.histograms(),
		callsInFlight:  callsInFlight.gauges(),
		connectionUp:   connectionUp.gauges(),
		circuit:        connectionCircuit.gauges(),
		commitBatch:    commitBatch.histograms().WithLabelValues().(prometheus.Histogram),
		commitSeconds:  commitDuration.histograms().WithLabelValues().(prometheus.Histogram),
		followers:      followersOpen.gauges(),
		connRefused:    connectionsRefused.counters().WithLabelValues(),
		info:           info.gauges(),
		store:          newStoreCollector(),
	}
	m.registry.MustRegister(
		m.requests, m.requestSeconds, m.denied, m.dropped, m.executions, m.executionSecs, m.stepSeconds,
		m.callSeconds, m.callsInFlight, m.connectionUp, m.circuit, m.commitBatch, m.commitSeconds,
		m.followers, m.connRefused, m.info, m.store,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the metrics in the Prometheus text format or OpenMetrics,
// whichever the scraper requests. It does not authenticate callers.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Version sets the label of valence_info.
func (m *Metrics) Version(version string) {
	if m != nil {
		m.info.WithLabelValues(version).Set(1)
	}
}

// Process returns the metrics of one process, the same value on each call.
// Requests that match no process are counted under "".
func (m *Metrics) Process(name string) *ProcessMetrics {
	if m == nil {
		return nil
	}
	return m.processes.get(name, func() *ProcessMetrics { return &ProcessMetrics{m: m, name: name} })
}

// Connection returns the metrics of one connection, the same value on each
// call.
func (m *Metrics) Connection(name string) *ConnectionMetrics {
	if m == nil {
		return nil
	}
	return m.connections.get(name, func() *ConnectionMetrics {
		return &ConnectionMetrics{
			m: m, name: name,
			inFlight: m.callsInFlight.WithLabelValues(name),
			up:       m.connectionUp.WithLabelValues(name),
		}
	})
}

// Commit records one transaction of the store: its number of writes, and the
// time until it was on disk.
func (m *Metrics) Commit(writes int, took time.Duration) {
	if m != nil {
		m.commitBatch.Observe(float64(writes))
		m.commitSeconds.Observe(took.Seconds())
	}
}

// ConnectionRefused counts a connection of an address that has its share.
func (m *Metrics) ConnectionRefused() {
	if m != nil {
		m.connRefused.Inc()
	}
}

// Following counts a caller that follows an execution until done is called.
// mode is poll, sse or websocket.
func (m *Metrics) Following(mode string) (done func()) {
	if m == nil {
		return func() {}
	}
	g := m.followers.WithLabelValues(mode)
	g.Inc()
	return g.Dec
}

// Store is the state of a store at scrape time.
type Store struct {
	Err            error // nil while it accepts work
	Backlog        []Backlog
	HistoryBytes   int64
	RecordsDropped int64                // since the start
	ClockJumps     int64                // since the start
	RepliesKept    int64                // not collected yet
	GroupMembers   int                  // 0: no group
	DiskFree       int64                // of the data folder's disk, in bytes
	DiskSize       int64                // 0: unknown
	Certificates   map[string]time.Time // expiry of TLS certificates, by address
}

// Backlog counts the live executions, failures and blocked keys of one process.
type Backlog struct {
	Process string
	States  map[string]int64 // live executions by state
	Oldest  time.Time        // receive time of the oldest accepted or held one; zero if there is none
	Failed  int64            // unresolved failures
	Kept    int64            // bytes of those that ran in memory
	Blocked int64            // blocked keys
}

// OnScrape sets the function that returns the state of the store. It runs once
// per scrape and must return quickly. A later call replaces it.
func (m *Metrics) OnScrape(f func() Store) {
	if m != nil {
		m.store.source.Store(&f)
	}
}

// ProcessMetrics holds the metrics of one process. Nil records nothing.
type ProcessMetrics struct {
	m    *Metrics
	name string

	requests       children[int, prometheus.Counter]
	requestSeconds children[struct{}, prometheus.Observer]
	executions     children[string, prometheus.Counter]
	executionSecs  children[struct{}, prometheus.Observer]
	steps          children[string, prometheus.Observer]
	denied         children[struct{}, prometheus.Counter]
}

// Declare creates the counter of ended executions with this status, so that an
// alert sees its first increase.
func (p *ProcessMetrics) Declare(status string) {
	if p != nil {
		p.ended(status)
	}
}

// commonStatuses are the HTTP statuses of a listener that alerts ask for.
var commonStatuses = []int{200, 202, 400, 401, 429, 500, 502, 503, 504}

// DeclareRequests creates the counters of the requests of a listener, as Declare
// does for executions.
func (p *ProcessMetrics) DeclareRequests() {
	if p == nil {
		return
	}
	for _, status := range commonStatuses {
		p.answered(status)
	}
	p.deniedCounter()
	p.m.dropped.WithLabelValues(p.name)
}

func (p *ProcessMetrics) answered(status int) prometheus.Counter {
	return p.requests.get(status, func() prometheus.Counter {
		return p.m.requests.WithLabelValues(p.name, statusText(status))
	})
}

func (p *ProcessMetrics) deniedCounter() prometheus.Counter {
	return p.denied.get(struct{}{}, func() prometheus.Counter { return p.m.denied.WithLabelValues(p.name) })
}

func (p *ProcessMetrics) ended(status string) prometheus.Counter {
	return p.executions.get(status, func() prometheus.Counter {
		return p.m.executions.WithLabelValues(p.name, status)
	})
}

// Request records one answered request of the process' listener.
func (p *ProcessMetrics) Request(status int, took time.Duration) {
	if p == nil {
		return
	}
	p.answered(status).Inc()
	p.requestSeconds.get(struct{}{}, func() prometheus.Observer {
		return p.m.requestSeconds.WithLabelValues(p.name)
	}).Observe(took.Seconds())
}

// Denied counts one request that failed authentication.
func (p *ProcessMetrics) Denied() {
	if p == nil {
		return
	}
	p.deniedCounter().Inc()
}

// FailureDropped counts one failure that was not kept.
func (p *ProcessMetrics) FailureDropped() {
	if p == nil {
		return
	}
	p.m.dropped.WithLabelValues(p.name).Inc()
}

// Ended records one execution by final status. took counts from acceptance and
// includes waiting.
func (p *ProcessMetrics) Ended(status string, took time.Duration) {
	if p == nil {
		return
	}
	p.ended(status).Inc()
	p.executionSecs.get(struct{}{}, func() prometheus.Observer {
		return p.m.executionSecs.WithLabelValues(p.name)
	}).Observe(took.Seconds())
}

// Step records one executed step by kind.
func (p *ProcessMetrics) Step(kind string, took time.Duration) {
	if p == nil {
		return
	}
	p.steps.get(kind, func() prometheus.Observer {
		return p.m.stepSeconds.WithLabelValues(p.name, kind)
	}).Observe(took.Seconds())
}

// ConnectionMetrics holds the metrics of one connection. Nil records nothing.
type ConnectionMetrics struct {
	m        *Metrics
	name     string
	inFlight prometheus.Gauge
	up       prometheus.Gauge
	calls    children[callKey, prometheus.Observer]
}

type callKey struct{ operation, outcome string }

// CallOK is the outcome of a successful call; other outcomes are failure codes.
const CallOK = "ok"

// Start counts a running call. Each Start is followed by one Done.
func (c *ConnectionMetrics) Start() {
	if c != nil {
		c.inFlight.Inc()
	}
}

// Circuit sets the state of the connection's circuit: 0 closed, 1 open, 2
// probing.
func (c *ConnectionMetrics) Circuit(state int) {
	if c != nil {
		c.m.circuit.WithLabelValues(c.name).Set(float64(state))
	}
}

// Done records one attempt of a call. outcome is CallOK or the code of the
// failure. answered says whether the other system responded at all.
func (c *ConnectionMetrics) Done(operation, outcome string, answered bool, took time.Duration) {
	if c == nil {
		return
	}
	c.inFlight.Dec()
	if answered {
		c.up.Set(1)
	} else {
		c.up.Set(0)
	}
	c.calls.get(callKey{operation, outcome}, func() prometheus.Observer {
		return c.m.callSeconds.WithLabelValues(c.name, operation, outcome)
	}).Observe(took.Seconds())
}
