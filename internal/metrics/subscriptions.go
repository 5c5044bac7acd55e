package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// subscriptionLabels name a subscription.
var subscriptionLabels = []string{"process", "connection"}

var (
	subscriptionUp = declared{Doc{"valence_subscription_up", "gauge", subscriptionLabels,
		"1 if the subscription reaches its source, 0 if not. Absent while the trigger is paused."}, nil}
	subscriptionLag = declared{Doc{"valence_subscription_lag", "gauge", subscriptionLabels,
		"Messages that wait at the source. Absent if the source does not report it."}, nil}
	subscriptionDelay = declared{Doc{"valence_subscription_delay_seconds", "gauge", subscriptionLabels,
		"How long the newest message waited at the source. Absent if the source does not report it."}, nil}
	subscriptionMessages = declared{Doc{"valence_subscription_messages_total", "counter", []string{"process", "connection", "result"},
		"Delivered messages by result: accepted, duplicate, dropped (by a filter or an echo guard), refused (kept as a failed execution), " +
			"dead_lettered (refused and left to the source), redelivered (not accepted yet)."}, nil}
)

// Subscription is the state of a subscription at scrape time.
type Subscription struct {
	Process, Connection string
	Up                  bool
	Lag                 int64            // -1: unknown
	Delay               float64          // in seconds; -1: unknown
	Messages            map[string]int64 // by result
}

// OnSubscriptions registers the function that returns the subscriptions that
// run. It must be called at most once.
func (m *Metrics) OnSubscriptions(f func() []Subscription) {
	if m != nil {
		m.registry.MustRegister(&subscriptionCollector{f, subscriptionUp.desc(), subscriptionLag.desc(), subscriptionDelay.desc(), subscriptionMessages.desc()})
	}
}

type subscriptionCollector struct {
	source                   func() []Subscription
	up, lag, delay, messages *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *subscriptionCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.lag, c.delay, c.messages} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *subscriptionCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.source() {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Process, s.Connection)
		}
		up := 0.0
		if s.Up {
			up = 1
		}
		gauge(c.up, up)
		if s.Lag >= 0 {
			gauge(c.lag, float64(s.Lag))
		}
		if s.Delay >= 0 {
			gauge(c.delay, s.Delay)
		}
		for result, n := range s.Messages {
			ch <- prometheus.MustNewConstMetric(c.messages, prometheus.CounterValue, float64(n), s.Process, s.Connection, result)
		}
	}
}
