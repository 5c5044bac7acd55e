package metrics

import "github.com/prometheus/client_golang/prometheus"

// Memory is the memory that the requests of an atom hold together.
type Memory interface {
	Used() int64
	Limit() int64
	Refused() int64 // reservations since the start
}

// OnRequestMemory exposes the memory of requests. It must be called at most once.
func (m *Metrics) OnRequestMemory(memory Memory) {
	if m == nil {
		return
	}
	gauge := func(d declared, f func() int64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, func() float64 { return float64(f()) }))
	}
	gauge(requestMemory, memory.Used)
	gauge(requestMemoryLimit, memory.Limit)
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: requestMemoryRefused.Name, Help: requestMemoryRefused.Help},
		func() float64 { return float64(memory.Refused()) }))
}
