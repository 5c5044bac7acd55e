package smtp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/test/servers"
)

// contents is a store of contents by name.
type contents map[string][]byte

func (c contents) PutFile(_ context.Context, r io.Reader) (string, int64, error) {
	b, err := io.ReadAll(r)
	name := blob.NewName([16]byte{byte(len(c))}, sha256.Sum256(b))
	c[name] = b
	return name, int64(len(b)), err
}

func (c contents) OpenFile(name string) (io.ReadCloser, int64, error) {
	b, ok := c[name]
	if !ok {
		return nil, 0, blob.ErrLost
	}
	if sum := sha256.Sum256(b); !strings.HasSuffix(blob.NewName([16]byte{}, sum), blob.Sum(name)) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(b[:len(b)-1]), iotest.ErrReader(blob.ErrLost))), int64(len(b)), nil
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (contents) ReleaseFiles([]string) {}

// files returns the parts of a message with a name.
func files(t *testing.T, text []byte) map[string]string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if p.FileName() == "" {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if len(strings.TrimRight(line, "\r\n")) > lineLength {
				t.Errorf("%s: got a line of %d characters, want at most %d", p.FileName(), len(line), lineLength)
			}
		}
		content, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\r", "", "\n", "").Replace(string(b)))
		if err != nil {
			t.Errorf("%s: %v", p.FileName(), err)
		}
		found[p.FileName()+" "+p.Header.Get("Content-Type")[:9]] = string(content)
	}
}

// TestStoredAttachments sends stored files: as the file object of an upload or a
// received message, as raw, and next to small ones.
func TestStoredAttachments(t *testing.T) {
	s := server(t, servers.SMTPOptions{})
	store := contents{}
	ctx := blob.Into(t.Context(), store)
	want := map[string]string{"note.txt text/plai": "small"}
	var attachments []any
	for i, size := range []int{1 << 20, 1<<20 + 1, 3<<20 + 2} {
		b := make([]byte, size)
		_, _ = rand.Read(b)
		name, n, err := store.PutFile(ctx, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		filename := string(rune('a'+i)) + ".png"
		file := (&blob.Content{Name: name, Size: n}).Reference(filename, "image/png")
		if i == 0 {
			o := &document.Object{}
			o.Set("filename", filename)
			o.Set("raw", file)
			file = o
		}
		attachments = append(attachments, document.Plain(file))
		want[filename+" image/png"] = string(b)
	}
	attachments = append(attachments, map[string]any{"filename": "note.txt", "type": "text/plain", "raw": "small"})
	with := message("attachments", attachments)
	if _, err := call(ctx, t, to(s.Port), with); err != nil {
		t.Fatal(err)
	}
	got := files(t, s.Mails()[0].Content)
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s: got %d bytes, want the %d of the file", name, len(got[name]), len(content))
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d attachments, want %d", len(got), len(want))
	}
	w := &send{}
	bind(t, sendFields, w, with)
	p, err := preview(ctx, &connection{address: "mail.example:587"}, w, &connectors.Call{IdempotencyKey: "key-1"})
	if err != nil || strings.Count(string(p.Body), "[1048577 bytes of a stored file]") != 1 || len(p.Body) > 10_000 {
		t.Errorf("preview: got %d bytes, %v, want a description of the files", len(p.Body), err)
	}
	for name, x := range map[string]struct {
		to        connectortest.Settings
		code      string
		retryable bool
	}{
		"unknown recipient": {message("attachments", attachments, "to", []any{"nobody@example.com"}), "550", false},
		"busy recipient":    {message("attachments", attachments, "to", []any{"busy@example.com"}), "450", true},
	} {
		_, err := call(ctx, t, to(s.Port), x.to)
		t.Log(name)
		failure(t, err, x.code, x.retryable)
	}
	small := server(t, servers.SMTPOptions{MaxBytes: 4096})
	_, err = call(ctx, t, to(small.Port), with)
	failure(t, err, "552", false)
	if n := len(s.Mails()) + len(small.Mails()); n != 1 {
		t.Errorf("got %d messages, want 1", n)
	}
}

// TestBadStoredAttachments sends files that are missing, damaged, of another size,
// and to a server that stops reading. No server gets a message.
func TestBadStoredAttachments(t *testing.T) {
	s := server(t, servers.SMTPOptions{})
	store := contents{}
	ctx := blob.Into(t.Context(), store)
	name, n, err := store.PutFile(ctx, bytes.NewReader(make([]byte, 16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	with := func(size int64) connectortest.Settings {
		return message("attachments", []any{document.Plain((&blob.Content{Name: name, Size: size}).Reference("a", "image/png"))})
	}
	_, err = call(ctx, t, to(s.Port), with(n+1))
	failure(t, err, codeBadCall, false)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hold := make(chan struct{})
	defer close(hold)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "220 x\r\n")
		for _, answer := range []string{"250-x\r\n250 AUTH PLAIN\r\n", "235 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"} {
			_, _ = c.Read(make([]byte, 1000))
			_, _ = io.WriteString(c, answer)
		}
		<-hold
	}()
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err = call(short, t, to(portOf(t, l.Addr().String())), with(n))
	failure(t, err, fault.CodeTimeout, true)

	store[name][7] = 1
	_, err = call(ctx, t, to(s.Port), with(n))
	failure(t, err, fault.CodeDocumentLost, false)
	delete(store, name)
	_, err = call(ctx, t, to(s.Port), with(n))
	failure(t, err, fault.CodeDocumentLost, false)
	if n := len(s.Mails()); n != 0 {
		t.Errorf("got %d messages, want none", n)
	}
}
