package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	agentConnected = declared{Doc{"valence_agent_connected", "gauge", nil,
		"1 if the control plane responds to this atom, 0 if not. Only on atoms that have joined a control plane."}, nil}
	agentLastPoll = declared{Doc{"valence_agent_last_poll_seconds", "gauge", nil,
		"Time since the last response of the control plane. Absent before the first one."}, nil}
	agentGeneration = declared{Doc{"valence_agent_generation", "gauge", nil,
		"Deployed generation from the control plane, 0 if none is deployed."}, nil}
	agentWaiting = declared{Doc{"valence_agent_reports_waiting", "gauge", nil,
		"Reports on disk that the control plane has not acknowledged."}, nil}
	agentDropped = declared{Doc{"valence_agent_reports_dropped_total", "counter", nil,
		"Execution reports dropped because the buffer was full. Reports of execution requests are never dropped."}, nil}
)

// Agent is the state of an atom's link to its control plane at scrape time.
type Agent struct {
	Connected  bool
	LastPoll   time.Time // zero if there was none
	Generation int64
	Waiting    int64
	Dropped    int64 // since the start
}

// OnAgent registers the function that returns the state of the agent. It must
// be called at most once; without it, no agent metrics are exposed.
func (m *Metrics) OnAgent(f func() Agent) {
	if m != nil {
		m.registry.MustRegister(&agentCollector{f, agentConnected.desc(), agentLastPoll.desc(), agentGeneration.desc(), agentWaiting.desc(), agentDropped.desc()})
	}
}

type agentCollector struct {
	source                                         func() Agent
	connected, lastPoll, generation, waiting, lost *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *agentCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connected, c.lastPoll, c.generation, c.waiting, c.lost} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *agentCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.source()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	connected := 0.0
	if s.Connected {
		connected = 1
	}
	gauge(c.connected, connected)
	if !s.LastPoll.IsZero() {
		gauge(c.lastPoll, max(0, time.Since(s.LastPoll).Seconds()))
	}
	gauge(c.generation, float64(s.Generation))
	gauge(c.waiting, float64(s.Waiting))
	ch <- prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(s.Dropped))
}
