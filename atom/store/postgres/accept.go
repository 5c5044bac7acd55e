package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"valence/atom/store"
)

// acceptOp commits one Accept.
type acceptOp struct {
	m       *store.Message
	receipt store.Receipt
	err     error // refusal
}

// Accept implements store.Queue.
func (s *Store) Accept(ctx context.Context, m *store.Message) (store.Receipt, error) {
	if err := checkMessage(m); err != nil {
		return store.Receipt{}, err
	}
	op := &acceptOp{m: m}
	if err := s.do(ctx, op); err != nil {
		return store.Receipt{}, err
	}
	return op.receipt, op.err
}

func checkMessage(m *store.Message) error {
	switch {
	case m.Process == "":
		return errors.New("the message names no process")
	case len(m.Meta) > store.MaxMeta:
		return errors.New("the metadata has more than 64 KiB")
	}
	return nil
}

func (o *acceptOp) do(t *transaction) (err error) {
	o.receipt, o.err, err = t.accept(o.m, nil)
	return err
}

// accept stores a message. place is the position in its lane that it inherits;
// nil: it joins the end. refused is store.ErrLaneFull, store.ErrFenced, or nil;
// then nothing was stored.
func (t *transaction) accept(m *store.Message, place *store.Lane) (r store.Receipt, refused, err error) {
	if r, found, err := t.duplicate(m); err != nil || found {
		return r, nil, err
	}
	if full, err := t.laneFull(m.Lane); err != nil || full {
		return r, store.ErrLaneFull, err
	}
	own := *m
	if own.Seq == 0 {
		if own.Seq, refused = t.number(); refused != nil {
			return r, refused, nil
		}
	} else if !t.s.numbers.holds(own.Seq) {
		return r, unavailable(store.ErrFenced), nil
	}
	if err := t.coalesce(&own); err != nil {
		return r, nil, err
	}
	x := &store.Execution{Record: store.Record{Message: own, State: store.Accepted, Epoch: t.epoch}}
	if own.Due.After(t.now) {
		x.State = store.Waiting
	}
	x.Entries, x.Dedupe, x.Coalesce = nil, nil, nil
	due := own.Due
	switch {
	case place != nil:
		x.Lane = place
	case own.Lane != nil:
		if x.WaitsInLane, err = t.enterLane(x); err != nil {
			return r, nil, err
		}
		if x.WaitsInLane {
			due = time.Time{}
		}
	}
	x.Due = due
	t.insertExecution(x, x.WaitsInLane, due, 0)
	t.insertEntries(own.Seq, m.Entries)
	r = store.Receipt{Seq: own.Seq, Received: own.Received, WaitsInLane: x.WaitsInLane}
	t.remember(m, r)
	t.accepted = append(t.accepted, &x.Record)
	return r, nil, nil
}

// remember stores the origin and the dedupe key of a message.
func (t *transaction) remember(m *store.Message, r store.Receipt) {
	if m.Origin != "" {
		t.exec(`INSERT INTO atom_origin(key, seq, received, until) VALUES($1, $2, $3, $4)
			ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, received = excluded.received, until = excluded.until`,
			store.KeyBytes(m.Origin), r.Seq, r.Received.UnixNano(), nanos(m.Remember))
	}
	if d := m.Dedupe; d != nil {
		t.exec(`INSERT INTO atom_dedupe(process, key, until, seq, received, holder) VALUES($1, $2, $3, $4, $5, $6)
			ON CONFLICT (process, key) DO UPDATE SET until = excluded.until, seq = excluded.seq, received = excluded.received, holder = excluded.holder, reply = NULL, claim = NULL`,
			m.Process, store.KeyBytes(d.Key), d.Until.UnixNano(), r.Seq, r.Received.UnixNano(), d.Holder)
	}
}

// duplicate returns the receipt of an earlier message with the same origin,
// dedupe key or number.
func (t *transaction) duplicate(m *store.Message) (r store.Receipt, found bool, err error) {
	if m.Origin != "" {
		if r, found, err = t.originOf(m.Origin); err != nil || found {
			return r, found, err
		}
	}
	if d := m.Dedupe; d != nil {
		c, err := t.claim(m.Process, d.Key)
		if err != nil {
			return r, false, err
		}
		if c != nil && c.seq != m.Seq {
			return store.Receipt{Seq: c.seq, Received: c.received, Duplicate: true, Holder: c.holder}, true, nil
		}
	}
	if m.Seq == 0 {
		return r, false, nil
	}
	x, err := t.row(m.Seq)
	if err != nil || x == nil {
		return r, false, err
	}
	return store.Receipt{Seq: m.Seq, Received: time.Unix(0, x.received).UTC(), Duplicate: true}, true, nil
}

// originOf returns the receipt of an origin. Until the transaction ends nobody
// else can store it.
func (t *transaction) originOf(origin string) (r store.Receipt, found bool, err error) {
	if err := t.lockKey(originLock, origin); err != nil {
		return r, false, err
	}
	var received int64
	var until *int64
	found, err = t.one([]any{&r.Seq, &received, &until}, "SELECT seq, received, until FROM atom_origin WHERE key = $1", store.KeyBytes(origin))
	r.Received, r.Duplicate = time.Unix(0, received).UTC(), true
	if until != nil && *until <= t.now.UnixNano() {
		found = false
	}
	return r, found, err
}

// Classes of the advisory locks of keys. A lock also covers a key that is not
// stored yet.
const (
	originLock = lockClass + 1 + iota
	dedupeLock
	matchLock
	coalesceLock
)

// lockKey locks keys of a class until the transaction ends.
func (t *transaction) lockKey(class int, key string) error {
	t.exec("SELECT pg_advisory_xact_lock($1, hashtext(encode($2, 'hex')))", class, []byte(key))
	return nil
}

// claimed is the holder of a dedupe key.
type claimed struct {
	seq      int64
	received time.Time
	holder   []byte
	reply    []byte
}

// claim returns the holder of a dedupe key, or nil if the key is free.
func (t *transaction) claim(process, key string) (*claimed, error) {
	if err := t.lockKey(dedupeLock, process+"\x00"+key); err != nil {
		return nil, err
	}
	c := &claimed{}
	var received, until int64
	found, err := t.one([]any{&c.seq, &received, &until, &c.holder, &c.reply}, "SELECT seq, received, until, holder, reply FROM atom_dedupe WHERE process = $1 AND key = $2", process, store.KeyBytes(key))
	if err != nil || !found || until <= t.now.UnixNano() {
		return nil, err
	}
	c.received = time.Unix(0, received).UTC()
	return c, nil
}

// claimOp commits one Claim.
type claimOp struct {
	process string
	key     *store.Dedupe
	seq     int64
	holder  *claimed
}

// Claim implements store.Reservations. The end of the member's lease frees its
// claims.
func (s *Store) Claim(ctx context.Context, process string, key *store.Dedupe, seq int64) (*store.Claimed, error) {
	op := &claimOp{process: process, key: key, seq: seq}
	if err := s.do(ctx, op); err != nil {
		return nil, err
	}
	if op.holder == nil {
		return nil, nil
	}
	return &store.Claimed{Holder: op.holder.holder, Reply: op.holder.reply}, nil
}

func (o *claimOp) do(t *transaction) (err error) {
	if o.holder, err = t.claim(o.process, o.key.Key); err != nil || o.holder != nil {
		return err
	}
	t.exec(`INSERT INTO atom_dedupe(process, key, until, seq, received, holder, claim) VALUES($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (process, key) DO UPDATE SET until = excluded.until, seq = excluded.seq, received = excluded.received, holder = excluded.holder, reply = NULL, claim = excluded.claim`,
		o.process, store.KeyBytes(o.key.Key), o.key.Until.UnixNano(), o.seq, t.now.UnixNano(), o.key.Holder, t.epoch)
	return nil
}

// settleOp commits one Settle.
type settleOp struct {
	process, key string
	seq          int64
	reply        []byte
}

// Settle implements store.Reservations.
func (s *Store) Settle(ctx context.Context, process, key string, seq int64, reply []byte) error {
	return s.do(ctx, &settleOp{process, key, seq, reply})
}

func (o *settleOp) do(t *transaction) error {
	t.settle(o.process, o.key, o.seq, o.reply)
	return nil
}

// settle ends the claim of an execution on its dedupe key.
func (t *transaction) settle(process, key string, seq int64, reply []byte) {
	if reply == nil {
		t.exec("DELETE FROM atom_dedupe WHERE process = $1 AND key = $2 AND seq = $3", process, store.KeyBytes(key), seq)
		return
	}
	t.exec("UPDATE atom_dedupe SET reply = $4, claim = NULL WHERE process = $1 AND key = $2 AND seq = $3", process, store.KeyBytes(key), seq, reply)
}

// Origin implements store.Origins.
func (s *Store) Origin(ctx context.Context, origin string) (r store.Receipt, err error) {
	var received int64
	var until *int64
	found, err := s.one(ctx, []any{&r.Seq, &received, &until}, "SELECT seq, received, until FROM atom_origin WHERE key = $1", store.KeyBytes(origin))
	if err != nil {
		return r, err
	}
	if !found || until != nil && *until <= s.clock.now().UnixNano() {
		return store.Receipt{}, store.ErrUnknown
	}
	r.Received, r.Duplicate = time.Unix(0, received).UTC(), true
	return r, nil
}

// arriveOp commits one AcceptAll.
type arriveOp struct{ arrivals []*store.Arrival }

// Outcomes implements store.Sources.
func (s *Store) Outcomes() (stored, cautious bool) { return false, false }

// AcceptAll implements store.Sources.
func (s *Store) AcceptAll(ctx context.Context, arrivals []*store.Arrival) error {
	for _, a := range arrivals {
		if a.Message == nil {
			continue
		}
		if err := checkMessage(a.Message); err != nil {
			return err
		}
	}
	return s.do(ctx, &arriveOp{arrivals})
}

func (o *arriveOp) do(t *transaction) (err error) {
	stopped, at := map[string]error{}, map[string][]byte{}
	for _, name := range sourcesOf(o.arrivals) {
		var position []byte
		t.exec("INSERT INTO atom_cursor(source) VALUES($1) ON CONFLICT DO NOTHING", []byte(name))
		if _, err := t.one([]any{&position}, "SELECT position FROM atom_cursor WHERE source = $1 FOR UPDATE", []byte(name)); err != nil {
			return err
		}
		at[name] = position
	}
	for _, a := range o.arrivals {
		source := a.Source()
		if a.Err = stopped[source]; a.Err != nil {
			continue
		}
		if a.Cursor != nil && !bytes.Equal(at[source], a.Cursor.From) {
			a.Err = store.ErrCursorMoved
		} else if a.Message != nil {
			if a.Receipt, a.Err, err = t.accept(a.Message, nil); err != nil {
				return err
			}
			if a.Err == nil {
				a.Err = a.Conflict(a.Receipt)
			}
		}
		if source != "" || !errors.Is(a.Err, store.ErrKeyReused) {
			stopped[source] = a.Err
		}
		if a.Err == nil && a.Cursor != nil {
			at[source] = a.Cursor.To
			t.exec("UPDATE atom_cursor SET position = $2 WHERE source = $1", []byte(source), a.Cursor.To)
		}
	}
	return nil
}

// sourcesOf returns the sources of arrivals that have cursors, in order.
func sourcesOf(arrivals []*store.Arrival) (all []string) {
	for _, a := range arrivals {
		if a.Cursor != nil {
			all = append(all, a.Cursor.Source)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

// Cursor implements store.Sources.
func (s *Store) Cursor(ctx context.Context, source string) (position []byte, err error) {
	_, err = s.one(ctx, []any{&position}, "SELECT position FROM atom_cursor WHERE source = $1", []byte(source))
	return position, err
}

// coalesce makes a message the newest of its key, which ends the one before
// unless that has begun or is due.
func (t *transaction) coalesce(m *store.Message) error {
	c := m.Coalesce
	if c == nil {
		return nil
	}
	if err := t.lockKey(coalesceLock, m.Process+"\x00"+c.Key); err != nil {
		return err
	}
	var before int64
	found, err := t.one([]any{&before}, "SELECT seq FROM atom_newest WHERE process = $1 AND key = $2", m.Process, store.KeyBytes(c.Key))
	if err != nil {
		return err
	}
	if found {
		x, err := t.row(before)
		if err != nil {
			return err
		}
		if x != nil && x.live() && x.due != nil && *x.due > t.now.UnixNano() {
			m.Due = timeOf(x.due)
			outcome := c.Superseded
			if err := t.end(x, &outcome); err != nil {
				return err
			}
			t.wake(store.Wakeup{Process: x.process, Seq: x.seq, Superseded: true})
		}
	}
	t.exec("INSERT INTO atom_newest(process, key, seq) VALUES($1, $2, $3) ON CONFLICT (process, key) DO UPDATE SET seq = excluded.seq", m.Process, store.KeyBytes(c.Key), m.Seq)
	return nil
}
