package atom

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
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
	copy(b[10:], a.mac("id", b[:10]))
	return idText.EncodeToString(b[:])
}

// ParseID gives back what ExecutionID took, the time cut to its day. It is
// false for an id that this atom did not make.
func (a *Atom) ParseID(id string) (seq int64, received time.Time, ok bool) {
	if len(id) > 64 {
		return 0, time.Time{}, false
	}
	b, err := idText.DecodeString(id)
	if err != nil || len(b) != idBytes || !hmac.Equal(b[10:], a.mac("id", b[:10])[:idMAC]) {
		return 0, time.Time{}, false
	}
	seq = int64(binary.BigEndian.Uint64(append([]byte{0}, b[:7]...)))
	day := int64(b[7])<<16 | int64(b[8])<<8 | int64(b[9])
	return seq, time.Unix(day*86400, 0).UTC(), true
}

// replyToken is what lets its bearer follow an execution.
func (a *Atom) replyToken(id string) string {
	return hex.EncodeToString(a.mac("reply", []byte(id))[:16])
}

func (a *Atom) mac(purpose string, b []byte) []byte {
	h := hmac.New(sha256.New, a.key)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)
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
