package authn

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxNonces bounds the nonces that one authenticator remembers, to about 40 MB.
// It is more than 2,900 digests a second for the default of 5 minutes.
const maxNonces = 1 << 20

// BusyError reports valid credentials that cannot be accepted now, because too many
// were accepted shortly before.
type BusyError struct{ RetryAfter time.Duration }

// Error names the reason.
func (e *BusyError) Error() string { return "too many digests have been accepted" }

// nonces are the nonces of accepted digests, by the minute in which they may be
// forgotten.
type nonces struct {
	mu    sync.Mutex
	until map[int64]map[nonceHash]struct{} // Unix minutes
	count int
	most  int
}

// nonceHash is the start of a nonce's SHA-256. All nonces are as large.
type nonceHash [16]byte

func newNonces(most int) *nonces {
	return &nonces{until: map[int64]map[nonceHash]struct{}{}, most: most}
}

// add stores a nonce until a time. It returns ErrDenied if the nonce is known, and
// a *BusyError if there is no room.
func (n *nonces) add(nonce []byte, now, until time.Time) error {
	sum := sha256.Sum256(nonce)
	hash := nonceHash(sum[:len(nonceHash{})])
	n.mu.Lock()
	defer n.mu.Unlock()
	first := int64(0)
	for minute, known := range n.until {
		if minute < now.Unix()/60 {
			n.count -= len(known)
			delete(n.until, minute)
			continue
		}
		if _, ok := known[hash]; ok {
			return ErrDenied
		}
		if first == 0 || minute < first {
			first = minute
		}
	}
	if n.count >= n.most {
		return &BusyError{RetryAfter: time.Unix((first+1)*60, 0).Sub(now)}
	}
	minute := until.Unix() / 60
	if n.until[minute] == nil {
		n.until[minute] = map[nonceHash]struct{}{}
	}
	n.until[minute][hash] = struct{}{}
	n.count++
	return nil
}
