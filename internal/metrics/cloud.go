package metrics

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// What a control plane counts.
var (
	cloudAtoms = declared{Doc{"valence_cloud_atoms", "gauge", []string{"status"},
		"Enrolled atoms of the control plane, online and offline."}, nil}
	cloudWaiting = declared{Doc{"valence_cloud_messages_waiting", "gauge", nil,
		"Messages that atoms have not acknowledged."}, nil}
	cloudPolls = declared{Doc{"valence_cloud_polls_total", "counter", []string{"outcome"},
		"Polls of atoms: idle, answered, fenced."}, nil}
	cloudHeld = declared{Doc{"valence_cloud_polls_held", "gauge", nil,
		"Polls that are held now."}, nil}
	cloudRefused = declared{Doc{"valence_cloud_refused_total", "counter", []string{"reason"},
		"Requests of atoms that were refused, by reason, such as bad_signature, replayed, revoked, used_token, overloaded."}, nil}
	cloudRequests = declared{Doc{"valence_cloud_execution_requests_total", "counter", nil,
		"Execution requests that were stored."}, nil}
	cloudDelivered = declared{Doc{"valence_cloud_messages_delivered_total", "counter", nil,
		"Messages that were handed out to atoms, repeats included."}, nil}
	cloudEnded = declared{Doc{"valence_cloud_executions_total", "counter", []string{"status"},
		"Executions that atoms reported as ended, by status; one that is reported twice counts twice."}, nil}
)

func cloudDocs() []declared {
	return []declared{cloudAtoms, cloudWaiting, cloudPolls, cloudHeld, cloudRefused, cloudRequests, cloudDelivered, cloudEnded}
}

// Fleet is how a control plane stands, as a scrape shows it.
type Fleet struct {
	Err             error // nil while the store takes writes
	Online, Offline int
	Waiting         int
}

// Cloud holds the counters of one control plane. All methods may be called at
// once from many goroutines, and do nothing on a nil *Cloud.
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

// NewCloud makes the metrics of one control plane, with a registry of their own.
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
		fleet:         &fleetCollector{atoms: cloudAtoms.desc(), waiting: cloudWaiting.desc(), up: storeUp.desc()},
	}
	m.registry.MustRegister(m.polls, m.refused, m.requests, m.delivered, m.ended, m.held, m.commitBatch, m.commitSeconds, m.info, m.fleet,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers with everything that is counted. It asks for no credentials.
func (m *Cloud) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Version shows which program runs, as a metric that is always 1.
func (m *Cloud) Version(version string) {
	if m != nil {
		m.info.WithLabelValues(version).Set(1)
	}
}

// Commit counts one transaction of the store.
func (m *Cloud) Commit(writes int, took time.Duration) {
	if m != nil {
		m.commitBatch.Observe(float64(writes))
		m.commitSeconds.Observe(took.Seconds())
	}
}

// OnScrape names the function that tells how the control plane stands. It runs
// once per scrape.
func (m *Cloud) OnScrape(f func() Fleet) {
	if m != nil {
		m.fleet.source.Store(&f)
	}
}

// Poll counts one answered poll by its outcome: idle, answered, fenced.
func (m *Cloud) Poll(outcome string) {
	if m != nil {
		m.polls.WithLabelValues(outcome).Inc()
	}
}

// Hold counts polls that are held: 1 when one begins, -1 when it ends.
func (m *Cloud) Hold(n int) {
	if m != nil {
		m.held.Add(float64(n))
	}
}

// Refused counts one refused request of an atom.
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

// Delivered counts messages that were handed out.
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

// fleetCollector asks how the control plane stands when it is scraped.
type fleetCollector struct {
	source             atomic.Pointer[func() Fleet]
	atoms, waiting, up *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.atoms, c.waiting, c.up} {
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
}
