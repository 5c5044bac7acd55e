package atom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
)

// An execution whose document is lost fails alone: it can be cancelled, deleted,
// skipped, and resubmitted with the document.
func TestLostDocumentFailsAlone(t *testing.T) {
	const yaml = `
process: keyed
listen: { path: /k, input: json, auth: none }
sequence: { key: "${string(doc.key ?? 'none')}" }
workers: 1
steps:
  - call: sys.post
    with: { path: "/${doc.id}" }
`
	s, sys := storetest.NewStore(), hanging()
	sys.entered = make(chan string, 10)
	r := start(t, sys, s, yaml)
	r.accept("keyed", `{"key":"x","id":"busy"}`)
	<-sys.entered
	var ids []string
	for _, key := range []string{"a", "b", "c", "d"} {
		ids = append(ids, r.accept("keyed", `{"key":"`+key+`","id":"lost"}`).Execution)
	}
	after := r.accept("keyed", `{"key":"b","id":"after"}`).Execution
	r.stop()
	for _, id := range ids {
		seq, _, _ := r.atom.ParseID(id)
		s.Lose(seq)
	}
	sys.mu.Lock()
	sys.entered = nil
	sys.mu.Unlock()
	r = start(t, sys, s, yaml) // its only worker is busy again
	ctx := context.Background()
	if err := r.atom.Cancel(ctx, ids[3]); err != nil {
		t.Errorf("cancel: got %v, want no error", err)
	}
	if v := r.ended(ids[3]); v.Status != "cancelled" {
		t.Errorf("got %+v, want status cancelled", v)
	}
	close(sys.block)
	for _, id := range ids[:3] {
		if v := r.ended(id); v.Status != "failed" || v.Error.Code != "document_lost" {
			t.Errorf("got %+v %+v, want status failed and code document_lost", v, v.Error)
		}
	}
	if err := r.atom.Discard(ctx, ids[0]); err != nil {
		t.Errorf("delete: got %v, want no error", err)
	}
	if id, err := r.atom.SkipKey(ctx, "keyed", "b"); err != nil || id != ids[1] {
		t.Errorf("skip: got %s, %v, want %s", id, err, ids[1])
	}
	if v := r.ended(after); v.Status != "completed" {
		t.Errorf("the next of the key: got %+v, want status completed", v)
	}
	var refused *atom.ResubmissionError
	if _, err := r.atom.Resubmit(ctx, ids[2], atom.Resubmission{}); !errors.As(err, &refused) {
		t.Errorf("resubmit without the document: got %v, want it refused", err)
	}
	again, err := r.atom.Resubmit(ctx, ids[2], atom.Resubmission{Document: document.FromJSON([]byte(`{"key":"c","id":"found"}`))})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.ended(again); v.Status != "completed" {
		t.Errorf("resubmitted with the document: got %+v, want status completed", v)
	}
}

// An error that may pass holds the execution instead.
func TestUnreadableDocumentIsHeld(t *testing.T) {
	s, sys := storetest.NewStore(), hanging()
	const yaml = "process: p\nlisten: { path: /p, input: json, auth: none }\nworkers: 1\nsteps: [{ call: sys.post, with: { path: /p } }]\n"
	r := start(t, sys, s, yaml)
	r.accept("p", `{}`)
	id := r.accept("p", `{}`).Execution
	r.stop()
	r = start(t, sys, &unreadable{s}, yaml)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		if v := r.shown(id); v.Status == "held" && strings.Contains(v.Reason, "input/output error") {
			return
		}
	}
	t.Error("the execution is not held")
}

// unreadable is a store whose disk cannot read documents now.
type unreadable struct{ *storetest.Store }

func (s *unreadable) Ready(ctx context.Context, process string, after int64, limit int) ([]*store.Record, error) {
	list, err := s.Store.Ready(ctx, process, after, limit)
	for _, r := range list {
		r.DocumentErr = errors.New("read a document: input/output error")
	}
	return list, err
}
