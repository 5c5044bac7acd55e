package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// orphanTime is how long an early reply is kept after its execution ended
// without setting Until.
const orphanTime = 24 * time.Hour

// repliesPerSweep is the number of replies that one transaction deletes.
const repliesPerSweep = 500

// storedReply is a reply whose body may be in a file.
type storedReply struct {
	*store.DeferredReply
	bodyFile *fileRef
}

// replyFiles returns the number under which the files of a reply are stored: a
// reply outlives its execution in the database.
func replyFiles(seq int64) int64 { return -seq }

// storeReply stores a reply or, without a body, sets Until of the stored one.
func storeReply(tx *sqlitedb.Tx, seq int64, k *storedReply) error {
	if k.Body == nil {
		_, err := tx.Exec("UPDATE reply SET until = ? WHERE seq = ?", nullTime(k.Until), seq)
		return err
	}
	if k.bodyFile == nil {
		_, err := tx.Exec("INSERT OR REPLACE INTO reply(seq, until, body, file) VALUES(?,?,?,NULL)", seq, nullTime(k.Until), appendCRC(k.Body[:len(k.Body):len(k.Body)], 0))
		return err
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO reply(seq, until, body, file) VALUES(?,?,NULL,?)", seq, nullTime(k.Until), k.bodyFile.hash[:]); err != nil {
		return err
	}
	return writeFiles(tx, replyFiles(seq), nil, []storedEntry{{bodyFile: k.bodyFile}}, nil)
}

// DeferredReply implements store.Replies.
func (s *Store) DeferredReply(ctx context.Context, seq int64) (*store.DeferredReply, error) {
	k, err := s.readReply(ctx, seq)
	if errors.Is(err, fs.ErrNotExist) { // deleted before its file was read
		k, err = s.readReply(ctx, seq)
	}
	return k, err
}

func (s *Store) readReply(ctx context.Context, seq int64) (*store.DeferredReply, error) {
	var kept *store.DeferredReply
	var damaged error
	now := s.clock.monotonic().UnixNano()
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT until, body, file FROM reply WHERE seq = ? AND (until IS NULL OR until > ?)", []any{seq, now}, func(r sqlitedb.Row) {
			kept = &store.DeferredReply{}
			if until := r.Int(0); until != 0 {
				kept.Until = time.Unix(0, until).UTC()
			}
			if hash := r.Bytes(2); len(hash) == 32 {
				kept.Body, damaged = s.blobs.read(&fileRef{hash: [32]byte(hash)})
				return
			}
			d := checked(r.Bytes(1))
			kept.Body, damaged = d.b, d.err
		})
		return err
	})
	switch {
	case err != nil:
		return nil, s.storeError(err)
	case damaged != nil:
		return nil, damaged
	case kept == nil:
		return nil, store.ErrUnknown
	}
	return kept, nil
}

// CountDeferredReplies implements store.Replies.
func (s *Store) CountDeferredReplies(ctx context.Context) (n int64, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT count(*) FROM reply", nil, func(r sqlitedb.Row) { n = r.Int(0) })
		return err
	})
	return n, s.storeError(err)
}

// sweepReplies deletes expired replies, and sets Until of replies whose
// execution ended without doing so. It reports whether there may be more.
func (s janitor) sweepReplies(ctx context.Context) (more bool, err error) {
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		now := s.clock.monotonic()
		over, err := seqsOf(tx, "SELECT seq FROM reply WHERE until <= ? ORDER BY until LIMIT ?", now.UnixNano(), repliesPerSweep)
		if err != nil {
			return err
		}
		more = len(over) == repliesPerSweep
		for _, seq := range over {
			if _, err := tx.Exec("DELETE FROM reply WHERE seq = ?", seq); err != nil {
				return err
			}
			free, err := freeFiles(tx, replyFiles(seq), replyFiles(seq), nil)
			if err != nil {
				return err
			}
			s.batch.unlinks = append(s.batch.unlinks, free...)
		}
		return s.expireOrphans(tx, now)
	}))
	return more, s.storeError(err)
}

func (s janitor) expireOrphans(tx *sqlitedb.Tx, now time.Time) error {
	open, err := seqsOf(tx, "SELECT seq FROM reply WHERE until IS NULL ORDER BY seq LIMIT ?", repliesPerSweep)
	if err != nil {
		return err
	}
	for _, seq := range open {
		lives, err := s.batch.isLive(tx, seq)
		if err != nil {
			return err
		}
		if !lives {
			if _, err := tx.Exec("UPDATE reply SET until = ? WHERE seq = ?", now.Add(orphanTime).UnixNano(), seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// isLive reports whether an execution is in the database and has not ended.
func (b *batch) isLive(tx *sqlitedb.Tx, seq int64) (bool, error) {
	if m := b.mutations[seq]; m != nil {
		return m.after < firstEndedCode, nil
	}
	_, err := b.locate(tx, seq)
	switch err {
	case nil:
		return true, nil
	case errNotLive, store.ErrEnded:
		return false, nil
	}
	return false, err
}

func seqsOf(tx *sqlitedb.Tx, query string, args ...any) (seqs []int64, err error) {
	err = tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
		seqs = append(seqs, r.Int(0))
		return true, nil
	})
	return seqs, err
}
