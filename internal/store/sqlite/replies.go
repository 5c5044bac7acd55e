package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// orphanTime is how long a reply is kept that was given early by an execution
// that is not there any more: nobody has said until when.
const orphanTime = 24 * time.Hour

// repliesPerSweep bounds how many replies one transaction deletes.
const repliesPerSweep = 500

// keeping is a reply on its way into the database.
type keeping struct {
	*atom.KeptReply
	file *fileRef
}

// replyFiles is how the files of replies are told from those of executions: a
// reply stays when its execution moves to the history.
func replyFiles(seq int64) int64 { return -seq }

// writeReply keeps a reply, or sets until when the one that is kept already is.
func writeReply(tx *sqlitedb.Tx, seq int64, k *keeping) error {
	if k.Body == nil {
		_, err := tx.Exec("UPDATE reply SET until = ? WHERE seq = ?", instant(k.Until), seq)
		return err
	}
	if k.file == nil {
		_, err := tx.Exec("INSERT OR REPLACE INTO reply(seq, until, body, file) VALUES(?,?,?,NULL)", seq, instant(k.Until), appendCRC(k.Body[:len(k.Body):len(k.Body)], 0))
		return err
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO reply(seq, until, body, file) VALUES(?,?,NULL,?)", seq, instant(k.Until), k.file.hash[:]); err != nil {
		return err
	}
	return writeFiles(tx, replyFiles(seq), nil, []line{{body: k.file}}, nil)
}

// settleKey ends the claim of an execution on its dedupe key.
func settleKey(tx *sqlitedb.Tx, process string, seq int64, s *atom.Settled) error {
	if s.Reply == nil {
		_, err := tx.Exec("DELETE FROM dedupe WHERE process = ? AND key = ? AND seq = ?", process, keyBytes(s.Key), seq)
		return err
	}
	_, err := tx.Exec("UPDATE dedupe SET reply = ? WHERE process = ? AND key = ? AND seq = ?", append([]byte{1}, s.Reply...), process, keyBytes(s.Key), seq)
	return err
}

// KeptReply gives a reply; see atom.Replies.
func (s *Store) KeptReply(ctx context.Context, seq int64) (*atom.KeptReply, error) {
	k, err := s.keptReply(ctx, seq)
	if errors.Is(err, fs.ErrNotExist) { // it was deleted before its file was read
		k, err = s.keptReply(ctx, seq)
	}
	return k, err
}

func (s *Store) keptReply(ctx context.Context, seq int64) (*atom.KeptReply, error) {
	var kept *atom.KeptReply
	var damaged error
	now := s.clock.now().UnixNano()
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT until, body, file FROM reply WHERE seq = ? AND (until IS NULL OR until > ?)", []any{seq, now}, func(r sqlitedb.Row) {
			kept = &atom.KeptReply{}
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
		return nil, s.refuse(err)
	case damaged != nil:
		return nil, damaged
	case kept == nil:
		return nil, atom.ErrUnknown
	}
	return kept, nil
}

// RepliesKept counts the replies; see atom.Replies.
func (s *Store) RepliesKept(ctx context.Context) (n int64, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT count(*) FROM reply", nil, func(r sqlitedb.Row) { n = r.Int(0) })
		return err
	})
	return n, s.refuse(err)
}

// sweepReplies deletes replies that are over, and gives those a time whose
// execution ended without saying one. It reports whether there may be more.
func (s *Store) sweepReplies(ctx context.Context) (more bool, err error) {
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		now := s.clock.now()
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
		return s.sweepOrphans(tx, now)
	}))
	return more, s.refuse(err)
}

func (s *Store) sweepOrphans(tx *sqlitedb.Tx, now time.Time) error {
	open, err := seqsOf(tx, "SELECT seq FROM reply WHERE until IS NULL ORDER BY seq LIMIT ?", repliesPerSweep)
	if err != nil {
		return err
	}
	for _, seq := range open {
		lives, err := s.batch.lives(tx, seq)
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

// lives reports whether an execution is in the database and has not ended.
func (b *batch) lives(tx *sqlitedb.Tx, seq int64) (bool, error) {
	if t := b.touches[seq]; t != nil {
		return t.becomes < live, nil
	}
	_, err := b.locate(tx, seq)
	switch err {
	case nil:
		return true, nil
	case errNowhere, atom.ErrEnded:
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
