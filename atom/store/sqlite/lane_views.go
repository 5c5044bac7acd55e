package sqlite

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// Heads implements store.Lanes.
func (s *Store) Heads(ctx context.Context, process string, limit int, inHand func(int64) bool) ([]*store.Record, error) {
	if s.space.Level() >= sqlitedb.Scarce {
		return nil, store.ErrFull
	}
	var found []*row
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		var seqs []int64
		err := tx.Rows("SELECT head FROM lane WHERE process = ? AND state = 1 ORDER BY head", []any{process}, func(r sqlitedb.Row) (bool, error) {
			if !inHand(r.Int(0)) {
				seqs = append(seqs, r.Int(0))
			}
			return len(seqs) < limit, nil
		})
		packs := map[int64][]*storedMessage{}
		for _, seq := range seqs {
			if err != nil {
				return err
			}
			var x *row
			if x, err = s.head(tx, seq, packs); x != nil {
				found = append(found, x)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.announcements.wait()
	return s.records(found)
}

// head returns the head of a lane, or nil if it is not ready any more.
func (s *Store) head(tx *sqlitedb.Tx, seq int64, packs map[int64][]*storedMessage) (*row, error) {
	if r := s.cachedRecord(seq); r != nil {
		return &row{storedMessage: &storedMessage{Message: &r.Message}, state: codeAccepted}, nil
	}
	x, err := readRow(tx, seq)
	if err != nil || x != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if x != nil && (x.state != codeAccepted || s.index.staleRow(seq)) {
			return nil, err
		}
		return x, err
	}
	first, last, err := packRange(tx, seq)
	if err != nil || last < seq {
		return nil, err
	}
	members := packs[first]
	if members == nil {
		if members, err = readPack(tx, first, true); err != nil {
			return nil, err
		}
		packs[first] = members
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(len(members)) <= seq-first || s.index.staleMember(seq) {
		return nil, nil
	}
	return &row{storedMessage: members[seq-first], state: codeAccepted}, nil
}

// Blocked implements store.Lanes.
func (s *Store) Blocked(ctx context.Context, cursor string, limit int) ([]store.BlockedLane, string, error) {
	since, scope, key := int64(0), "", ""
	if cursor != "" {
		parts := strings.SplitN(cursor, "\x00", 3)
		var err error
		if since, err = strconv.ParseInt(parts[0], 36, 64); err != nil || len(parts) != 3 {
			return nil, "", errors.New("invalid cursor: use the one of the previous page")
		}
		scope, key = parts[1], parts[2]
	}
	var lanes []store.BlockedLane
	next := ""
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(`SELECT since, scope, key, process, head, pos, (SELECT count(*) FROM lane_item i WHERE i.scope = l.scope AND i.key = l.key)
			FROM lane l WHERE state = 3 AND (since, scope, key) > (?, ?, ?) ORDER BY since, scope, key LIMIT ?`, []any{since, scope, key, limit + 1}, func(r sqlitedb.Row) (bool, error) {
			if len(lanes) == limit {
				last := &lanes[limit-1]
				next = strconv.FormatInt(last.Since.UnixNano(), 36) + "\x00" + last.Scope + "\x00" + last.Key
				return false, nil
			}
			lanes = append(lanes, store.BlockedLane{Lane: store.Lane{Scope: r.Text(1), Key: r.Text(2), Block: true, Pos: r.Int(5)},
				Process: r.Text(3), Head: r.Int(4), Since: time.Unix(0, r.Int(0)).UTC(), Waiting: r.Int(6)})
			return true, nil
		})
	})
	return lanes, next, err
}

// Unblock implements store.Lanes.
func (s *Store) Unblock(ctx context.Context, process, key string, all bool) (int64, error) {
	var head int64
	err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		head = 0
		l := &store.Lane{Key: key}
		found, err := tx.One("SELECT scope, head FROM lane WHERE state = 3 AND key = ? AND process = ? LIMIT 1", []any{key, process}, func(r sqlitedb.Row) {
			l.Scope, head = r.Text(0), r.Int(1)
		})
		if err != nil || !found {
			return err
		}
		if all {
			_, err := tx.Exec("UPDATE lane SET free = (SELECT max(pos) FROM lane_item i WHERE i.scope = lane.scope AND i.key = lane.key) WHERE scope = ? AND key = ? AND EXISTS (SELECT 1 FROM lane_item i WHERE i.scope = lane.scope AND i.key = lane.key)", l.Scope, l.Key)
			if err != nil {
				return err
			}
		}
		return s.batch.lanes().advance(tx, l)
	}))
	if err != nil {
		return 0, s.storeError(err)
	}
	if head == 0 {
		return 0, store.ErrUnknown
	}
	return head, nil
}

// Position implements store.Lanes.
func (s *Store) Position(ctx context.Context, seq int64, l *store.Lane) (*store.LanePosition, error) {
	if l == nil {
		return nil, nil
	}
	var p *store.LanePosition
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT head, process, state, since, pos FROM lane WHERE scope = ? AND key = ?", []any{l.Scope, l.Key}, func(r sqlitedb.Row) {
			p = &store.LanePosition{Head: r.Int(0), Process: r.Text(1)}
			if r.Int(2) == laneBlocked {
				p.Since = time.Unix(0, r.Int(3)).UTC()
			}
		})
		if err != nil || p == nil || p.Head == seq {
			return err
		}
		found, err := tx.One("SELECT (SELECT count(*) FROM lane_item WHERE scope = ?1 AND key = ?2 AND pos < ?3) FROM lane_item WHERE scope = ?1 AND key = ?2 AND pos = ?3 AND seq = ?4",
			[]any{l.Scope, l.Key, l.Pos, seq}, func(r sqlitedb.Row) { p.Ahead = r.Int(0) + 1 })
		if err == nil && !found {
			p = nil
		}
		return err
	})
	return p, err
}

// listBlocked returns executions that wait in blocked lanes, as held ones.
func (s lister) listBlocked(ctx context.Context, process string, before int64) (found []*store.Execution, low int64, err error) {
	var seqs []int64
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(`SELECT i.seq FROM lane l JOIN lane_item i ON i.scope = l.scope AND i.key = l.key
			WHERE l.state = 3 AND i.seq < ?1 AND (?2 = '' OR i.process = ?2) ORDER BY i.seq DESC LIMIT ?3`, []any{before, process, listRows}, func(r sqlitedb.Row) (bool, error) {
			seqs = append(seqs, r.Int(0))
			return true, nil
		})
	})
	if err != nil {
		return nil, 0, err
	}
	low = -1
	if len(seqs) == listRows {
		low = seqs[listRows-1]
	}
	for _, seq := range seqs {
		x, err := s.liveExecution(ctx, seq, false)
		if err != nil {
			return nil, 0, err
		}
		if x == nil || x.Outcome != nil {
			continue
		}
		x.Doc, x.Data, x.Journal, x.State = nil, nil, nil, store.Held
		found = append(found, x)
	}
	return found, low, nil
}
