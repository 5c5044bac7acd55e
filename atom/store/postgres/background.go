package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/pgdb"
)

// Mark implements store.Echoes.
func (s *Store) Mark(ctx context.Context, marks ...store.Mark) error {
	return s.do(ctx, markOp(marks))
}

type markOp []store.Mark

func (o markOp) do(t *transaction) error {
	for _, m := range o {
		t.storeMark(m)
	}
	return nil
}

func (t *transaction) storeMark(m store.Mark) {
	if m.Version != "" {
		t.exec("INSERT INTO atom_mark(hash, until) VALUES($1, $2) ON CONFLICT (hash) DO UPDATE SET until = excluded.until", store.MarkKey(m.System, m.Record, m.Version), m.Until.UnixNano())
	}
}

// mark stores the writes and marks of a change.
func (t *transaction) mark(c *store.Change) {
	for _, w := range c.Writes {
		t.exec(`INSERT INTO atom_write(seq, path, system, record, until) VALUES($1, $2, $3, $4, $5)
			ON CONFLICT (seq, path) DO UPDATE SET system = excluded.system, record = excluded.record, until = excluded.until`, c.Seq, w.Path, w.System, pgdb.Sanitize(w.Record), w.Until.UnixNano())
	}
	for _, m := range c.Marks {
		t.exec("DELETE FROM atom_write WHERE seq = $1 AND path = $2", c.Seq, m.Path)
		t.storeMark(m)
	}
}

// Marked implements store.Echoes.
func (s *Store) Marked(ctx context.Context, system, record, version string) (bool, error) {
	return s.one(ctx, []any{}, "SELECT FROM atom_mark WHERE hash = $1 AND until > $2", store.MarkKey(system, record, version), s.clock.now().UnixNano())
}

// Writes implements store.Echoes.
func (s *Store) Writes(ctx context.Context) (all []store.Write, err error) {
	var w store.Write
	var until int64
	err = s.each(ctx, []any{&w.Seq, &w.Path, &w.System, &w.Record, &until}, func() error {
		w.Until = time.Unix(0, until).UTC()
		all = append(all, w)
		return nil
	}, "SELECT seq, path, system, record, until FROM atom_write WHERE until > $1", s.clock.now().UnixNano())
	return all, err
}

// maxRecords bounds the executions that wait to be recorded.
const maxRecords = 4096

// recorder stores executions that ran in memory, in batches.
type recorder struct {
	queue   chan recordOp
	dropped atomic.Int64
}

// Record implements store.History.
func (s *Store) Record(f *store.Finished) {
	r := recordOp{f: f, files: s.pinRecord(f)}
	select {
	case s.recorder.queue <- r:
	default:
		s.recorder.dropped.Add(1)
		r.release(s)
	}
}

// pinRecord pins the stored files of a failure until it is recorded.
func (s *Store) pinRecord(f *store.Finished) []string {
	x := store.Execution{Record: f.Record, Outcome: &f.Outcome}
	if !x.Unresolved() {
		return nil
	}
	found := blob.Names(blob.Names(blob.Names(nil, f.Doc), f.Data), f.Meta)
	for i := range f.Entries {
		found = blob.Names(found, f.Entries[i].Body)
	}
	return s.files.pinAgain(found)
}

// recordOp stores one execution that ran in memory.
type recordOp struct {
	f     *store.Finished
	files []string // that it pins
}

func (o recordOp) release(s *Store) {
	if len(o.files) > 0 {
		s.ReleaseFiles(o.files)
	}
}

func (o recordOp) do(t *transaction) error {
	x := &store.Execution{Record: o.f.Record, Outcome: &o.f.Outcome}
	kept := int64(0)
	if x.Unresolved() {
		kept = int64(o.f.Size())
	}
	t.insertExecution(x, false, time.Time{}, kept)
	if !x.Outcome.DropDocuments || x.Unresolved() {
		t.insertEntries(x.Seq, o.f.Entries)
	}
	return nil
}

// record stores executions until ctx ends, and then the rest.
func (s *Store) record(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, batchLimit)
	one := func(r recordOp) {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := s.do(context.Background(), r); err != nil {
				s.recorder.dropped.Add(1)
			}
			r.release(s)
		})
	}
	for {
		select {
		case r := <-s.recorder.queue:
			one(r)
		case <-ctx.Done():
			for {
				select {
				case r := <-s.recorder.queue:
					one(r)
				default:
					return
				}
			}
		}
	}
}

// purgeEvery is how often expired rows are deleted, purgeRows how many at once.
const (
	purgeEvery = 10 * time.Second
	purgeRows  = 1000
)

// purges delete rows that have expired at $1, at most $2.
var purges = []string{
	"DELETE FROM atom_dedupe WHERE ctid = ANY(ARRAY(SELECT ctid FROM atom_dedupe WHERE until < $1 LIMIT $2))",
	"DELETE FROM atom_mark WHERE ctid = ANY(ARRAY(SELECT ctid FROM atom_mark WHERE until < $1 LIMIT $2))",
	"DELETE FROM atom_write WHERE ctid = ANY(ARRAY(SELECT ctid FROM atom_write WHERE until < $1 LIMIT $2))",
	"DELETE FROM atom_signal WHERE ctid = ANY(ARRAY(SELECT ctid FROM atom_signal WHERE until < $1 LIMIT $2))",
	"DELETE FROM atom_wait WHERE ctid = ANY(ARRAY(SELECT ctid FROM atom_wait WHERE until < $1 LIMIT $2))",
	"DELETE FROM atom_reply WHERE ctid = ANY(ARRAY(SELECT ctid FROM atom_reply WHERE until < $1 LIMIT $2))",
	`DELETE FROM atom_origin WHERE ctid = ANY(ARRAY(SELECT o.ctid FROM atom_origin AS o WHERE coalesce(o.until, o.received) < $1
		AND (o.until IS NOT NULL OR o.received < $1 - 691200000000000 AND NOT EXISTS (SELECT FROM atom_execution AS x WHERE x.seq = o.seq AND x.state < 4)) LIMIT $2))`,
	`WITH old AS (DELETE FROM atom_execution WHERE seq = ANY(ARRAY(SELECT seq FROM atom_execution WHERE keep_until < $1 LIMIT $2)) RETURNING seq),
		replies AS (DELETE FROM atom_reply WHERE seq IN (SELECT seq FROM old) AND until IS NULL),
		files AS (DELETE FROM atom_file_use WHERE seq IN (SELECT seq FROM old))
		DELETE FROM atom_journal WHERE seq IN (SELECT seq FROM old)`,
}

// purge deletes expired rows until ctx ends.
func (s *Store) purge(ctx context.Context) {
	ticks := time.NewTicker(purgeEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if err := s.purgeOnce(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot delete expired rows", "error", err)
		}
	}
}

func (s *Store) purgeOnce(ctx context.Context) error {
	now := s.clock.now().UnixNano()
	for _, sql := range purges {
		for {
			limit, cancel := context.WithTimeout(ctx, statementTime)
			tag, err := s.pool.Exec(limit, sql, now, purgeRows)
			cancel()
			if err != nil {
				return err
			}
			if tag.RowsAffected() < purgeRows {
				break
			}
		}
	}
	return errors.Join(s.purgeDocuments(ctx, now), s.purgeFiles(ctx))
}

// purgeDocuments deletes documents that are kept for a shorter time than their
// execution.
func (s *Store) purgeDocuments(ctx context.Context, now int64) error {
	for {
		n, err := s.purgeSomeDocuments(ctx, now)
		if err != nil || n < purgeRows {
			return err
		}
	}
}

func (s *Store) purgeSomeDocuments(ctx context.Context, now int64) (n int, err error) {
	var seq int64
	var trace []byte
	batch := &pgdb.Batch{}
	err = s.each(ctx, []any{&seq, &trace}, func() error {
		n++
		batch.Queue("UPDATE atom_execution SET doc = NULL, data = NULL, trace = $2, drop_documents = true, documents_until = NULL WHERE seq = $1", seq, s.o.BareTrace(trace))
		batch.Queue("DELETE FROM atom_journal WHERE seq = $1", seq)
		batch.Queue(dropUses, seq)
		return nil
	}, "SELECT seq, trace FROM atom_execution WHERE documents_until < $1 ORDER BY documents_until LIMIT $2", now, purgeRows)
	if err != nil || n == 0 {
		return n, err
	}
	limit, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	return n, s.pool.SendBatch(limit, batch).Close()
}

// leftNotice is the notification of a member that has left.
const leftNotice = "left"

// notices are for other members, about commits of this one, such as
// their executions that it made ready. They are sent after the commit, many at once: a notification
// inside a transaction would let one transaction commit at a time.
type notices struct {
	mu   sync.Mutex
	list []notice
	kick chan struct{}
	left chan struct{} // a member has left
}

type notice struct {
	Kind       string `json:"k,omitempty"` // "": the execution is ready, or was superseded
	Process    string `json:"p,omitempty"`
	Seq        int64  `json:"s,omitempty"`
	Head       bool   `json:"h,omitempty"`
	Superseded bool   `json:"e,omitempty"`
}

// noticesAtOnce bounds a notification, which holds at most 8,000 bytes.
const noticesAtOnce = 50

// Kinds of notices about executions of the receiver, or that it follows.
const (
	noticeCancelled = "cancelled" // a Change with Cancel was committed
	noticeFollowed  = "followed"  // the sender wants to know of its commits
	noticeChanged   = "changed"   // it was changed; for its followers
	noticeSettings  = "settings"  // see store.Members
)

func noticeOf(w store.Wakeup) notice {
	return notice{Process: w.Process, Seq: w.Seq, Head: w.HeadOfLane, Superseded: w.Superseded}
}

func (n *notices) add(x notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, x)
	wake(n.kick)
}

func (n *notices) take() []notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	some := n.list[:min(len(n.list), noticesAtOnce)]
	n.list = n.list[len(some):]
	return some
}

func (n *notices) run(ctx context.Context, s *Store) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		}
		for some := n.take(); len(some) > 0; some = n.take() {
			text, _ := json.Marshal(some) // text and numbers always encode
			if err := s.write(ctx, "SELECT pg_notify($1, $2)", s.channel(), string(text)); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot notify other members; they find the executions later", "error", err)
			}
		}
	}
}

func (s *Store) channel() string { return "valence_group_" + s.group.id }

// sweepEvery is how often a member reads its ready executions without a
// notification, and sweepAlone how often if none arrive.
const (
	sweepEvery = 15 * time.Second
	sweepAlone = 2 * time.Second
	listenWait = time.Second // between attempts to listen
	checkAgain = time.Minute // whether notifications arrive now
)

// listen receives the notifications of other members until ctx ends.
func (s *Store) listen(ctx context.Context) {
	named := false
	for ctx.Err() == nil {
		err := s.listenOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, pgdb.ErrNoNotifications):
			if !named {
				s.log.Warn("cannot receive notifications of other members; reading their work regularly instead", "error", err, "every", sweepAlone.String())
			}
			named = true
			s.sweepFor(ctx, checkAgain)
			continue
		}
		s.log.Warn("cannot receive notifications of other members", "error", err)
		s.sweepFor(ctx, listenWait)
	}
}

// sweepFor sweeps for a time.
func (s *Store) sweepFor(ctx context.Context, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(d, sweepAlone)):
		}
	}
}

// listenOnce receives notifications until the connection fails.
func (s *Store) listenOnce(ctx context.Context) error {
	l, err := s.server.Listen(ctx, s.channel())
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Check(ctx, s.channel(), s.writes); err != nil {
		return err
	}
	s.sweep(ctx)
	for next := time.Now().Add(sweepEvery); ; {
		text, ok, err := l.Next(ctx, next)
		switch {
		case err != nil:
			return err
		case !ok:
			s.sweep(ctx)
			next = time.Now().Add(sweepEvery)
		case text == leftNotice:
			wake(s.changed.left)
		default:
			s.receive(text)
		}
	}
}

// receive announces the notices of another member, or of this one.
func (s *Store) receive(text string) {
	var list []notice
	if json.Unmarshal([]byte(text), &list) != nil {
		return // of a newer version; the sweep finds them
	}
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	var own []store.Wakeup
	for _, n := range list {
		switch {
		case n.Kind != "":
			s.hear(n)
		case s.numbers.holds(n.Seq):
			own = append(own, store.Wakeup{Process: n.Process, Seq: n.Seq, HeadOfLane: n.Head, Superseded: n.Superseded})
		}
	}
	if len(own) > 0 && s.announcer.ready != nil {
		s.announcer.ready(own)
	}
}

// liveProcesses returns the processes with live executions. It reads one index
// entry for each of them, whatever the backlog is.
const liveProcesses = `WITH RECURSIVE live(process) AS (
	(SELECT process FROM atom_execution WHERE state < 4 ORDER BY process LIMIT 1)
	UNION ALL SELECT (SELECT x.process FROM atom_execution AS x WHERE x.state < 4 AND x.process > live.process ORDER BY x.process LIMIT 1) FROM live WHERE live.process IS NOT NULL)
	SELECT process FROM live WHERE process IS NOT NULL`

// sweep makes the queues read again, in case a notification was lost.
func (s *Store) sweep(ctx context.Context) {
	live, process := map[string]int64{}, ""
	err := s.each(ctx, []any{&process}, func() error { live[process] = 0; return nil }, liveProcesses)
	if err != nil {
		return
	}
	s.news.Settings()
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	if s.lease.adopted != nil && s.lease.current() != 0 {
		s.lease.adopted(live)
	}
}
