// Package metrics is what the atom counts, by name. Every metric is declared
// once, here: what is shown at /metrics, and the documented list, come from
// the same declaration.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds the counters of one atom. All methods may be called at once
// from many goroutines, and do nothing on a nil *Metrics, so that a part can
// be used without counting.
type Metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	denied         *prometheus.CounterVec
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
	info           *prometheus.GaugeVec
	store          *storeCollector
	processes      children[string, *ProcessMetrics]
	connections    children[string, *ConnectionMetrics]
}

// New makes the metrics of one atom, with a registry of their own.
func New() *Metrics {
	m := &Metrics{
		registry:       prometheus.NewRegistry(),
		requests:       requestsTotal.counters(),
		requestSeconds: requestDuration.histograms(),
		denied:         authDenied.counters(),
		executions:     executionsTotal.counters(),
		executionSecs:  executionDuration.histograms(),
		stepSeconds:    stepDuration.histograms(),
		callSeconds:    callDuration.histograms(),
		callsInFlight:  callsInFlight.gauges(),
		connectionUp:   connectionUp.gauges(),
		circuit:        connectionCircuit.gauges(),
		commitBatch:    commitBatch.histograms().WithLabelValues().(prometheus.Histogram),
		commitSeconds:  commitDuration.histograms().WithLabelValues().(prometheus.Histogram),
		followers:      followersOpen.gauges(),
		info:           info.gauges(),
		store:          newStoreCollector(),
	}
	m.registry.MustRegister(
		m.requests, m.requestSeconds, m.denied, m.executions, m.executionSecs, m.stepSeconds,
		m.callSeconds, m.callsInFlight, m.connectionUp, m.circuit, m.commitBatch, m.commitSeconds,
		m.followers, m.info, m.store,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers with everything that is counted, in the Prometheus text
// format or OpenMetrics, as the scraper asks. It asks for no credentials.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Version shows which program runs, as a metric that is always 1.
func (m *Metrics) Version(version string) {
	if m != nil {
		m.info.WithLabelValues(version).Set(1)
	}
}

// Process gives the counters of one process, the same value each time. Ask
// once and keep it. Requests that match no process are counted under "".
func (m *Metrics) Process(name string) *ProcessMetrics {
	if m == nil {
		return nil
	}
	return m.processes.get(name, func() *ProcessMetrics { return &ProcessMetrics{m: m, name: name} })
}

// Connection gives the counters of one connection, the same value each time.
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

// Commit counts one transaction of the store: how many writes it held, and
// how long it took until it was on disk.
func (m *Metrics) Commit(writes int, took time.Duration) {
	if m != nil {
		m.commitBatch.Observe(float64(writes))
		m.commitSeconds.Observe(took.Seconds())
	}
}

// Following counts one who follows an execution, until done is called: a
// request that is held (poll), an event stream (sse), or a WebSocket.
func (m *Metrics) Following(mode string) (done func()) {
	if m == nil {
		return func() {}
	}
	g := m.followers.WithLabelValues(mode)
	g.Inc()
	return g.Dec
}

// Store is how a store fares, as a scrape shows it.
type Store struct {
	Err            error // nil while it takes work
	Backlog        []Backlog
	HistoryBytes   int64
	RecordsDropped int64 // since the start
	ClockJumps     int64 // since the start
	RepliesKept    int64 // to be collected
}

// Backlog is what a store holds of one process.
type Backlog struct {
	Process string
	States  map[string]int64 // live executions by state
	Oldest  time.Time        // when the oldest of them was received; zero if there is none
}

// OnScrape names the function that tells how the store fares. It runs once
// per scrape and must not block for long. A later call replaces it.
func (m *Metrics) OnScrape(f func() Store) {
	if m != nil {
		m.store.source.Store(&f)
	}
}

// ProcessMetrics are the counters of one process. Nil counts nothing.
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

// Request counts one answered request of the process' listener.
func (p *ProcessMetrics) Request(status int, took time.Duration) {
	if p == nil {
		return
	}
	p.requests.get(status, func() prometheus.Counter {
		return p.m.requests.WithLabelValues(p.name, statusText(status))
	}).Inc()
	p.requestSeconds.get(struct{}{}, func() prometheus.Observer {
		return p.m.requestSeconds.WithLabelValues(p.name)
	}).Observe(took.Seconds())
}

// Denied counts one request that did not prove who sent it.
func (p *ProcessMetrics) Denied() {
	if p == nil {
		return
	}
	p.denied.get(struct{}{}, func() prometheus.Counter { return p.m.denied.WithLabelValues(p.name) }).Inc()
}

// Ended counts one execution by its final status; took is from its
// acceptance, waiting included.
func (p *ProcessMetrics) Ended(status string, took time.Duration) {
	if p == nil {
		return
	}
	p.executions.get(status, func() prometheus.Counter {
		return p.m.executions.WithLabelValues(p.name, status)
	}).Inc()
	p.executionSecs.get(struct{}{}, func() prometheus.Observer {
		return p.m.executionSecs.WithLabelValues(p.name)
	}).Observe(took.Seconds())
}

// Step counts one step that ran, by its kind.
func (p *ProcessMetrics) Step(kind string, took time.Duration) {
	if p == nil {
		return
	}
	p.steps.get(kind, func() prometheus.Observer {
		return p.m.stepSeconds.WithLabelValues(p.name, kind)
	}).Observe(took.Seconds())
}

// ConnectionMetrics are the counters of one connection. Nil counts nothing.
type ConnectionMetrics struct {
	m        *Metrics
	name     string
	inFlight prometheus.Gauge
	up       prometheus.Gauge
	calls    children[callKey, prometheus.Observer]
}

type callKey struct{ operation, outcome string }

// CallOK is the outcome of a call that succeeded; others are named by the
// failure's code.
const CallOK = "ok"

// Start counts a call as under way. Each Start is followed by one Done.
func (c *ConnectionMetrics) Start() {
	if c != nil {
		c.inFlight.Inc()
	}
}

// Circuit tells how the connection's circuit stands: 0 closed, 1 open, 2 probing.
func (c *ConnectionMetrics) Circuit(state int) {
	if c != nil {
		c.m.circuit.WithLabelValues(c.name).Set(float64(state))
	}
}

// Done counts one attempt of a call. Outcome is CallOK or the code of the
// failure; answered tells whether the other system answered at all, which is
// what the connection's state shows.
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
