package atom

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"time"
)

// An execution's public id is its sequence number and the day it was received
// on, with a code that only this atom can make: so it needs no index, and
// nobody finds executions by counting.

const (
	idMAC   = 6
	idBytes = 7 + 3 + idMAC
)

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ExecutionID gives the public id of an execution.
func (a *Atom) ExecutionID(seq int64, received time.Time) string {
	var b [idBytes]byte
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(seq))
	copy(b[:7], n[1:])
	day := uint32(received.UTC().Unix() / 86400)
	b[7], b[8], b[9] = byte(day>>16), byte(day>>8), byte(day)
	code := a.mac("id", b[:10])
	copy(b[10:], code[:])
	return idText.EncodeToString(b[:])
}

// ParseID gives back what ExecutionID took, the time cut to its day. It is
// false for an id that this atom did not make.
func (a *Atom) ParseID(id string) (seq int64, received time.Time, ok bool) {
	if len(id) > 64 {
		return 0, time.Time{}, false
	}
	b, err := idText.DecodeString(id)
	if err != nil || len(b) != idBytes {
		return 0, time.Time{}, false
	}
	if code := a.mac("id", b[:10]); !hmac.Equal(b[10:], code[:idMAC]) {
		return 0, time.Time{}, false
	}
	seq = int64(binary.BigEndian.Uint64(append([]byte{0}, b[:7]...)))
	day := int64(b[7])<<16 | int64(b[8])<<8 | int64(b[9])
	return seq, time.Unix(day*86400, 0).UTC(), true
}

// replyToken is what lets its bearer follow an execution.
func (a *Atom) replyToken(id string) string {
	var b [64]byte
	code := a.mac("reply", append(b[:0], id...))
	return hex.EncodeToString(code[:16])
}

// mac is a code over b that only this atom can make. Making one is most of what
// an id costs, so what a key is expanded to is kept.
func (a *Atom) mac(purpose string, b []byte) (code [sha256.Size]byte) {
	m, ok := a.macs.Get().(*macState)
	if !ok {
		m = &macState{hash: hmac.New(sha256.New, a.key)}
	}
	m.hash.Reset()
	m.buf = append(append(append(m.buf[:0], purpose...), 0), b...)
	m.hash.Write(m.buf)
	m.buf = m.hash.Sum(m.buf[:0])
	copy(code[:], m.buf)
	a.macs.Put(m)
	return code
}

// macState is a keyed hash that is used again.
type macState struct {
	hash hash.Hash
	buf  []byte
}

// derive gives 16 bytes that stand for the parts and nothing else.
func derive(parts ...string) (out [16]byte) {
	h := sha256.New()
	var n [4]byte
	for _, p := range parts {
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	copy(out[:], h.Sum(nil))
	return out
}
