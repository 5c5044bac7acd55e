package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"valence/cloud"
	"valence/internal/pgdb"
)

// A notification holds at most 8,000 bytes, which bounds the ids in one event.
const (
	idsPerEvent      = 300
	requestsPerEvent = 100
)

func chunks[T any](all []T, size int) [][]T {
	var parts [][]T
	for len(all) > size {
		parts, all = append(parts, all[:size]), all[size:]
	}
	if len(all) > 0 {
		parts = append(parts, all)
	}
	return parts
}

// queueEvent adds the publication of an event to a batch.
func (s *Store) queueEvent(b *pgdb.Batch, e cloud.Event) {
	b.Queue("SELECT pg_notify($1, $2)", s.channel, s.payload(e))
}

func (s *Store) payload(e cloud.Event) string {
	e.Plane = s.plane
	text, _ := json.Marshal(&e) // strings and numbers always encode
	return string(text)
}

// Publish implements cloud.Bus.
func (s *Store) Publish(ctx context.Context, e cloud.Event) error {
	ctx, cancel := context.WithTimeout(ctx, callTime/4)
	defer cancel()
	_, err := s.pool.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel, s.payload(e))
	return err
}

// Subscribe implements cloud.Bus, on its own connection.
func (s *Store) Subscribe(ctx context.Context, each func(cloud.Event) error) error {
	l, err := s.server.Listen(ctx, s.channel)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := s.checkDelivery(ctx, l); err != nil {
		return err
	}
	if err := each(cloud.Event{Kind: cloud.EventSubscribed}); err != nil {
		return err
	}
	for next := time.Now().Add(tickEvery); ; {
		e, err := s.nextEvent(ctx, l, next)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case e == nil:
			next = time.Now().Add(tickEvery)
			e = &cloud.Event{Kind: cloud.EventTick}
		}
		if err := each(*e); err != nil {
			return err
		}
	}
}

// checkDelivery verifies that published events arrive. Earlier events may be
// lost.
func (s *Store) checkDelivery(ctx context.Context, l *pgdb.Listener) error {
	const hello = "hello"
	if err := s.Publish(ctx, cloud.Event{Kind: hello}); err != nil {
		return err
	}
	for until := time.Now().Add(pgdb.ConnectTime / 2); ; {
		e, err := s.nextEvent(ctx, l, until)
		switch {
		case err != nil:
			return err
		case e == nil:
			return pgdb.ErrNoNotifications
		case e.Own && e.Kind == hello:
			return nil
		}
	}
}

// nextEvent returns the next event, or nil at a time if the connection is still
// alive.
func (s *Store) nextEvent(ctx context.Context, l *pgdb.Listener, until time.Time) (*cloud.Event, error) {
	text, ok, err := l.Next(ctx, until)
	if err != nil || !ok {
		return nil, err
	}
	e := &cloud.Event{}
	if err := json.Unmarshal([]byte(text), e); err != nil {
		return nil, fmt.Errorf("unknown message on the channel %s: %w", s.channel, err)
	}
	e.Own = e.Plane == s.plane
	return e, nil
}

// PutLog implements cloud.Bus.
func (s *Store) PutLog(ctx context.Context, question int64, text []byte) error {
	return s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
		b := &pgdb.Batch{}
		b.Queue("DELETE FROM cloud_log WHERE at < now() - interval '5 minutes'")
		b.Queue("INSERT INTO cloud_log(question, body) VALUES($1, $2) ON CONFLICT DO NOTHING", question, text)
		s.queueEvent(b, cloud.Event{Kind: cloud.EventLog, Number: question})
		return tx.SendBatch(ctx, b).Close()
	})
}

// TakeLog implements cloud.Bus.
func (s *Store) TakeLog(ctx context.Context, question int64) (text []byte, err error) {
	err = s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
		return tx.QueryRow(ctx, "DELETE FROM cloud_log WHERE question = $1 RETURNING body", question).Scan(&text)
	})
	return text, err
}

// ServeInstance implements cloud.Instances.
func (s *Store) ServeInstance(ctx context.Context, atom, run, instead string) (served string, err error) {
	now := func() error {
		served = ""
		return s.read(ctx, func(r pgdb.Rows) error { return r.Scan(&served) }, "SELECT run FROM cloud_run WHERE atom = $1", atom)
	}
	if err = now(); err != nil || served == run || served != "" && served != instead {
		return served, err
	}
	err = s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO cloud_run VALUES($1, $2) ON CONFLICT (atom) DO UPDATE SET run = excluded.run WHERE cloud_run.run = $3", atom, pgdb.Sanitize(run), instead)
		return err
	})
	if err == nil {
		err = now()
	}
	return served, err
}

// PutHeartbeats implements cloud.PeerHeartbeats. It uses the database's clock,
// because those of the control planes may differ.
func (s *Store) PutHeartbeats(ctx context.Context, all []cloud.PeerHeartbeat) error {
	var atoms []string
	var silent, applied []int64
	var beats [][]byte
	for _, b := range all {
		atoms, silent, applied, beats = append(atoms, b.Atom), append(silent, b.Age.Microseconds()), append(applied, b.Applied), append(beats, b.Heartbeat)
	}
	batch := s.batch.Add(1)
	return s.write(ctx, len(all), func(ctx context.Context, tx pgdb.Tx) error {
		b := &pgdb.Batch{}
		b.Queue(`INSERT INTO cloud_seen AS old(atom, at, applied, beat, plane, batch)
			SELECT atom, clock_timestamp() - silent * interval '1 microsecond', applied, beat, $5, $6
			FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) AS x(atom, silent, applied, beat) ORDER BY atom
			ON CONFLICT (atom) DO UPDATE SET at = excluded.at, applied = excluded.applied, beat = coalesce(excluded.beat, old.beat), plane = excluded.plane, batch = excluded.batch
			WHERE excluded.at > old.at`, atoms, silent, applied, beats, s.plane, batch)
		s.queueEvent(b, cloud.Event{Kind: cloud.EventHeartbeats, Number: batch})
		return tx.SendBatch(ctx, b).Close()
	})
}

// ReadHeartbeats implements cloud.PeerHeartbeats.
func (s *Store) ReadHeartbeats(ctx context.Context, plane string, batch int64) ([]cloud.PeerHeartbeat, error) {
	var all []cloud.PeerHeartbeat
	err := s.read(ctx, func(r pgdb.Rows) error {
		var b cloud.PeerHeartbeat
		var silent int64
		if err := r.Scan(&b.Atom, &silent, &b.Applied, &b.Heartbeat); err != nil {
			return err
		}
		b.Age = time.Duration(silent) * time.Microsecond
		all = append(all, b)
		return nil
	}, `SELECT atom, (extract(epoch FROM clock_timestamp() - at) * 1000000)::bigint, applied, beat FROM cloud_seen WHERE $1 = '' OR plane = $1 AND batch = $2`, plane, batch)
	return all, err
}

// LastSeen implements cloud.History.
func (s *Store) LastSeen(ctx context.Context) (map[string]time.Time, error) {
	beats, err := s.ReadHeartbeats(ctx, "", 0)
	all := map[string]time.Time{}
	for _, b := range beats {
		all[b.Atom] = time.Now().Add(-b.Age).UTC()
	}
	return all, err
}

// SaveLastSeen implements cloud.History.
func (s *Store) SaveLastSeen(ctx context.Context, at map[string]time.Time) error {
	var all []cloud.PeerHeartbeat
	for atom, t := range at {
		all = append(all, cloud.PeerHeartbeat{Atom: atom, Age: time.Since(t)})
	}
	return s.PutHeartbeats(ctx, all)
}
