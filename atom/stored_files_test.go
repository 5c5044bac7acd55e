package atom_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// withFiles is a store in which all files have one content.
type withFiles struct {
	store.Store
	deleted bool
	padding int64 // added to the size of files
}

const fileContent = "content of the file"

func (*withFiles) PutFile(context.Context, io.Reader) (string, int64, error) {
	return "", 0, blob.ErrFull
}

func (s *withFiles) OpenFile(string) (io.ReadCloser, int64, error) {
	if s.deleted {
		return nil, 0, blob.ErrLost
	}
	return io.NopCloser(strings.NewReader(fileContent)), int64(len(fileContent)) + s.padding, nil
}

func (*withFiles) ReleaseFiles([]string) {}

// upload returns a message with a stored file.
func upload() *atom.Message {
	c := &blob.Content{Name: blob.NewName([16]byte{1}, [32]byte{1}), Size: 2 << 20, Text: true}
	o := &document.Object{}
	o.Set("file", c.Reference("a.txt", "text/plain"))
	return arrival(string(document.AppendJSON(nil, o)))
}

const uploads = `
process: answers
listen: { path: /answers, output: json, auth: none, reply_modes: [sync, deferred] }
dedupe: { key: "${doc.file.raw}", window: 1h }
steps:
  - reply: "${doc}"
---
process: remembers
listen: { path: /remembers, output: json, auth: none }
steps:
  - state: { set: { last: "${doc.file}" } }
  - reply: done
`

// TestRepeatedRepliesContainTheirFiles sends messages again when the stored file
// of the first one is deleted.
func TestRepeatedRepliesContainTheirFiles(t *testing.T) {
	ctx := context.Background()
	for _, deferred := range []bool{false, true} {
		files := &withFiles{Store: storetest.NewStore()}
		r := start(t, newSystem(), files, uploads)
		send := func() (*atom.Acknowledgement, *atom.Reply, error) {
			if deferred {
				m := upload()
				m.Deferred = &atom.DeferredReply{}
				return r.atom.AcceptDeferred(ctx, r.process("answers"), m)
			}
			reply, err := r.atom.Request(ctx, r.process("answers"), upload())
			return nil, reply, err
		}
		first, _, err := send()
		if err != nil {
			t.Fatal(err)
		}
		if deferred {
			r.ended(first.Execution)
		}
		_, again, err := send()
		if err != nil || again == nil || !again.Duplicate {
			t.Fatalf("deferred %v: got %+v, %v, want the first reply", deferred, again, err)
		}
		files.deleted = true
		if blob.Has(again.Doc) || !strings.Contains(again.Doc.Data(), fileContent) {
			t.Errorf("deferred %v: got %s, want the content of the file", deferred, again.Doc.Data())
		}
		r.stop()
	}
}

// TestKeptFailuresCountTheirFiles fails an upload whose stored file is larger than
// its document.
func TestKeptFailuresCountTheirFiles(t *testing.T) {
	ctx := context.Background()
	files := &withFiles{Store: storetest.NewStore(), padding: 5000}
	sys := newSystem()
	sys.kept = 8000 // one failure with its file
	r := start(t, sys, files, uploads)
	for range 2 {
		if _, err := r.atom.Request(ctx, r.process("remembers"), upload()); err == nil {
			t.Fatal("got a reply, want a failure")
		}
	}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(2 * time.Millisecond) {
		problems, err := r.store.Problems(ctx)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("got %v, %v, want one failure", problems, err)
		}
		if n := problems["remembers"].KeptBytes; n > 0 {
			if n < 5000 || n > sys.kept || problems["remembers"].Failed != 1 {
				t.Errorf("got %+v, want one failure with its file", problems["remembers"])
			}
			return
		}
	}
}

// TestStateHasNoStoredFiles sets a state property to a large file, which would be
// deleted with its execution.
func TestStateHasNoStoredFiles(t *testing.T) {
	r := start(t, newSystem(), &withFiles{Store: storetest.NewStore()}, uploads)
	_, err := r.atom.Request(context.Background(), r.process("remembers"), upload())
	if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeLimit || !strings.Contains(f.Message, `"last"`) {
		t.Errorf("got %v, want %s for the property", err, fault.CodeLimit)
	}
}
