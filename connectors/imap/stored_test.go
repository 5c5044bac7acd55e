package imap

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// contents is a store of contents by name.
type contents struct {
	mu       sync.Mutex
	byName   map[string][]byte
	full     bool
	released int
}

func (c *contents) PutFile(_ context.Context, r io.Reader) (string, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return "", 0, &blob.ReadError{Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full {
		return "", 0, blob.ErrFull
	}
	name := blob.NewName([16]byte{byte(len(c.byName))}, sha256.Sum256(b))
	c.byName[name] = b
	return name, int64(len(b)), nil
}

func (c *contents) OpenFile(name string) (io.ReadCloser, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.byName[name]
	if !ok {
		return nil, 0, blob.ErrLost
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

// ReleaseFiles counts contents. They stay, so that the test can read them.
func (c *contents) ReleaseFiles(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released += len(names)
}

func (c *contents) count() (stored, released int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byName), c.released
}

// withFile is a message with text and a file in Base64.
func withFile(content []byte, end string) string {
	var lines strings.Builder
	for text := base64.StdEncoding.EncodeToString(content); text != ""; {
		n := min(len(text), 76)
		lines.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return "From: a@example.com\nSubject: scan\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nHi\n--b\n" +
		"Content-Type: image/png\nContent-Disposition: attachment; filename=scan.png\nContent-Transfer-Encoding: base64\n\n" + lines.String() + end
}

// random returns random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// TestLargeAttachmentsAreStored parses messages with attachments around 1 MiB.
func TestLargeAttachmentsAreStored(t *testing.T) {
	for _, size := range []int{1000, blob.Threshold, blob.Threshold + 1, 3 << 20} {
		s := &contents{byName: map[string][]byte{}}
		ctx, end := blob.Begin(blob.Into(t.Context(), s))
		want := random(size)
		l, err := parse(ctx, strings.NewReader(strings.ReplaceAll(withFile(want, "--b--\n"), "\n", "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(l.text, "") != "Hi" || len(l.attachments) != 1 {
			t.Fatalf("%d bytes: got text %q and %d attachments", size, l.text, len(l.attachments))
		}
		f, is, err := blob.Of(ctx, l.attachments[0])
		if err != nil || !is || f.Stored() != (size > blob.Threshold) || f.MediaType != "image/png" {
			t.Fatalf("%d bytes: got %+v, %v, %v", size, f, is, err)
		}
		if got, err := f.Bytes(1 << 30); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d bytes, %v, want the file", size, len(got), err)
		}
		end()
	}
}

// TestBrokenMessages parses a message whose end is missing, one that cannot be
// received or stored, and one with more text than fits in memory.
func TestBrokenMessages(t *testing.T) {
	s := &contents{byName: map[string][]byte{}}
	ctx, end := blob.Begin(blob.Into(t.Context(), s))
	defer end()
	text := strings.ReplaceAll(withFile(random(2<<20), "--b--\n"), "\n", "\r\n")
	lost := errors.New("lost")
	got, err := received(ctx, literal{io.MultiReader(strings.NewReader(text[:len(text)/2]), iotest.ErrReader(lost)), int64(len(text))})
	if !errors.Is(err, lost) {
		t.Errorf("a lost connection: got %+v, %v, want the error", got, err)
	}
	got, err = received(ctx, literal{strings.NewReader(text[:len(text)/2]), int64(len(text) / 2)})
	if err != nil || got.invalid == nil {
		t.Errorf("without an end: got %+v, %v, want an invalid message", got, err)
	}
	long := plain(strings.Repeat("x", blob.MaxInline+1))
	got, err = received(ctx, literal{strings.NewReader(long), int64(len(long))})
	if err != nil || got.invalid == nil || !strings.Contains(got.invalid.Error(), "text") {
		t.Errorf("a long text: got %+v, %v, want an invalid message", got, err)
	}
	s.full = true
	got, err = received(ctx, literal{strings.NewReader(text), int64(len(text))})
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeUnavailable || !f.Retryable {
		t.Errorf("a full disk: got %+v, %v, want %s", got, err, fault.CodeUnavailable)
	}
}

// literal is a message as the server sends it.
type literal struct {
	io.Reader
	size int64
}

func (l literal) Size() int64 { return l.size }

// TestReceivesLargeAttachments receives from a server: a large attachment, a large
// message that is invalid, and while the disk is full.
func TestReceivesLargeAttachments(t *testing.T) {
	settings := to(t, server.Port)
	c := client(t, settings)
	want := random(5 << 20)
	put(t, c, "INBOX", withFile(want, "--b--\n"))
	invalid := withFile(random(2<<20), "--b\n") + strings.Repeat("Content-Type: multipart/mixed; boundary=c\n\n--c\n", maxDepth+1)
	put(t, c, "INBOX", invalid)
	put(t, c, "INBOX", plain("small"))
	s := &contents{byName: map[string][]byte{}, full: true}
	r := connectortest.NewRuntime()
	w := &subscribe{}
	bind(t, subscription().With, w, connectortest.Settings{"folder": "INBOX"})
	connectortest.Listen(t, storing{connect(t, settings), s}, w, r)
	state := connectortest.Await(t, r, "the disk is full", func(state connectortest.State) bool { return state.Down != nil })
	if f := fault.AsFailure(state.Down); f.Code != fault.CodeUnavailable || len(state.Accepted) > 0 {
		t.Errorf("got %v and %d messages, want %s", state.Down, len(state.Accepted), fault.CodeUnavailable)
	}
	s.mu.Lock()
	s.full = false
	s.mu.Unlock()
	state = connectortest.Await(t, r, "three messages", func(state connectortest.State) bool { return len(state.Accepted)+len(state.Refused) == 3 })
	ctx := blob.Into(t.Context(), s)
	var file *blob.File
	for _, m := range state.Accepted {
		attachments, _ := document.Key(m.Doc.Value(), "attachments")
		if list, _ := document.Decode(attachments).([]any); len(list) == 1 {
			var err error
			if file, _, err = blob.Of(ctx, list[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if file == nil || !file.Stored() {
		t.Fatalf("got %+v, want a stored attachment", file)
	}
	if got, err := file.Bytes(1 << 30); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want the attachment", len(got), err)
	}
	if len(state.Refused) != 1 {
		t.Fatalf("got %d refused messages, want the invalid one", len(state.Refused))
	}
	refused, err := blob.Body(ctx, state.Refused[0].Doc)
	if err != nil || !refused.Stored() || refused.MediaType != "message/rfc822" {
		t.Fatalf("got %+v, %v, want the stored message", refused, err)
	}
	if got, err := refused.Bytes(1 << 30); err != nil || string(got) != strings.ReplaceAll(invalid, "\n", "\r\n") {
		t.Errorf("got %d bytes, %v, want the invalid message", len(got), err)
	}
	connectortest.Await(t, r, "contents are released", func(connectortest.State) bool {
		stored, released := s.count()
		return stored == released
	})
}

// storing is a connection of an atom with a store.
type storing struct {
	*connection
	store blob.Store
}

func (s storing) Listen(ctx context.Context, with any, host *connectors.Host) error {
	return s.connection.Listen(blob.Into(ctx, s.store), with, host)
}
