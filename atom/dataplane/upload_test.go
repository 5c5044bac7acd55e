package dataplane

import (
	"context"
	"crypto/sha256"
	"errors"
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
	"valence/internal/budget"
	"valence/internal/document"
	"valence/processes"
)

// blobs counts stored files.
type blobs struct {
	put, released int
	full          bool
}

func (b *blobs) PutFile(_ context.Context, r io.Reader) (string, int64, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	switch {
	case err != nil:
		return "", 0, &blob.ReadError{Err: err}
	case b.full:
		return "", 0, blob.ErrFull
	}
	b.put++
	return blob.NewName([16]byte{byte(b.put)}, [32]byte(sum.Sum(nil))), n, nil
}

func (b *blobs) OpenFile(string) (io.ReadCloser, int64, error) { return nil, 0, blob.ErrLost }
func (b *blobs) ReleaseFiles(names []string)                   { b.released += len(names) }

func filePart(name, content string) string {
	return "--b\r\nContent-Disposition: form-data; name=" + name + "; filename=f\r\n\r\n" + content + "\r\n"
}

// TestLargeFilesInBodiesAreStored sends bodies of unknown length. Whatever the
// answer is, stored files are released when the request ends.
func TestLargeFilesInBodiesAreStored(t *testing.T) {
	large := strings.Repeat("x", blob.Threshold+1)
	field := "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n"
	for _, c := range []struct {
		name, path string
		body       io.Reader
		full       bool
		memory     int64
		status     int
		put        int
		want       string
	}{
		{name: "a small file", path: "/parts", body: strings.NewReader(filePart("a", "x") + "--b--\r\n"), status: 200, want: `"raw":"x"`},
		{name: "two large files", path: "/parts", body: strings.NewReader(filePart("a", large) + filePart("a", large) + "--b--\r\n"), status: 200, put: 2, want: `"encoding":"valence-text-blob"`},
		{name: "binary", path: "/bytes", body: strings.NewReader(large + "\xff"), status: 200, put: 1, want: `"encoding":"valence-blob"`},
		{name: "small binary", path: "/bytes", body: strings.NewReader("x"), status: 200},
		{name: "too large", path: "/parts", body: strings.NewReader(filePart("a", strings.Repeat("x", 5<<20)) + "--b--\r\n"), status: 413},
		{name: "too large after the parts", path: "/parts", body: strings.NewReader(filePart("a", large) + "--b--\r\n" + strings.Repeat("x", 5<<20)), status: 413, put: 1},
		{name: "no end", path: "/parts", body: strings.NewReader(filePart("a", large) + filePart("a", large)), status: 400, put: 1},
		{name: "broken", path: "/parts", body: io.MultiReader(strings.NewReader(filePart("a", large)+"--b"), iotest.ErrReader(errors.New("reset"))), status: 400, put: 1, want: "broken_body"},
		{name: "a large field", path: "/parts", body: strings.NewReader(field + large + "\r\n--b--\r\n"), status: 413, want: "a field that is not a file"},
		{name: "the disk is full", path: "/parts", body: strings.NewReader(filePart("a", large) + "--b--\r\n"), full: true, status: 503},
		{name: "no memory", path: "/parts", body: strings.NewReader(filePart("a", large[:1<<19]) + "--b--\r\n"), memory: 1 << 20, status: 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, b := &fake{}, &blobs{full: c.full}
			limit := limited(processes.Limits{Body: 4 << 20})
			s := serve(t, f, on("/parts", takesAs("multipart"), limit), on("/bytes", takesAs("binary"), limit))
			s.options.Blobs = b
			if c.memory > 0 {
				s.options.Memory = budget.NewPool(c.memory)
			}
			r := httptest.NewRequest(http.MethodPost, c.path, c.body)
			r.ContentLength = -1
			r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			got := w.Body.String()
			if w.Code == http.StatusOK {
				got = f.arrived[0].Doc.Data()
			}
			if w.Code != c.status || !strings.Contains(got, c.want) {
				t.Errorf("got %d %.200s, want %d with %s", w.Code, got, c.status, c.want)
			}
			if b.put != c.put || b.released != c.put {
				t.Errorf("got %d files stored and %d released, want %d", b.put, b.released, c.put)
			}
		})
	}
}

// TestRetriesOfUploadsHaveOneContent sends large uploads again, as clients do: a
// form with another boundary, and a file that is stored under another name.
func TestRetriesOfUploadsHaveOneContent(t *testing.T) {
	large := strings.Repeat("x", blob.Threshold+1)
	for _, output := range []string{"", "json"} {
		for path, input := range map[string]string{"/parts": "multipart", "/bytes": "binary"} {
			f := &fake{}
			change := []func(*atom.DeployedProcess){takesAs(input), limited(processes.Limits{Body: 4 << 20})}
			if output != "" {
				change = append(change, replies(output))
			}
			s := serve(t, f, on(path, change...))
			s.options.Blobs = &blobs{}
			hash := func(content, boundary string) string {
				t.Helper()
				body := content
				if input == "multipart" {
					body = strings.ReplaceAll(filePart("a", content)+"--b--\r\n", "--b", "--"+boundary)
				}
				send(s, http.MethodPost, path, body, "Content-Type", "multipart/form-data; boundary="+boundary)
				in := f.last()
				if !blob.Has(in.Doc) || in.ContentHash == "" {
					t.Fatalf("%s: got %.200s with hash %q, want a stored file", path, in.Doc.Data(), in.ContentHash)
				}
				return in.ContentHash
			}
			first := hash(large, "b")
			if again := hash(large, "other"); again != first {
				t.Errorf("%s with output %q: got %s for the retry, want %s", path, output, again, first)
			}
			if changed := hash(large+"y", "b"); changed == first {
				t.Errorf("%s with output %q: got the same hash for another file", path, output)
			}
		}
	}
}

// TestLongUploads sends bodies for longer than the time for a response. The
// process has its whole time, and the caller receives the reply.
func TestLongUploads(t *testing.T) {
	const timeout, work = 30 * time.Second, 20 * time.Second
	for _, stored := range []bool{false, true} {
		f := &fake{request: func(ctx context.Context, in *atom.Message) (*atom.Reply, error) {
			at, ok := ctx.Deadline()
			if left := time.Until(at); !ok || left != timeout {
				t.Errorf("stored %v: got %v for the process, want %v", stored, left, timeout)
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(work):
				return &atom.Reply{Execution: "x1", Doc: document.FromJSON([]byte("1"))}, nil
			}
		}}
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, f, on("/a", takesAs("binary"), replies("json"), limited(processes.Limits{Body: 16 << 20}),
				func(d *atom.DeployedProcess) { d.Process.Listen.Timeout = timeout }))
			if stored {
				s.options.Blobs = &blobs{}
			}
			p, stop := running(s)
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() {
				_, err := io.WriteString(c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 8388608\r\n\r\n")
				for range 128 { // 64 KiB every two seconds
					if err == nil {
						_, err = c.Write(make([]byte, 64<<10))
					}
					<-time.After(2 * time.Second)
				}
			})
			resp, body := answerOn(t, r, "POST")
			if took := time.Since(start); resp.StatusCode != 200 || took < 2*responseTimeout {
				t.Errorf("stored %v: got %d %s after %v, want 200", stored, resp.StatusCode, body, took)
			}
			c.Close()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
