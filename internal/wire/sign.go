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

// The headers of a signed request.
const (
	HeaderAtom      = "Valence-Atom"
	HeaderEpoch     = "Valence-Epoch"   // of the control plane; it changes when that starts
	HeaderCounter   = "Valence-Counter" // higher with every request in an epoch
	HeaderSignature = "Valence-Signature"
)

// Errors of a signature.
var (
	ErrUnsigned  = errors.New("the request is not signed")
	ErrSignature = errors.New("the signature is not right")
	ErrReplayed  = errors.New("the request was made before")
)

// Sign signs a request that has its method, URL and body set. The host that is
// signed is the one of the request, so an answer of another control plane
// proves nothing to this one.
func Sign(r *http.Request, body []byte, atom, epoch string, counter uint64, key ed25519.PrivateKey) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	n := strconv.FormatUint(counter, 10)
	text := signed(r.Method, host, r.URL.RequestURI(), body, atom, epoch, n)
	r.Header.Set(HeaderAtom, atom)
	r.Header.Set(HeaderEpoch, epoch)
	r.Header.Set(HeaderCounter, n)
	r.Header.Set(HeaderSignature, base64.StdEncoding.EncodeToString(ed25519.Sign(key, text)))
}

// Claim is what a signed request says of itself, before the signature is checked.
type Claim struct {
	Atom    string
	Epoch   string
	Counter uint64
}

// ReadClaim reads the headers of a signed request.
func ReadClaim(r *http.Request) (Claim, error) {
	c := Claim{Atom: r.Header.Get(HeaderAtom), Epoch: r.Header.Get(HeaderEpoch)}
	n, err := strconv.ParseUint(r.Header.Get(HeaderCounter), 10, 64)
	if c.Atom == "" || err != nil || r.Header.Get(HeaderSignature) == "" {
		return Claim{}, ErrUnsigned
	}
	c.Counter = n
	return c, nil
}

// Verify checks the signature of a request that a server received.
func Verify(r *http.Request, body []byte, key ed25519.PublicKey) error {
	sig, err := base64.StdEncoding.DecodeString(r.Header.Get(HeaderSignature))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return ErrSignature
	}
	text := signed(r.Method, r.Host, r.URL.RequestURI(), body, r.Header.Get(HeaderAtom), r.Header.Get(HeaderEpoch), r.Header.Get(HeaderCounter))
	if !ed25519.Verify(key, text, sig) {
		return ErrSignature
	}
	return nil
}

func signed(method, host, uri string, body []byte, atom, epoch, counter string) []byte {
	digest := sha256.Sum256(body)
	return []byte(strings.Join([]string{"valence-request-1", method, strings.ToLower(host), uri, hex.EncodeToString(digest[:]), atom, epoch, counter}, "\n"))
}

// windowSize is how far behind the newest counter a request may come: several
// of one atom may be under way at once.
const windowSize = 64

// Window tells counters that were seen from those that were not (as RFC 4303,
// 3.4.3, does for packets). The zero value has seen nothing. It is not for use
// by several goroutines.
type Window struct {
	newest uint64
	seen   uint64 // bit i: newest-i was seen
}

// Take takes a counter, once.
func (w *Window) Take(n uint64) error {
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
