package metrics

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// cloudAtomLabels name an atom.
var cloudAtomLabels = []string{"account", "environment", "atom"}

// Metrics of a control plane.
var (
	cloudAtoms = declared{Doc{"valence_cloud_atoms", "gauge", []string{"status"},
		"Enrolled atoms by status: online, offline."}, nil}
	cloudWaiting = declared{Doc{"valence_cloud_messages_waiting", "gauge", nil,
		"Messages that atoms have not acknowledged."}, nil}
	cloudAtomUp = declared{Doc{"valence_cloud_atom_up", "gauge", cloudAtomLabels,
		"1 if the atom is online, 0 if not."}, nil}
	cloudAtomWaiting = declared{Doc{"valence_cloud_atom_messages_waiting", "gauge", cloudAtomLabels,
		"Messages that the atom has not acknowledged."}, nil}
	cloudAtomBacklog = declared{Doc{"valence_cloud_atom_backlog", "gauge", cloudAtomLabels,
		"Live executions of the atom, as it last reported them."}, nil}
	cloudAtomFailed = declared{Doc{"valence_cloud_atom_failures_unresolved", "gauge", cloudAtomLabels,
		"Unresolved failures of the atom, as it last reported them."}, nil}
	cloudAtomDropped = declared{Doc{"valence_cloud_atom_reports_dropped", "gauge", cloudAtomLabels,
		"Execution reports that the atom has dropped since it started, as it last reported them."}, nil}
	cloudPolls = declared{Doc{"valence_cloud_polls_total", "counter", []string{"outcome"},
		"Polls of atoms by outcome: idle, answered, fenced."}, nil}
	cloudHeld = declared{Doc{"valence_cloud_polls_held", "gauge", nil,
		"Open long polls."}, nil}
	cloudRefused = declared{Doc{"valence_cloud_refused_total", "counter", []string{"reason"},
		"Rejected requests of atoms by reason, such as bad_signature, replayed, revoked, used_token, overloaded."}, nil}
	cloudRequests = declared{Doc{"valence_cloud_execution_requests_total", "counter", nil,
		"Execution requests stored."}, nil}
	cloudDelivered = declared{Doc{"valence_cloud_messages_delivered_total", "counter", nil,
		"Messages delivered to atoms, including redeliveries."}, nil}
	cloudEnded = declared{Doc{"valence_cloud_executions_total", "counter", []string{"status"},
		"Executions that atoms reported as ended, by status. An execution that is reported twice counts twice."}, nil}
)

func cloudDocs() []declared {
	return []declared{cloudAtoms, cloudAtomUp, cloudAtomWaiting, cloudAtomBacklog, cloudAtomFailed, cloudAtomDropped, cloudWaiting, cloudPolls, cloudHeld, cloudRefused, cloudRequests, cloudDelivered, cloudEnded}
}

// Fleet is the state of a control plane at scrape time.
type Fleet struct {
	Err             error // nil while the store accepts writes
	Online, Offline int
	Waiting         int
	Atoms           []FleetAtom
}

// FleetAtom is the state of one enrolled atom at scrape time.
type FleetAtom struct {
	Account, Environment, Name string // names; Environment is "" without one
	Online                     bool
	Waiting                    int   // messages
	Backlog, Failed, Dropped   int64 // as last reported
}

// Cloud holds the metrics of one control plane. All methods are safe for
// concurrent use and do nothing on a nil *Cloud.
type Cloud struct {
	registry      *prometheus.Registry
	polls         *prometheus.CounterVec
	refused       *prometheus.CounterVec
	requests      prometheus.Counter
	delivered     prometheus.Counter
	ended         *prometheus.CounterVec
	held          prometheus.Gauge
	commitBatch   prometheus.Histogram
	commitSeconds prometheus.Histogram
	info          *prometheus.GaugeVec
	fleet         *fleetCollector
}

// NewCloud returns the metrics of one control plane with a registry of their
// own.
func NewCloud() *Cloud {
	m := &Cloud{
		registry: prometheus.NewRegistry(),
		polls:    cloudPolls.counters(), refused: cloudRefused.counters(),
		requests:      cloudRequests.counters().WithLabelValues(),
		delivered:     cloudDelivered.counters().WithLabelValues(),
		ended:         cloudEnded.counters(),
		held:          cloudHeld.gauges().WithLabelValues(),
		commitBatch:   commitBatch.histograms().WithLabelValues().(prometheus.Histogram),
		commitSeconds: commitDuration.histograms().WithLabelValues().(prometheus.Histogram),
		info:          info.gauges(),
		fleet: &fleetCollector{atoms: cloudAtoms.desc(), waiting: cloudWaiting.desc(), up: storeUp.desc(), each: []*prometheus.Desc{
			cloudAtomUp.desc(), cloudAtomWaiting.desc(), cloudAtomBacklog.desc(), cloudAtomFailed.desc(), cloudAtomDropped.desc()}},
	}
	m.registry.MustRegister(m.polls, m.refused, m.requests, m.delivered, m.ended, m.held, m.commitBatch, m.commitSeconds, m.info, m.fleet,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics. It does not authenticate callers.
func (m *Cloud) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Version sets the label of valence_info.
func (m *Cloud) Version(version string) {
	if m != nil {
		m.info.WithLabelValues(version).Set(1)
	}
}

// Commit records one transaction of the store.
func (m *Cloud) Commit(writes int, took time.Duration) {
	if m != nil {
		m.commitBatch.Observe(float64(writes))
		m.commitSeconds.Observe(took.Seconds())
	}
}

// OnScrape sets the function that returns the state of the control plane. It
// runs once per scrape.
func (m *Cloud) OnScrape(f func() Fleet) {
	if m != nil {
		m.fleet.source.Store(&f)
	}
}

// Poll counts one answered poll by outcome: idle, answered or fenced.
func (m *Cloud) Poll(outcome string) {
	if m != nil {
		m.polls.WithLabelValues(outcome).Inc()
	}
}

// Hold adjusts the number of open long polls: 1 when one begins, -1 when it
// ends.
func (m *Cloud) Hold(n int) {
	if m != nil {
		m.held.Add(float64(n))
	}
}

// Refused counts one rejected request of an atom.
func (m *Cloud) Refused(reason string) {
	if m != nil {
		m.refused.WithLabelValues(reason).Inc()
	}
}

// Request counts one stored execution request.
func (m *Cloud) Request() {
	if m != nil {
		m.requests.Inc()
	}
}

// Delivered counts delivered messages.
func (m *Cloud) Delivered(n int) {
	if m != nil {
		m.delivered.Add(float64(n))
	}
}

// Ended counts one execution that was reported as ended.
func (m *Cloud) Ended(status string) {
	if m != nil {
		m.ended.WithLabelValues(status).Inc()
	}
}

// fleetCollector reads the state of the control plane on each scrape.
type fleetCollector struct {
	source             atomic.Pointer[func() Fleet]
	atoms, waiting, up *prometheus.Desc
	each               []*prometheus.Desc // of one atom: up, messages, backlog, failed, dropped
}

// Describe implements prometheus.Collector.
func (c *fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range append([]*prometheus.Desc{c.atoms, c.waiting, c.up}, c.each...) {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *fleetCollector) Collect(ch chan<- prometheus.Metric) {
	f := c.source.Load()
	if f == nil {
		return
	}
	fleet := (*f)()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := 1.0
	if fleet.Err != nil {
		up = 0
	}
	gauge(c.up, up)
	gauge(c.atoms, float64(fleet.Online), "online")
	gauge(c.atoms, float64(fleet.Offline), "offline")
	gauge(c.waiting, float64(fleet.Waiting))
	for i := range fleet.Atoms {
		a := &fleet.Atoms[i]
		online := 0.0
		if a.Online {
			online = 1
		}
		for n, v := range []float64{online, float64(a.Waiting), float64(a.Backlog), float64(a.Failed), float64(a.Dropped)} {
			gauge(c.each[n], v, a.Account, a.Environment, a.Name)
		}
	}
}
