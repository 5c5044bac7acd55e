package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// Headers of a signed request.
const (
	HeaderAtom      = "Valence-Atom"
	HeaderEpoch     = "Valence-Epoch"   // of the control plane; changes when it restarts
	HeaderCounter   = "Valence-Counter" // increases with every request in an epoch
	HeaderSignature = "Valence-Signature"
)

// Errors of signature checks.
var (
	ErrUnsigned  = errors.New("the request is not signed")
	ErrSignature = errors.New("the signature is invalid")
	ErrReplayed  = errors.New("the request was already received")
)

// Sign signs a request whose method, URL and body are set. The signature covers
// the host, so another control plane cannot replay the request.
func Sign(r *http.Request, body []byte, atom, epoch string, counter uint64, key ed25519.PrivateKey) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	n := strconv.FormatUint(counter, 10)
	text := signedText(r.Method, host, r.URL.RequestURI(), body, atom, epoch, n)
	r.Header.Set(HeaderAtom, atom)
	r.Header.Set(HeaderEpoch, epoch)
	r.Header.Set(HeaderCounter, n)
	r.Header.Set(HeaderSignature, base64.StdEncoding.EncodeToString(ed25519.Sign(key, text)))
}

// SignatureHeaders are the unverified headers of a signed request.
type SignatureHeaders struct {
	Atom    string
	Epoch   string
	Counter uint64
}

// ReadSignatureHeaders returns the headers of a signed request without checking
// the signature. It returns ErrUnsigned if they are missing or malformed.
func ReadSignatureHeaders(r *http.Request) (SignatureHeaders, error) {
	c := SignatureHeaders{Atom: r.Header.Get(HeaderAtom), Epoch: r.Header.Get(HeaderEpoch)}
	n, err := strconv.ParseUint(r.Header.Get(HeaderCounter), 10, 64)
	if c.Atom == "" || err != nil || r.Header.Get(HeaderSignature) == "" {
		return SignatureHeaders{}, ErrUnsigned
	}
	c.Counter = n
	return c, nil
}

// Verify checks the signature of a received request.
func Verify(r *http.Request, body []byte, key ed25519.PublicKey) error {
	sig, err := base64.StdEncoding.DecodeString(r.Header.Get(HeaderSignature))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return ErrSignature
	}
	text := signedText(r.Method, r.Host, r.URL.RequestURI(), body, r.Header.Get(HeaderAtom), r.Header.Get(HeaderEpoch), r.Header.Get(HeaderCounter))
	if !ed25519.Verify(key, text, sig) {
		return ErrSignature
	}
	return nil
}

func signedText(method, host, uri string, body []byte, atom, epoch, counter string) []byte {
	digest := sha256.Sum256(body)
	return []byte(strings.Join([]string{"valence-request-1", method, strings.ToLower(host), uri, hex.EncodeToString(digest[:]), atom, epoch, counter}, "\n"))
}

// windowSize limits the distance of a counter from the newest one. Requests of
// an atom may arrive out of order.
const windowSize = 64

// Window detects replayed counters (RFC 4303, 3.4.3). Its zero value has seen
// none. It is not safe for concurrent use.
type Window struct {
	newest uint64
	seen   uint64 // bit i: newest-i was seen
}

// Admit records a counter and returns ErrReplayed if it was seen before or is
// too old.
func (w *Window) Admit(n uint64) error {
	switch {
	case n == 0:
		return ErrReplayed
	case n > w.newest:
		if d := n - w.newest; d < windowSize {
			w.seen = w.seen<<d | 1
		} else {
			w.seen = 1
		}
		w.newest = n
		return nil
	case w.newest-n >= windowSize || w.seen&(1<<(w.newest-n)) != 0:
		return ErrReplayed
	}
	w.seen |= 1 << (w.newest - n)
	return nil
}
