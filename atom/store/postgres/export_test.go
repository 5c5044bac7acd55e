package postgres

import (
	"context"
	"errors"

	"valence/internal/pgdb"
)

// Pause makes a member neither renew its lease nor adopt, until it is resumed.
func (s *Store) Pause(paused bool) {
	s.lease.paused.Store(paused)
	if !paused {
		wake(s.changed.left)
	}
}

// Expire ends the lease of a member in the database.
func (s *Store) Expire() error {
	_, err := s.writes.Exec(context.Background(), "UPDATE atom_member SET until = '-infinity' WHERE epoch = $1", s.lease.current())
	return err
}

// TakeOver adopts the executions of ended leases now.
func (s *Store) TakeOver() error { return s.takeOver(context.Background()) }

// AdoptBlocks adopts the blocks of an epoch now.
func (s *Store) AdoptBlocks(epoch int64) error { return s.adoptBlocks(context.Background(), epoch) }

// LockClass is the class of the locks of epochs.
const LockClass = lockClass

// Epoch returns the epoch of the member.
func (s *Store) Epoch() int64 { return s.lease.current() }

// MoveBlocks commits a takeover without its effects on this member, as if the
// answer to the commit had been lost.
func (s *Store) MoveBlocks(ended int64) error {
	return pgdb.Begin(context.Background(), s.writes, func(tx pgdb.Tx) error {
		moved, err := moveBlocks(context.Background(), tx, s.lease.current(), ended)
		if err == nil && !moved {
			err = errors.New("nothing was moved")
		}
		return err
	})
}

// Lose makes the member notice that its lease has ended.
func (s *Store) Lose() { s.lose(s.lease.current()) }

// UseUp assigns all numbers of the member's blocks.
func (s *Store) UseUp() {
	s.numbers.mu.Lock()
	defer s.numbers.mu.Unlock()
	s.numbers.own, s.numbers.spare, s.numbers.former = numberRange{}, 0, numberRange{}
}

// contentOp writes a content, and then fails with an error of its own.
type contentOp struct {
	hash string
	err  error
}

func (o contentOp) do(t *transaction) error {
	t.exec("INSERT INTO atom_content(hash, body) VALUES($1, '')", o.hash)
	return o.err
}

// CommitTogether commits contents in one batch, and returns the error of each.
// Those of the map fail.
func (s *Store) CommitTogether(failing map[string]error, hashes ...string) map[string]error {
	var batch []*request
	for _, h := range hashes {
		batch = append(batch, &request{op: contentOp{h, failing[h]}, done: make(chan error, 1)})
	}
	s.commitBatch(batch)
	got := map[string]error{}
	for i, r := range batch {
		got[hashes[i]] = <-r.done
	}
	return got
}

// Queued returns the number of requests that wait for the committer.
func (s *Store) Queued() int { return len(s.requests) }

// PurgeNow deletes expired documents and records.
func (s *Store) PurgeNow(ctx context.Context) error { return s.purgeOnce(ctx) }

// LiveProcesses is the query of the sweep.
const LiveProcesses = liveProcesses
