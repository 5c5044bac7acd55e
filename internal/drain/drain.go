// Package drain lets clients read a response that was sent before their request
// body was complete.
//
// A server that closes such a connection at once resets it, and most clients then
// report a broken connection instead of the response, such as a 413.
package drain

import (
	"io"
	"net/http"
	"time"
)

const (
	// small is the unread part of a body that net/http reads by itself.
	small = 256 << 10

	maxTime = 5 * time.Second // of reading after a response
)

// MaxBytes is the most that is read and discarded after a response.
const MaxBytes = 64 << 20

// Handler returns a handler that calls next and then reads the rest
// of a large body, up to MaxBytes and for at most 5 seconds. A body that was not
// sent yet because the client waits for 100 Continue is not requested.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.Body == nil || r.ContentLength >= 0 && r.ContentLength <= small {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		if control.EnableFullDuplex() != nil { // reading after the response is impossible
			next.ServeHTTP(w, r)
			return
		}
		b := &body{ReadCloser: r.Body}
		copied := *r // net/http compares the body of the original
		copied.Body = b
		next.ServeHTTP(w, &copied)
		if b.err != nil || !b.began && r.Header.Get("Expect") != "" {
			return
		}
		if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(maxTime)) != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, b, MaxBytes) // an error means that nobody sends any more
	})
}

// body records how far the body of a request was read.
type body struct {
	io.ReadCloser
	began bool
	err   error // of the last read, io.EOF at the end
}

func (b *body) Read(p []byte) (int, error) {
	b.began = true
	n, err := b.ReadCloser.Read(p)
	b.err = err
	return n, err
}
