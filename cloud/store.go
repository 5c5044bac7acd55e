package cloud

import (
	"context"
	"io"
	"time"
)

// Object is one configured thing, stored as JSON. All objects are in memory
// while the control plane runs and are loaded from the store at start.
type Object struct {
	Kind, ID, Account string
	Body              []byte // nil: the object is deleted
}

// Change is everything one call changes. It is stored as a whole or not at all.
type Change struct {
	Objects      []Object
	Instructions []*Instruction
	Dropped      []int64 // ids of instructions to delete
	Records      []*ExecutionRecord
	Audit        []AuditEntry
}

// Objects stores the configuration and the audit log.
type Objects interface {
	// Load calls each for every object.
	Load(ctx context.Context, each func(Object) error) error
	// Write returns when the change is on disk.
	Write(ctx context.Context, c *Change) error
	// Audit returns entries of an account with ids below an id, newest first.
	// The id 0 starts at the newest.
	Audit(ctx context.Context, account string, below int64, limit int) ([]AuditEntry, error)
}

// Mailboxes stores the instructions for atoms.
type Mailboxes interface {
	// Enqueue stores a request and its instruction and returns when both are on
	// disk. If the account already has a request with the same idempotency key,
	// nothing is stored and that request's id is returned.
	Enqueue(ctx context.Context, r *ExecutionRequest, m *Instruction) (id string, err error)
	// Undelivered calls each for every unacknowledged instruction, in order of ids
	// for each atom. It returns the highest id that any instruction ever had.
	Undelivered(ctx context.Context, each func(atom string, id int64) error) (highest int64, err error)
	// Instructions returns instructions of an atom in order of ids: at least the first,
	// then as many as fit into about the given number of bytes.
	Instructions(ctx context.Context, atom string, ids []int64, bytes int) ([]*Instruction, error)
	// OlderThan returns up to limit instructions created before a time.
	OlderThan(ctx context.Context, before time.Time, limit int) ([]*Instruction, error)
	// Acknowledge deletes instructions of an atom and marks their requests as
	// delivered.
	Acknowledge(ctx context.Context, atom string, ids []int64, at time.Time) error
	// Request returns nil if the account has no such request.
	ExecutionRequest(ctx context.Context, account, id string) (*ExecutionRequest, error)
}

// History stores the reports of atoms.
type History interface {
	// Report stores records and results. A record of a known execution retains
	// its first id. A record of an ended execution is not changed, except that
	// a missing request id is added.
	Report(ctx context.Context, records []*ExecutionRecord, results []DeploymentResult) error
	// Records returns the records of an account, newest first, after a cursor.
	// The zero cursor is the beginning.
	Records(ctx context.Context, account string, f RecordFilter, after Cursor, limit int) ([]*ExecutionRecord, Cursor, error)
	// Results returns the results of a deployment on each atom.
	Results(ctx context.Context, deployment string) ([]DeploymentResult, error)
	// LastSeen returns the times stored by SaveLastSeen.
	LastSeen(ctx context.Context) (map[string]time.Time, error)
	SaveLastSeen(ctx context.Context, at map[string]time.Time) error
	// Purge deletes some of the data older than a time and some results of the
	// given deployments. It reports whether there is more to delete.
	Purge(ctx context.Context, before time.Time, replaced []string) (more bool, err error)
}

// Archives stores the archives of packages under their SHA-256 in hex.
type Archives interface {
	// PutArchive returns when the archive is on disk.
	PutArchive(ctx context.Context, sha string, archive []byte) error
	// Archive opens an archive after verifying its hash. It returns ErrAltered
	// if the content was changed.
	Archive(ctx context.Context, sha string) (io.ReadSeekCloser, error)
	DeleteArchive(ctx context.Context, sha string) error
}

// Store is the storage of a control plane.
type Store interface {
	Objects
	Mailboxes
	History
	Archives
	// Err returns nil while the store accepts writes.
	Err() error
	// Backup copies the store, while in use, into a folder that does not exist
	// yet.
	Backup(ctx context.Context, folder string) error
}

// Cursor is a position in a list of records.
type Cursor struct {
	Time int64 // nanoseconds
	Seq  int64
}
