package dataplane

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/internal/blob"
	"valence/internal/document"
)

// oneFile is a store whose files all have one content.
type oneFile struct {
	blobs
	content io.Reader
	size    int64
	closed  bool
}

func (f *oneFile) OpenFile(string) (io.ReadCloser, int64, error) {
	if f.content == nil {
		return nil, 0, blob.ErrLost
	}
	return f, f.size, nil
}

func (f *oneFile) Read(b []byte) (int, error) { return f.content.Read(b) }
func (f *oneFile) Close() error               { f.closed = true; return nil }

// filed replies with a stored file.
func filed(status int) *fake {
	ref := (&blob.Content{Name: blob.NewName([16]byte{1}, [32]byte{1}), Size: 1}).Reference("a.png", "image/png")
	return &fake{request: func(context.Context, *atom.Message) (*atom.Reply, error) {
		return &atom.Reply{Execution: "x1", Status: status, Doc: document.FromValue(ref), Headers: []atom.KV{{Name: "X-Kind", Value: "scan"}}}, nil
	}}
}

// TestStoredFilesAreReplies replies with stored files, which have a Content-Length.
// Damage cuts the response off.
func TestStoredFilesAreReplies(t *testing.T) {
	content := strings.Repeat("0123456789", 1<<17)
	for _, c := range []struct {
		name   string
		method string
		reply  int
		file   io.Reader
		size   int
		status int
		want   string
		cut    bool
	}{
		{name: "whole", file: strings.NewReader(content), size: len(content), status: 200, want: content},
		{name: "with a status", reply: 202, file: strings.NewReader(content), size: len(content), status: 202, want: content},
		{name: "empty", file: strings.NewReader(""), status: 200},
		{name: "to HEAD", method: http.MethodHead, file: strings.NewReader(content), size: len(content), status: 200},
		{name: "without a body", reply: 204, file: strings.NewReader(content), size: len(content), status: 204},
		{name: "missing", status: 500, want: `"execution":"x1"`},
		{name: "an impossible status", reply: 999, file: strings.NewReader(content), size: len(content), status: 500, want: `"execution":"x1"`},
		{name: "damaged", file: io.MultiReader(strings.NewReader(content[:len(content)/2]), iotest.ErrReader(blob.ErrLost)), size: len(content), status: 200, want: content[:len(content)/2], cut: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, filed(c.reply), on("/file", takesAs("none"), methods("GET", "HEAD"), replies("binary")))
			file := &oneFile{content: c.file, size: int64(c.size)}
			s.options.Blobs = file
			server := httptest.NewServer(s)
			defer server.Close()
			method := c.method
			if method == "" {
				method = http.MethodGet
			}
			r, err := http.NewRequest(method, server.URL+"/file", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || c.status < 300 && string(got) != c.want || !strings.Contains(string(got), c.want) || (err != nil) != c.cut {
				t.Errorf("got %d and %d bytes, %v, want %d and %d bytes, cut off: %v", resp.StatusCode, len(got), err, c.status, len(c.want), c.cut)
			}
			if c.status < 300 && (resp.Header.Get("Content-Type") != "image/png" || resp.Header.Get("X-Kind") != "scan") {
				t.Errorf("got headers %v, want the type of the file and the headers of the reply", resp.Header)
			}
			if c.status < 300 && c.status != 204 && resp.ContentLength != int64(c.size) {
				t.Errorf("got Content-Length %d, want %d", resp.ContentLength, c.size)
			}
			server.Close() // waits for the handler
			if file.content != nil && c.status != 500 && !file.closed {
				t.Error("the file was not closed")
			}
		})
	}
}

// TestCallersThatStopReadingFiles stops reading in the middle of a stored file. A
// caller that reads slowly gets all of it.
func TestCallersThatStopReadingFiles(t *testing.T) {
	const size = 16 << 20
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, filed(0), on("/file", takesAs("none"), methods("GET", "HEAD"), replies("binary")))
			file := &oneFile{content: bytes.NewReader(make([]byte, size)), size: size}
			s.options.Blobs = file
			p, stop := running(s)
			c, _ := dial(t, p)
			if _, err := io.WriteString(c, "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			var n int64
			var err error
			for err == nil {
				var more int64
				more, err = io.CopyN(io.Discard, c, 1<<20)
				if n += more; stops {
					break
				}
				time.Sleep(30 * time.Second)
			}
			if !stops && n < size {
				t.Errorf("a slow caller got %d bytes, want %d", n, size)
			}
			if stops {
				time.Sleep(2 * responseTimeout)
			}
			synctest.Wait()
			if !file.closed {
				t.Errorf("stops %v: the file is still open", stops)
			}
			c.Close()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
