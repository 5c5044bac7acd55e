package run

import (
	"context"
	"encoding/json"
	"time"

	"valence/atom/store"
	"valence/internal/document"
)

// OpenWait is a wait of a live execution.
type OpenWait struct {
	Seq   int64
	Path  string // key of its step in the journal
	Name  string
	Key   string
	Began time.Time
}

// OpenWaits returns the waits of an execution that have not ended.
func (g *Engine) OpenWaits(ctx context.Context, seq int64) ([]OpenWait, error) {
	entries, err := g.Store.Entries(ctx, seq)
	if err != nil {
		return nil, err
	}
	ended := map[string]bool{}
	for _, x := range entries {
		if x.Kind == KindWake {
			ended[x.Path] = true
		}
	}
	var open []OpenWait
	for _, x := range entries {
		if x.Kind != KindWait || ended[x.Path] {
			continue
		}
		var w waitEntry
		if err := json.Unmarshal(x.Body, &w); err != nil {
			return nil, mismatch(x.Path, err)
		}
		open = append(open, OpenWait{Seq: seq, Path: x.Path, Name: w.Name, Key: w.Key, Began: x.At})
	}
	return open, nil
}

// EndWait ends a wait as its callback URL does.
func (g *Engine) EndWait(ctx context.Context, w OpenWait, body *document.Document) error {
	wake, err := WakeEntry(body, g.Clock.Wall().Truncate(time.Millisecond))
	if err != nil {
		return err
	}
	_, err = g.Store.Signal(ctx, &store.Signal{Seq: w.Seq, WaitID: waitID(w.Path), Entry: wake})
	return err
}

// ResumeWait ends a wait as a `resume:` step of another process does, by its
// name and key. It fails with store.ErrNoWaiter for a wait without a key.
func (g *Engine) ResumeWait(ctx context.Context, release string, w OpenWait, body *document.Document) error {
	wake, err := WakeEntry(body, g.Clock.Wall().Truncate(time.Millisecond))
	if err != nil {
		return err
	}
	_, err = g.Store.Signal(ctx, &store.Signal{Match: matchKey(release, w.Name, w.Key), Entry: wake})
	return err
}
