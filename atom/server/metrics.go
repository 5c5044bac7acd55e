package server

import (
	"context"
	"errors"
	"time"

	"valence/atom/store"
	"valence/internal/metrics"
	"valence/internal/servercert"
)

// storeMetrics reads the state of the store for one scrape.
func (s *Server) storeMetrics() metrics.Store {
	m := metrics.Store{Err: s.store.Err()}
	s.store.stats(&m)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	replies, repliesErr := s.store.CountDeferredReplies(ctx)
	m.RepliesKept = replies
	counts, err := s.store.Counts(ctx)
	problems, problemsErr := s.store.Problems(ctx)
	err = errors.Join(err, repliesErr, problemsErr)
	for process := range s.shown(counts, problems) {
		p := problems[process]
		b := metrics.Backlog{Process: process, States: map[string]int64{}, Failed: p.Failed, Kept: p.KeptBytes, Blocked: p.Blocked}
		for _, state := range []store.State{store.Accepted, store.Waiting, store.Held} {
			b.States[string(state)] = counts[process][state]
		}
		behind := min(p.Behind, b.States[string(store.Accepted)]) // they wait for a blocked key
		b.States[string(store.Accepted)] -= behind
		b.States[string(store.Held)] += behind
		var oldestErr error
		b.Oldest, oldestErr = s.store.Oldest(ctx, process)
		err = errors.Join(err, oldestErr)
		m.Backlog = append(m.Backlog, b)
	}
	if m.Err == nil {
		m.Err = err
	}
	m.Certificates = map[string]time.Time{}
	s.certificates.Range(func(address, c any) bool {
		m.Certificates[address.(string)] = c.(*servercert.Certificate).Expires()
		return true
	})
	return m
}

// shown returns the processes that are deployed, have live executions, or need
// an operator.
func (s *Server) shown(counts map[string]map[store.State]int64, problems map[string]store.Problems) map[string]bool {
	names := map[string]bool{}
	for _, d := range s.atom.Processes() {
		names[d.Process.Name] = true
	}
	for name := range counts {
		names[name] = true
	}
	for name := range problems {
		names[name] = true
	}
	return names
}

// subscriptionMetrics returns the state of the subscriptions for one scrape.
func (s *Server) subscriptionMetrics() (list []metrics.Subscription) {
	for _, d := range s.atom.Processes() {
		status, runs := s.atom.SubscriptionStatus(d)
		if !runs {
			continue
		}
		m := metrics.Subscription{Process: d.Process.Name, Connection: d.Process.Subscribe.Connection, Up: status.IsUp(),
			Lag: status.Lag, Delay: -1, Messages: map[string]int64{}}
		if status.Delay >= 0 {
			m.Delay = status.Delay.Seconds()
		}
		for result, n := range status.Counts {
			m.Messages[string(result)] = n
		}
		list = append(list, m)
	}
	return list
}
