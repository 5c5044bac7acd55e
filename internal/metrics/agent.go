package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	agentConnected = declared{Doc{"valence_agent_connected", "gauge", nil,
		"1 while the control plane answers this atom, 0 while it does not; only on an atom that has joined one."}, nil}
	agentLastPoll = declared{Doc{"valence_agent_last_poll_seconds", "gauge", nil,
		"Time since the control plane last answered; absent before it did."}, nil}
	agentGeneration = declared{Doc{"valence_agent_generation", "gauge", nil,
		"Generation of what is deployed from the control plane, 0 if nothing is."}, nil}
	agentWaiting = declared{Doc{"valence_agent_reports_waiting", "gauge", nil,
		"Reports on disk that the control plane does not have yet."}, nil}
	agentDropped = declared{Doc{"valence_agent_reports_dropped_total", "counter", nil,
		"Reports of executions that were dropped for want of room; never those of execution requests."}, nil}
)

// Agent is how an atom's link to its control plane fares, as a scrape shows it.
type Agent struct {
	Connected  bool
	LastPoll   time.Time // zero: never
	Generation int64
	Waiting    int64
	Dropped    int64 // since the start
}

// OnAgent names the function that tells how the agent fares, once; without it
// nothing of an agent is shown.
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
