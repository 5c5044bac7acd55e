package store

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects executions. Zero fields select everything.
type Filter struct {
	Process  string
	Statuses []string // states and statuses
	Since    time.Time
	Until    time.Time
	Track    map[string]string
	Seq      int64  // one execution; 0: any
	Text     string // matched in tracked values and errors; the atom resolves ids before it asks a store
	// MetaText also matches with Text if the Meta contains it as it is.
	MetaText string
	// Fingerprint selects the failures with this fingerprint.
	Fingerprint string
	// Unresolved selects failed and expired executions that are not resolved.
	Unresolved bool
}

// Matches reports whether the filter selects an execution.
func (f *Filter) Matches(x *Execution) bool {
	switch {
	case f.Seq > 0 && x.Seq != f.Seq,
		f.Process != "" && x.Process != f.Process,
		len(f.Statuses) > 0 && !slices.Contains(f.Statuses, x.status()),
		!f.Since.IsZero() && x.Received.Before(f.Since),
		!f.Until.IsZero() && !x.Received.Before(f.Until),
		f.Unresolved && !x.Unresolved(),
		f.Fingerprint != "" && (x.Outcome == nil || x.Outcome.Fingerprint != f.Fingerprint):
		return false
	}
	for k, v := range f.Track {
		if x.Track[k] != v {
			return false
		}
	}
	return f.Text == "" || x.contains(strings.ToLower(f.Text)) || f.MetaText != "" && bytes.Contains(x.Meta, []byte(f.MetaText))
}

// Unresolved reports whether the execution failed or expired and is not
// resolved.
func (x *Execution) Unresolved() bool {
	return x.Outcome != nil && x.Outcome.Resolved == nil && (x.Outcome.Status == Failed || x.Outcome.Status == Expired)
}

// status returns the status of an ended execution, or the state of a live one.
func (x *Execution) status() string {
	if x.Outcome != nil {
		return string(x.Outcome.Status)
	}
	return string(x.State)
}

// contains reports whether a tracked value or the error contains a text in
// lower case.
func (x *Execution) contains(text string) bool {
	for _, v := range x.Track {
		if strings.Contains(strings.ToLower(v), text) {
			return true
		}
	}
	return x.Outcome != nil && strings.Contains(strings.ToLower(string(x.Outcome.Error)), text)
}

// ErrCursor is returned for a cursor that List did not return.
var ErrCursor = errors.New("invalid cursor: use the one of the previous page")

// Position is the execution after which a page of List continues.
type Position struct {
	Seq      int64
	Received time.Time
}

// Cursor returns the position as a cursor.
func (p Position) Cursor() string {
	return strconv.FormatInt(p.Seq, 36) + "." + strconv.FormatInt(p.Received.UnixNano(), 36)
}

// ParseCursor returns the position of a cursor, or ErrCursor.
func ParseCursor(cursor string) (Position, error) {
	seq, received, ok := strings.Cut(cursor, ".")
	n, err := strconv.ParseInt(seq, 36, 64)
	if !ok || err != nil || n < 0 {
		return Position{}, ErrCursor
	}
	ns, err := strconv.ParseInt(received, 36, 64)
	if err != nil {
		return Position{}, ErrCursor
	}
	return Position{n, time.Unix(0, ns).UTC()}, nil
}
