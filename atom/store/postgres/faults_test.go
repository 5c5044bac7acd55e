package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/postgres"
)

// run runs a store until the test ends.
func run(t *testing.T, s *postgres.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err := errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the store does not stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

func message(process string) *store.Message {
	return &store.Message{Process: process, Plan: "p", Env: "e", Received: time.Now().UTC(), DocType: "application/json", Doc: []byte("{}")}
}

// A takeover that was committed although its answer was lost is finished by the
// next attempt.
func TestTakeoverWithALostAnswerIsRepeated(t *testing.T) {
	g := group{server.Database(t)}
	first, second := open(t, g.database, "a"), open(t, g.database, "b")
	var adopted atomic.Int64
	for _, s := range []*postgres.Store{first, second} {
		s.Pause(true)
		run(t, s)
		if err := s.Join(t.Context(), func(live map[string]int64) {
			if s == second {
				adopted.Add(live["p"]) // a sweep adds nothing
			}
		}, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.Accept(t.Context(), message("p")); err != nil {
		t.Fatal(err)
	}
	if err := first.Expire(); err != nil {
		t.Fatal(err)
	}
	if err := second.MoveBlocks(first.Epoch()); err != nil {
		t.Fatal(err)
	}
	if err := second.TakeOver(); err != nil {
		t.Fatal(err)
	}
	found, err := second.Ready(t.Context(), "p", 0, 10)
	if err != nil || len(found) != 1 || adopted.Load() != 1 {
		t.Errorf("got %d ready, adopted %d, %v, want one", len(found), adopted.Load(), err)
	}
}

// A member whose lease ends while it adopts does not delete its own blocks, in
// which commits may run.
func TestLostLeaseLeavesItsBlocks(t *testing.T) {
	database := server.Database(t)
	s := open(t, database, "a")
	s.Pause(true)
	run(t, s)
	epoch := s.Epoch()
	s.Lose()
	if err := s.AdoptBlocks(epoch); err != nil {
		t.Fatal(err)
	}
	var blocks int
	err := connect(t, database).QueryRow(t.Context(), "SELECT count(*) FROM atom_block WHERE holder = $1", epoch).Scan(&blocks)
	if err != nil || blocks != 2 {
		t.Errorf("got %d blocks, %v, want both", blocks, err)
	}
}

// Reserve returns at once: without a lease numbers of the earlier one, which the
// store accepts no message with, and 0 when none are left. The store stops all
// the same.
func TestReserveDoesNotWait(t *testing.T) {
	s := open(t, server.Database(t), "a")
	s.Pause(true)
	stop := run(t, s)
	before := s.Reserve()
	s.Lose()
	after := s.Reserve()
	if after <= before {
		t.Errorf("without a lease: got %d after %d, want a higher number", after, before)
	}
	m := message("p")
	m.Seq = after
	if _, err := s.Accept(t.Context(), m); !errors.Is(err, store.ErrFenced) {
		t.Errorf("accept without a lease: got %v, want ErrFenced", err)
	}
	s.UseUp()
	if got := s.Reserve(); got != 0 {
		t.Errorf("without numbers: got %d, want 0", got)
	}
	stop()
	s = open(t, server.Database(t), "b")
	s.Pause(true)
	stop = run(t, s)
	s.UseUp()
	if _, err := s.Accept(t.Context(), message("p")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("accept without numbers: got %v, want ErrUnavailable", err)
	}
	stop()
}

// An operation that fails does not fail those committed with it.
func TestFailedOperationLeavesOthersAlone(t *testing.T) {
	s := open(t, server.Database(t), "a")
	defer s.Close()
	own := errors.New("own error")
	got := s.CommitTogether(map[string]error{"c": own}, "a", "b", "c", "a", "d")
	for hash, want := range map[string]error{"b": nil, "c": own, "d": nil} {
		if !errors.Is(got[hash], want) {
			t.Errorf("%s: got %v, want %v", hash, got[hash], want)
		}
	}
	if err := got["a"]; err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a duplicate key: got %v, want an error that no repetition mends", err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the store: got %v, want it available", err)
	}
	for hash, stored := range map[string]bool{"a": true, "b": true, "c": false, "d": true} {
		if _, err := s.Content(t.Context(), hash); (err == nil) != stored {
			t.Errorf("%s: got %v, want stored: %v", hash, err, stored)
		}
	}
}

// A message whose caller gave up before its transaction is never stored.
func TestAbandonedOperationIsNotCommitted(t *testing.T) {
	s := open(t, server.Database(t), "a")
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error, 1)
	go func() {
		_, err := s.Accept(ctx, message("p"))
		refused <- err
	}()
	for s.Queued() == 0 {
		<-time.After(time.Millisecond)
	}
	cancel()
	if err := <-refused; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	run(t, s)
	if _, err := s.Accept(t.Context(), message("q")); err != nil { // after it in the queue
		t.Fatal(err)
	}
	counts, err := s.Counts(t.Context())
	if err != nil || len(counts["p"]) != 0 {
		t.Errorf("got %v, %v, want nothing of p", counts, err)
	}
}

// All documents whose time is over are deleted at once, and their executions
// say so.
func TestAllExpiredDocumentsAreDeleted(t *testing.T) {
	fast(t)
	database := server.Database(t)
	s := open(t, database, "a")
	defer s.Close()
	server.Exec(t, database, `INSERT INTO atom_execution(seq, process, plan, env, received, state, doc_type, doc, started, ended, fingerprint, keep_until, documents_until, keep, documents, drop_documents)
		SELECT n, 'p', '', '', n, 6, '', 'x', 1, 1, '', 9000000000000000000, 1, 0, 0, false FROM generate_series(1, 2500) AS n`)
	if err := s.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := connect(t, database).QueryRow(t.Context(), "SELECT count(*) FROM atom_execution WHERE doc IS NOT NULL OR NOT drop_documents").Scan(&left); err != nil || left != 0 {
		t.Errorf("got %d documents left, %v, want none", left, err)
	}
	x, err := s.Get(t.Context(), 7, time.Unix(0, 7))
	if err != nil || !x.Outcome.DropDocuments {
		t.Errorf("got %+v, %v, want an execution without documents", x, err)
	}
}

// The sweep reads one entry of an index per process, whatever the backlog is.
func TestSweepDoesNotReadTheBacklog(t *testing.T) {
	fast(t)
	database := server.Database(t)
	open(t, database, "a").Close()
	server.Exec(t, database, `INSERT INTO atom_execution(seq, process, plan, env, received, state, doc_type)
		SELECT n, 'p' || n % 3, '', '', n, 1, '' FROM generate_series(1, 30000) AS n`)
	server.Exec(t, database, "VACUUM ANALYZE atom_execution")
	conn := connect(t, database)
	var text []byte
	if err := conn.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+postgres.LiveProcesses).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var plan []struct {
		Plan struct {
			Rows int `json:"Actual Rows"`
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	if p := plan[0].Plan; p.Rows != 3 || p.Hit+p.Read > 50 {
		t.Errorf("got %d processes from %d pages, want 3 from at most 50", p.Rows, p.Hit+p.Read)
	}
	var all []string
	rows, err := conn.Query(t.Context(), postgres.LiveProcesses)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var process string
		if err := rows.Scan(&process); err != nil {
			t.Fatal(err)
		}
		all = append(all, process)
	}
	if got := fmt.Sprint(all); got != "[p0 p1 p2]" {
		t.Errorf("got %s, want [p0 p1 p2]", got)
	}
}
