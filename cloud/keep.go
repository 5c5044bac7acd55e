package cloud

import (
	"context"
	"io"
	"time"
)

// Object is one thing that is kept whole, as JSON. All objects are in memory
// while the control plane runs; the store is where they come from.
type Object struct {
	Kind, ID, Account string
	Body              []byte // nil: it is deleted
}

// Change is what one call changes: all of it is on disk, or nothing.
type Change struct {
	Objects  []Object
	Messages []*Message
	Dropped  []int64 // messages that nobody is to get any more
	Records  []*ExecutionRecord
	Audit    []AuditEntry
}

// Objects keeps what is configured, and who changed it.
type Objects interface {
	// Load calls each for every object.
	Load(ctx context.Context, each func(Object) error) error
	// Write returns when the change is on disk.
	Write(ctx context.Context, c *Change) error
	// Audit gives entries of an account below an id (0: from the newest), newest first.
	Audit(ctx context.Context, account string, below int64, limit int) ([]AuditEntry, error)
}

// Outbox keeps what atoms are to get.
type Outbox interface {
	// Enqueue stores a request with its message and returns when both are on
	// disk. Where the account has a request of the same idempotency key it
	// stores nothing and gives that one's id.
	Enqueue(ctx context.Context, r *ExecutionRequest, m *Message) (id string, err error)
	// Waiting calls each for every message that is not acknowledged, those of an
	// atom by id, and gives the highest id that any message ever had.
	Waiting(ctx context.Context, each func(atom string, id int64) error) (highest int64, err error)
	// Messages reads messages of an atom, in the order of ids: at least the
	// first, then as many as fit into about so many bytes.
	Messages(ctx context.Context, atom string, ids []int64, bytes int) ([]*Message, error)
	// Stale gives some messages that were made before a time.
	Stale(ctx context.Context, before time.Time, limit int) ([]*Message, error)
	// Acknowledge forgets messages of an atom and marks their requests delivered.
	Acknowledge(ctx context.Context, atom string, ids []int64, at time.Time) error
	// Request gives nil where an account has no such request.
	Request(ctx context.Context, account, id string) (*ExecutionRequest, error)
}

// History keeps what atoms report.
type History interface {
	// Report stores records and results. A record of an execution that is known
	// takes that one's id, and changes nothing where the execution has ended, but
	// that it was asked for, if that was not told before.
	Report(ctx context.Context, records []*ExecutionRecord, results []DeploymentResult) error
	// Records gives the records of an account, newest first, after a place; the
	// zero place is the beginning.
	Records(ctx context.Context, account string, f RecordFilter, after Place, limit int) ([]*ExecutionRecord, Place, error)
	// Results gives what became of a deployment.
	Results(ctx context.Context, deployment string) ([]DeploymentResult, error)
	// LastSeen gives when atoms were heard of, as far as Seen has stored it.
	LastSeen(ctx context.Context) (map[string]time.Time, error)
	Seen(ctx context.Context, at map[string]time.Time) error
	// Purge deletes some of what is older, and of the results of deployments
	// that are over; more tells that there is still some.
	Purge(ctx context.Context, before time.Time, over []string) (more bool, err error)
}

// Archives keeps the archives of packages, by their SHA-256 in hex.
type Archives interface {
	// PutArchive returns when the archive is on disk.
	PutArchive(ctx context.Context, sha string, archive []byte) error
	// Archive opens one and holds it against its name; what was altered gives
	// an error that is ErrAltered.
	Archive(ctx context.Context, sha string) (io.ReadSeekCloser, error)
	DropArchive(ctx context.Context, sha string) error
}

// Store is where a control plane keeps everything.
type Store interface {
	Objects
	Outbox
	History
	Archives
	// Err is nil while the store takes writes.
	Err() error
	// Backup copies it, while it is used, into a folder that does not exist yet.
	Backup(ctx context.Context, folder string) error
}

// Place is where a list goes on.
type Place struct {
	Time int64 // nanoseconds
	Seq  int64
}
