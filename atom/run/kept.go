package run

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"valence/atom/store"
)

// keptRefresh is how often the sizes are read from the store.
const keptRefresh = 10 * time.Second

// keptFailures limits the failures that callers can make a process keep. A
// caller that waits has been answered, so a failure beyond the limit loses
// nothing that was acknowledged. It is recorded without its document and cannot
// be resubmitted.
type keptFailures struct {
	limit    int64 // bytes of one process
	problems func(context.Context) (map[string]store.Problems, error)
	log      *slog.Logger

	mu         sync.Mutex
	read       time.Time // of bytes
	refreshing bool
	bytes      map[string]int64 // by process: as read, and admitted since
	since      map[string]int64 // admitted since the read began
	reported   map[string]time.Time
}

func newKeptFailures(o Options) *keptFailures {
	return &keptFailures{limit: o.KeptFailures, problems: o.Store.Problems, log: o.Log, bytes: map[string]int64{}, since: map[string]int64{}, reported: map[string]time.Time{}}
}

// admit reports whether a process may keep a failure of n bytes.
func (k *keptFailures) admit(ctx context.Context, process string, n int64, now time.Time) bool {
	if k.limit <= 0 {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.read) >= keptRefresh && !k.refreshing {
		k.refresh(ctx, now)
	}
	if k.bytes[process]+n > k.limit {
		if now.Sub(k.reported[process]) >= time.Minute {
			k.reported[process] = now
			k.log.Warn("failures of waiting callers are not kept: the process has reached --max-kept-failures; resubmit or delete some", "process", process, "limit", k.limit)
		}
		return false
	}
	k.bytes[process] += n
	k.since[process] += n
	return true
}

// refresh reads the sizes. It releases the lock meanwhile, so that a slow store
// delays one request only. If the store cannot be read, the known sizes stay.
func (k *keptFailures) refresh(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	k.read, k.refreshing = now, true
	clear(k.since)
	k.mu.Unlock()
	all, err := k.problems(ctx)
	k.mu.Lock()
	k.refreshing = false
	if err != nil {
		return
	}
	clear(k.bytes)
	for process, p := range all {
		k.bytes[process] = p.KeptBytes
	}
	for process, n := range k.since { // the store may have them or not
		k.bytes[process] += n
	}
}

// dropped returns the resolution of a failure that is not kept.
func dropped(at time.Time) []byte {
	b, _ := json.Marshal(&ResolutionView{How: ResolvedDropped, At: at}) // always encodes
	return b
}
