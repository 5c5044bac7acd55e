package atomtest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"valence/atom"
)

func (s *Store) find(seq int64) *atom.Execution { return cmp.Or(s.live[seq], s.done[seq]) }

// Get is atom.History's.
func (s *Store) Get(_ context.Context, seq int64, _ time.Time) (*atom.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(seq)
	if x == nil {
		return nil, atom.ErrUnknown
	}
	out := *x
	out.Journal = slices.Clone(x.Journal)
	return &out, nil
}

// List is atom.History's.
func (s *Store) List(_ context.Context, f atom.Filter, cursor string, limit int) ([]*atom.Execution, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.next
	if cursor != "" {
		n, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil {
			return nil, "", errors.New("the cursor is not one of this list")
		}
		before = n
	}
	seqs := append(slices.Collect(maps.Keys(s.live)), slices.Collect(maps.Keys(s.done))...)
	slices.Sort(seqs)
	var out []*atom.Execution
	for _, seq := range slices.Backward(seqs) {
		x := s.find(seq)
		if seq < before && s.blocked(x) {
			held := *x
			held.State = atom.Held
			x = &held
		}
		if seq >= before || !matches(&f, x) {
			continue
		}
		if len(out) == limit {
			return out, strconv.FormatInt(out[limit-1].Seq, 10), nil
		}
		listed := *x
		listed.Doc, listed.Data, listed.Journal = nil, nil, nil
		if x.Outcome != nil {
			outcome := *x.Outcome
			outcome.Trace = nil
			listed.Outcome = &outcome
		}
		out = append(out, &listed)
	}
	return out, "", nil
}

func matches(f *atom.Filter, x *atom.Execution) bool {
	status := string(x.State)
	if x.Outcome != nil {
		status = string(x.Outcome.Status)
	}
	if f.Seq > 0 && x.Seq != f.Seq || f.Process != "" && x.Process != f.Process || len(f.Statuses) > 0 && !slices.Contains(f.Statuses, status) ||
		!f.Since.IsZero() && x.Received.Before(f.Since) || !f.Until.IsZero() && !x.Received.Before(f.Until) ||
		f.Unresolved && !unresolved(x) || f.Fingerprint != "" && (x.Outcome == nil || x.Outcome.Fingerprint != f.Fingerprint) {
		return false
	}
	for k, v := range f.Track {
		if x.Track[k] != v {
			return false
		}
	}
	text := strings.ToLower(f.Text)
	found := text == "" || x.Outcome != nil && strings.Contains(strings.ToLower(string(x.Outcome.Error)), text)
	for _, v := range x.Track {
		found = found || strings.Contains(strings.ToLower(v), text)
	}
	return found
}
