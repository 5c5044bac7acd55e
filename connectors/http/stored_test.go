package http

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	nethttp "net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// contents is a store of contents in memory.
type contents struct {
	mu     sync.Mutex
	byName map[string][]byte
	opened int
	full   bool
}

func (c *contents) PutFile(_ context.Context, r io.Reader) (string, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return "", 0, &blob.ReadError{Err: err}
	}
	if c.full {
		return "", 0, blob.ErrFull
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var id [16]byte
	_, _ = rand.Read(id[:])
	name := blob.NewName(id, sha256.Sum256(b))
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
	c.opened++
	var r io.Reader = bytes.NewReader(b)
	if sum := sha256.Sum256(b); blob.NewName([16]byte{}, sum)[39:] != name[39:] {
		r = io.MultiReader(r, iotest.ErrReader(blob.ErrLost))
	}
	return io.NopCloser(r), int64(len(b)), nil
}

func (c *contents) ReleaseFiles(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		delete(c.byName, n)
	}
}

// scoped returns a context whose scope lasts until the test ends.
func scoped(t *testing.T) (context.Context, *contents) {
	t.Helper()
	s := &contents{byName: map[string][]byte{}}
	ctx, end := blob.Begin(blob.Into(t.Context(), s))
	t.Cleanup(end)
	return ctx, s
}

// large returns a stored file.
func large(t *testing.T, ctx context.Context, s *contents, size int) (*document.Document, []byte) {
	t.Helper()
	b := make([]byte, size)
	_, _ = rand.Read(b)
	name, n, err := s.PutFile(ctx, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return document.FromValue((&blob.Content{Name: name, Size: n}).Reference("scan.png", "image/png")), b
}

// TestStoredFilesAreSent sends a stored file by itself and as a part. Each attempt
// reads it again and has the Content-Length.
func TestStoredFilesAreSent(t *testing.T) {
	ctx, s := scoped(t)
	file, want := large(t, ctx, s, 3<<20)
	var n atomic.Int32
	type received struct {
		length int64
		kind   string
		body   []byte
	}
	got := make(chan received, 1)
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if n.Add(1)%2 == 1 { // answered in the middle of the body
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			w.Header().Set("Connection", "close")
			w.WriteHeader(503)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.ContentLength, r.Header.Get("Content-Type"), b}
	})
	parts := &document.Object{}
	parts.Set("note", "hello")
	parts.Set("file", file.Value())
	parts.Set("after", "x")
	c := connect(t, defaults(url))
	for name, test := range map[string]struct {
		body *document.Document
		with with
	}{
		"as it is":  {file, with{Path: "/"}},
		"as binary": {file, with{Path: "/", Format: formatBinary}},
		"as a part": {document.FromValue(parts), with{Path: "/", Format: formatMultipart}},
	} {
		before := s.opened
		_, err := c.do(ctx, call("post", &test.with, test.body))
		if f := fault.AsFailure(err); f == nil || !f.Retryable || f.Code != fault.CodeStatus && f.Code != fault.CodeAborted {
			t.Errorf("%s: got %v, want a retryable failure", name, err)
		}
		if _, err := c.do(ctx, call("post", &test.with, test.body)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.opened < before+2 {
			t.Errorf("%s: the file was opened %d times, want once for each attempt", name, s.opened-before)
		}
		r := <-got
		if r.length != int64(len(r.body)) {
			t.Errorf("%s: got Content-Length %d and %d bytes, want the same", name, r.length, len(r.body))
		}
		if test.with.Format == formatMultipart {
			_, params, err := mime.ParseMediaType(r.kind)
			if err != nil {
				t.Fatal(err)
			}
			form, err := multipart.NewReader(bytes.NewReader(r.body), params["boundary"]).ReadForm(1 << 30)
			if err != nil || form.Value["note"][0] != "hello" || form.Value["after"][0] != "x" {
				t.Fatalf("%s: got %+v, %v, want the fields", name, form, err)
			}
			head := form.File["file"][0]
			f, err := head.Open()
			if err != nil {
				t.Fatal(err)
			}
			r.body, _ = io.ReadAll(f)
			if r.kind = head.Header.Get("Content-Type"); head.Filename != "scan.png" {
				t.Errorf("%s: got filename %q, want scan.png", name, head.Filename)
			}
		}
		if r.kind != "image/png" || !bytes.Equal(r.body, want) {
			t.Errorf("%s: got %d bytes of %s, want the file", name, len(r.body), r.kind)
		}
	}
	inObject := document.FromJSON([]byte(`{"file":` + string(file.Body()) + `}`))
	n.Store(1)
	if _, err := c.do(ctx, call("post", &with{Path: "/"}, inObject)); err != nil {
		t.Fatal(err)
	}
	if r := <-got; strings.Contains(string(r.body), "vblob-") || len(r.body) < 4<<20 {
		t.Errorf("within JSON: got %d bytes, want the content in Base64", len(r.body))
	}
}

// TestSendingStoredFilesFails sends a stored file that is missing, one that is
// damaged, and one to a server that stops reading.
func TestSendingStoredFilesFails(t *testing.T) {
	ctx, s := scoped(t)
	file, _ := large(t, ctx, s, 32<<20)
	raw, _ := document.Key(file.Value(), "raw")
	hold := make(chan struct{})
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/stops" {
			<-hold
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	t.Cleanup(func() { close(hold) })
	c := connect(t, defaults(url))
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := c.do(short, call("post", &with{Path: "/stops"}, file)); fault.AsFailure(err).Code != fault.CodeTimeout {
		t.Errorf("a server that stops reading: got %v, want %s", err, fault.CodeTimeout)
	}
	s.mu.Lock()
	s.byName[raw.(string)] = make([]byte, 2<<20)
	s.mu.Unlock()
	if _, err := c.do(ctx, call("post", &with{Path: "/"}, file)); fault.AsFailure(err).Code != fault.CodeDocumentLost {
		t.Errorf("a damaged file: got %v, want %s", err, fault.CodeDocumentLost)
	}
	s.ReleaseFiles([]string{raw.(string)})
	if _, err := c.do(ctx, call("post", &with{Path: "/"}, file)); fault.AsFailure(err).Code != fault.CodeDocumentLost {
		t.Errorf("a missing file: got %v, want %s", err, fault.CodeDocumentLost)
	}
}

// TestLargeResponsesAreStored reads responses of more and less than 1 MiB.
func TestLargeResponsesAreStored(t *testing.T) {
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		q := r.URL.Query()
		size, _ := strconv.Atoi(q.Get("size"))
		body := content[:size]
		w.Header().Set("Content-Type", q.Get("type"))
		if q.Get("gzip") != "" {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(body)
			_ = z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			body = b.Bytes()
		}
		if q.Get("chunked") == "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		if q.Get("cut") != "" {
			body = body[:len(body)/2]
		}
		_, _ = w.Write(body)
		if q.Get("cut") != "" {
			panic(nethttp.ErrAbortHandler)
		}
	})
	const big = "size=3145728&"
	for _, test := range []struct {
		query, response, code string
		limit                 int64
		full, stored          bool
	}{
		{query: big + "type=application/pdf", stored: true},
		{query: big + "type=application/pdf&chunked=1", stored: true},
		{query: big + "type=application/pdf&gzip=1", stored: true},
		{query: big + "type=text/plain", response: formatBinary, stored: true},
		{query: "size=1048576&type=application/pdf"},
		{query: "size=1048576&type=application/pdf&chunked=1"},
		{query: "size=1000&type=application/pdf&gzip=1&chunked=1"},
		{query: "size=0&type=application/pdf&gzip=1"},
		{query: big + "type=application/pdf&cut=1", code: fault.CodeAborted},
		{query: big + "type=application/pdf&cut=1&chunked=1", code: fault.CodeAborted},
		{query: big + "type=application/pdf&cut=1&gzip=1", code: fault.CodeAborted},
		{query: big + "type=application/pdf", limit: 3<<20 - 1, code: fault.CodeTooLarge},
		{query: big + "type=application/pdf&chunked=1", limit: 3<<20 - 1, code: fault.CodeTooLarge},
		{query: big + "type=application/pdf&gzip=1", limit: 3<<20 - 1, code: fault.CodeTooLarge},
		{query: big + "type=application/pdf", full: true, code: fault.CodeUnavailable},
	} {
		ctx, s := scoped(t)
		s.full = test.full
		settings := defaults(url)
		if test.limit > 0 {
			settings.MaxResponse = test.limit
		}
		r, err := connect(t, settings).do(ctx, call("get", &with{Path: "/?" + test.query, Response: test.response}, nil))
		if test.code != "" {
			if f := fault.AsFailure(err); f == nil || f.Code != test.code || f.Retryable == (test.code == fault.CodeTooLarge) {
				t.Errorf("%s: got %v, want %s", test.query, err, test.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
			continue
		}
		if got := blob.IsReference(r.Doc); got != test.stored {
			t.Errorf("%s: stored %v, want %v", test.query, got, test.stored)
			continue
		}
		f, err := blob.Body(ctx, r.Doc)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Bytes(1 << 30)
		if err != nil || !bytes.HasPrefix(content, b) || test.stored && (len(b) != len(content) || !strings.HasPrefix(test.query[len(big):], "type="+f.MediaType)) {
			t.Errorf("%s: got %d bytes of %s, %v", test.query, len(b), f.MediaType, err)
		}
	}
}

// TestShortAndLongBodies reads responses whose Content-Length is not their size.
func TestShortAndLongBodies(t *testing.T) {
	const size = 2 << 20
	for name, announced := range map[string]int{"too short": size + 1, "too long": size - 1} {
		url := raw(t, func(_ int, c net.Conn) {
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: "+strconv.Itoa(announced)+"\r\n\r\n"+strings.Repeat("x", size))
			c.Close()
		})
		ctx, _ := scoped(t)
		r, err := connect(t, defaults(url)).do(ctx, call("get", &with{Path: "/"}, nil))
		if announced > size {
			if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeAborted || !f.Retryable {
				t.Errorf("%s: got %v, %v, want %s", name, r, err, fault.CodeAborted)
			}
			continue
		}
		var lost *fault.Failure
		if errors.As(err, &lost) || blob.Size(r.Doc) != int64(announced) {
			t.Errorf("%s: got %v, %v, want the announced %d bytes", name, r, err, announced)
		}
	}
}

// TestPreviewOfStoredFiles describes a stored file instead of reading it.
func TestPreviewOfStoredFiles(t *testing.T) {
	ctx, s := scoped(t)
	file, _ := large(t, ctx, s, 2<<20)
	c := connect(t, defaults("http://erp.example"))
	p, err := c.preview(ctx, "POST", &with{Path: "/x"}, &connectors.Call{Body: file})
	if err != nil || string(p.Body) != "[2097152 bytes of a stored file]" {
		t.Errorf("got %+v, %v, want a description of the file", p, err)
	}
}
