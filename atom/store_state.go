package atom

import (
	"context"
	"errors"
	"strings"
)

// ErrConflict: what was read has been changed since by somebody else.
var ErrConflict = errors.New("it was changed since it was read")

// States keeps what a process knows from one execution to the next: its
// properties, and hashes of the records that it has seen.
type States interface {
	// State gives the properties of a process, with version 0 if it has none.
	State(ctx context.Context, process string) (*ProcessState, error)
	// Snapshot gives hashes of a process' snapshot in the order of their keys,
	// behind a key ("" at first), and the version of the snapshot, 0 if there is none.
	Snapshot(ctx context.Context, process, name, after string, limit int) ([]Print, int64, error)
	// Remember commits what an execution in memory has found out. It fails
	// with ErrConflict, changing nothing.
	Remember(ctx context.Context, m *Memory) error
}

// ProcessState is the properties of a process. Every commit that changes some
// of them makes a new version.
type ProcessState struct {
	Version    int64
	Properties []Property // by name
}

// Property is one property as JSON text; as a change, nil removes it.
type Property struct {
	Name  string
	Value []byte
}

// Print stands for one record: its key, and a hash of its content; as a
// change, a nil hash removes it.
type Print struct {
	Key  string
	Hash []byte
}

// Memory is what a commit keeps for executions to come. Where a version is
// not the current one nothing is changed, and it fails with ErrConflict.
type Memory struct {
	States    []StateChange
	Snapshots []SnapshotChange
}

// StateChange sets properties of a process.
type StateChange struct {
	Process string
	Version int64 // that must be the current one; -1: any
	Set     []Property
}

// SnapshotChange changes a snapshot of a process.
type SnapshotChange struct {
	Process, Name string
	Version       int64 // that must be the current one
	Prints        []Print
}

// Scope is the journal of the elements of one occurrence of a loop.
type Scope struct {
	Within string // the path of what stands below the loop: "3.steps."
	Iter   string // the indices of the loops around it: "[17]"
}

// Has reports whether a path of the journal is in the scope.
func (s Scope) Has(path string) bool {
	rest, ok := strings.CutPrefix(path, s.Within)
	if !ok {
		return false
	}
	at := strings.IndexByte(rest, '[')
	return at >= 0 && strings.HasPrefix(rest[at:], s.Iter+"[")
}

// Forget takes entries out of an execution's journal that no run needs any
// more: those of the scope, and those of the loop itself under its own key.
type Forget struct {
	Scope
	Key string
}

// Has reports whether an entry is to be forgotten.
func (f *Forget) Has(path string) bool { return path == f.Key || f.Scope.Has(path) }
