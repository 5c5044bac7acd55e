package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"valence/cloud"
)

// A notification holds 8,000 bytes at most: so many are told in one.
const (
	idsTold      = 300
	requestsTold = 100
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

// tell adds an event to a batch of statements.
func (s *Store) tell(b *pgx.Batch, e cloud.Event) {
	b.Queue("SELECT pg_notify($1, $2)", s.channel, s.text(e))
}

func (s *Store) text(e cloud.Event) string {
	e.Plane = s.plane
	text, _ := json.Marshal(&e) // texts and numbers always encode
	return string(text)
}

// Tell implements cloud.Talk.
func (s *Store) Tell(ctx context.Context, e cloud.Event) error {
	ctx, cancel := context.WithTimeout(ctx, callTime/4)
	defer cancel()
	_, err := s.pool.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel, s.text(e))
	return err
}

// Follow implements cloud.Talk, on a connection of its own.
func (s *Store) Follow(ctx context.Context, each func(cloud.Event) error) error {
	limit, cancel := context.WithTimeout(ctx, connectTime)
	conn, err := pgx.ConnectConfig(limit, s.config)
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // nothing is lost with it
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		return err
	}
	if err := s.audible(ctx, conn); err != nil {
		return err
	}
	if err := each(cloud.Event{What: cloud.Listening}); err != nil {
		return err
	}
	for next := time.Now().Add(tickEvery); ; {
		e, err := s.hear(ctx, conn, next)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case e == nil:
			next = time.Now().Add(tickEvery)
			e = &cloud.Event{What: cloud.Ticked}
		}
		if err := each(*e); err != nil {
			return err
		}
	}
}

// errDeaf is a connection that takes LISTEN and hears nothing.
var errDeaf = errors.New("notifications of the database do not arrive: between is a pooler that does not give whole sessions")

// audible makes sure that what is told is heard. Before it, nothing has to be.
func (s *Store) audible(ctx context.Context, conn *pgx.Conn) error {
	const hello = "hello"
	if err := s.Tell(ctx, cloud.Event{What: hello}); err != nil {
		return err
	}
	for until := time.Now().Add(connectTime / 2); ; {
		e, err := s.hear(ctx, conn, until)
		switch {
		case err != nil:
			return err
		case e == nil:
			return errDeaf
		case e.Own && e.What == hello:
			return nil
		}
	}
}

// hear gives what is told next, or nothing at a time if the connection is there
// then.
func (s *Store) hear(ctx context.Context, conn *pgx.Conn, until time.Time) (*cloud.Event, error) {
	if left := time.Until(until); left > 0 {
		limit, cancel := context.WithTimeout(ctx, left)
		n, err := conn.WaitForNotification(limit)
		cancel()
		if err == nil {
			e := &cloud.Event{}
			if err := json.Unmarshal([]byte(n.Payload), e); err != nil {
				return nil, fmt.Errorf("something else speaks on the channel %s: %w", s.channel, err)
			}
			e.Own = e.Plane == s.plane
			return e, nil
		}
		if !pgconn.Timeout(err) || ctx.Err() != nil {
			return nil, err
		}
	}
	limit, cancel := context.WithTimeout(ctx, 2*tickEvery)
	defer cancel()
	return nil, conn.Ping(limit)
}

// LeaveLog implements cloud.Talk.
func (s *Store) LeaveLog(ctx context.Context, question int64, text []byte) error {
	return s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue("DELETE FROM cloud_log WHERE at < now() - interval '5 minutes'")
		b.Queue("INSERT INTO cloud_log(question, body) VALUES($1, $2) ON CONFLICT DO NOTHING", question, text)
		s.tell(b, cloud.Event{What: cloud.LogLeft, Number: question})
		return tx.SendBatch(ctx, b).Close()
	})
}

// TakeLog implements cloud.Talk.
func (s *Store) TakeLog(ctx context.Context, question int64) (text []byte, err error) {
	err = s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, "DELETE FROM cloud_log WHERE question = $1 RETURNING body", question).Scan(&text)
	})
	return text, err
}

// Serve implements cloud.Runs.
func (s *Store) Serve(ctx context.Context, atom, run, instead string) (served string, err error) {
	now := func() error {
		served = ""
		return s.read(ctx, func(r pgx.Rows) error { return r.Scan(&served) }, "SELECT run FROM cloud_run WHERE atom = $1", atom)
	}
	if err = now(); err != nil || served == run || served != "" && served != instead {
		return served, err
	}
	err = s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO cloud_run VALUES($1, $2) ON CONFLICT (atom) DO UPDATE SET run = excluded.run WHERE cloud_run.run = $3", atom, clean(run), instead)
		return err
	})
	if err == nil {
		err = now()
	}
	return served, err
}

// PutBeats implements cloud.Beats. The times are the database's: the clocks of
// the control planes may differ.
func (s *Store) PutBeats(ctx context.Context, all []cloud.Beat) error {
	var atoms []string
	var silent, applied []int64
	var beats [][]byte
	for _, b := range all {
		atoms, silent, applied, beats = append(atoms, b.Atom), append(silent, b.Silent.Microseconds()), append(applied, b.Applied), append(beats, b.Heartbeat)
	}
	batch := s.batch.Add(1)
	return s.write(ctx, len(all), func(ctx context.Context, tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO cloud_seen AS old(atom, at, applied, beat, plane, batch)
			SELECT atom, clock_timestamp() - silent * interval '1 microsecond', applied, beat, $5, $6
			FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) AS x(atom, silent, applied, beat) ORDER BY atom
			ON CONFLICT (atom) DO UPDATE SET at = excluded.at, applied = excluded.applied, beat = coalesce(excluded.beat, old.beat), plane = excluded.plane, batch = excluded.batch
			WHERE excluded.at > old.at`, atoms, silent, applied, beats, s.plane, batch)
		s.tell(b, cloud.Event{What: cloud.HeardOf, Number: batch})
		return tx.SendBatch(ctx, b).Close()
	})
}

// Beats implements cloud.Beats.
func (s *Store) Beats(ctx context.Context, plane string, batch int64) ([]cloud.Beat, error) {
	var all []cloud.Beat
	err := s.read(ctx, func(r pgx.Rows) error {
		var b cloud.Beat
		var silent int64
		if err := r.Scan(&b.Atom, &silent, &b.Applied, &b.Heartbeat); err != nil {
			return err
		}
		b.Silent = time.Duration(silent) * time.Microsecond
		all = append(all, b)
		return nil
	}, `SELECT atom, (extract(epoch FROM clock_timestamp() - at) * 1000000)::bigint, applied, beat FROM cloud_seen WHERE $1 = '' OR plane = $1 AND batch = $2`, plane, batch)
	return all, err
}

// LastSeen implements cloud.History.
func (s *Store) LastSeen(ctx context.Context) (map[string]time.Time, error) {
	beats, err := s.Beats(ctx, "", 0)
	all := map[string]time.Time{}
	for _, b := range beats {
		all[b.Atom] = time.Now().Add(-b.Silent).UTC()
	}
	return all, err
}

// Seen implements cloud.History.
func (s *Store) Seen(ctx context.Context, at map[string]time.Time) error {
	var all []cloud.Beat
	for atom, t := range at {
		all = append(all, cloud.Beat{Atom: atom, Silent: time.Since(t)})
	}
	return s.PutBeats(ctx, all)
}
