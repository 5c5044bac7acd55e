package store

import (
	"context"
	"errors"
	"strings"
)

// ErrConflict is returned if the state has changed since it was read.
var ErrConflict = errors.New("the state has changed since it was read")

// States stores the memory of a process between executions: its properties, and
// hashes of the records it has seen.
type States interface {
	// State returns the properties of a process; Version is 0 if it has none.
	State(ctx context.Context, process string) (*ProcessState, error)
	// Snapshot returns up to limit digests of a snapshot, in order of key,
	// starting after the given key, and the version of the snapshot, which is 0
	// if there is none.
	Snapshot(ctx context.Context, process, name, after string, limit int) ([]Digest, int64, error)
	// UpdateState commits an update by an execution that runs in memory. It
	// returns ErrConflict, changing nothing, if a version is not current.
	UpdateState(ctx context.Context, m *StateUpdate) error
}

// ProcessState is the properties of a process. Each commit that changes them
// increments the version.
type ProcessState struct {
	Version    int64
	Properties []Property // ordered by name
}

// Property is a property as JSON text; in a change, nil removes it.
type Property struct {
	Name  string
	Value []byte
}

// Digest is the key of a record and the hash of its content; in a change, a nil
// hash removes it.
type Digest struct {
	Key  string
	Hash []byte
}

// StateUpdate changes the state of processes. As a condition it requires that
// every version is current, and fails with ErrConflict otherwise.
type StateUpdate struct {
	States    []StateChange
	Snapshots []SnapshotChange
}

// StateChange sets properties of a process.
type StateChange struct {
	Process string
	Version int64 // current version; -1: any
	Set     []Property
}

// SnapshotChange changes a snapshot of a process.
type SnapshotChange struct {
	Process, Name string
	Version       int64 // current version
	Digests       []Digest
}

// Scope selects the journal entries of one occurrence of a loop.
type Scope struct {
	Within string // path of the steps inside the loop: "3.steps."
	Iter   string // indices of the enclosing loops: "[17]"
}

// Has reports whether a journal path is in the scope.
func (s Scope) Has(path string) bool {
	rest, ok := strings.CutPrefix(path, s.Within)
	if !ok {
		return false
	}
	at := strings.IndexByte(rest, '[')
	return at >= 0 && strings.HasPrefix(rest[at:], s.Iter+"[")
}

// JournalTrim deletes journal entries that no run needs any more: those in the
// scope, and the entry of the loop itself with its key.
type JournalTrim struct {
	Scope
	Key string
}

// Has reports whether the entry with this path is deleted.
func (f *JournalTrim) Has(path string) bool { return path == f.Key || f.Scope.Has(path) }
