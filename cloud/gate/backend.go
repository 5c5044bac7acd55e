package gate

import (
	"context"
	"io"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// identities identifies atoms and enrolls new ones.
type identities interface {
	Enroll(ctx context.Context, e wire.EnrollRequest, from string) (*wire.EnrollResponse, error)
	Peer(atom string) (cloud.Peer, bool)
	RecordRefusal(ctx context.Context, p cloud.Peer, code, from string)
}

// mailboxes delivers instructions and desired states to atoms.
type mailboxes interface {
	Next(ctx context.Context, atom string, generation int64) (*wire.PollResponse, time.Duration, error)
	Acknowledge(ctx context.Context, atom string, ids []int64) error
	Requeue(atom string)
	Notify(atom string) <-chan struct{}
	Wake(atom string)
}

// reports stores the reports of atoms and opens the packages they download.
type reports interface {
	RecordHeartbeat(atom string, h wire.Heartbeat, applied int64) (known bool)
	RaiseGeneration(ctx context.Context, atom string, generation int64) error
	StoreReports(ctx context.Context, atom string, r wire.Reports) error
	OpenPackage(ctx context.Context, atom, sha string) (io.ReadSeekCloser, error)
}

// cluster is this control plane among those that share its database.
type cluster interface {
	CheckFresh() error
	Refresh(ctx context.Context) error
	Claim(ctx context.Context, atom, instance string) (bool, error)
}

var (
	_ identities = (*cloud.AtomAPI)(nil)
	_ mailboxes  = (*cloud.AtomAPI)(nil)
	_ reports    = (*cloud.AtomAPI)(nil)
	_ cluster    = (*cloud.Cluster)(nil)
)
