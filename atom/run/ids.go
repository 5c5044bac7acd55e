package run

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync"
	"time"
)

// IDs makes and parses the public identifiers of executions. An identifier holds
// the sequence number, so it needs no index, and a code that only this atom can
// make, so nobody finds executions by counting.
type IDs struct {
	key  []byte
	macs sync.Pool // *macState
}

// NewIDs returns IDs signed with a key of 32 bytes.
func NewIDs(key []byte) *IDs { return &IDs{key: key} }

// An execution id is the sequence number (7 bytes), the day of its message
// (3 bytes) and a code. A callback token has the id of a wait before the code.
const (
	prefixBytes = 7 + 3
	idMAC       = 6
	idBytes     = prefixBytes + idMAC
	tokenMAC    = 16
	tokenPlain  = prefixBytes + 8
	tokenBytes  = tokenPlain + tokenMAC

	maxText = 64 // longer texts are not decoded
)

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ExecutionID returns the public id of an execution.
func (d *IDs) ExecutionID(seq int64, received time.Time) string {
	var b [idBytes]byte
	putPrefix(b[:], seq, received)
	code := d.mac("id", b[:prefixBytes])
	copy(b[prefixBytes:], code[:])
	return idText.EncodeToString(b[:])
}

// ParseID returns the arguments of ExecutionID, the time truncated to its day.
// ok is false for an id that this atom did not make.
func (d *IDs) ParseID(id string) (seq int64, received time.Time, ok bool) {
	if len(id) > maxText {
		return 0, time.Time{}, false
	}
	b, err := idText.DecodeString(id)
	if err != nil || len(b) != idBytes {
		return 0, time.Time{}, false
	}
	if code := d.mac("id", b[:prefixBytes]); !hmac.Equal(b[prefixBytes:], code[:idMAC]) {
		return 0, time.Time{}, false
	}
	seq, received = prefixOf(b)
	return seq, received, true
}

func putPrefix(b []byte, seq int64, received time.Time) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(seq))
	copy(b[:7], n[1:])
	day := uint32(received.UTC().Unix() / 86400)
	b[7], b[8], b[9] = byte(day>>16), byte(day>>8), byte(day)
}

func prefixOf(b []byte) (seq int64, day time.Time) {
	seq = int64(binary.BigEndian.Uint64(append([]byte{0}, b[:7]...)))
	return seq, time.Unix((int64(b[7])<<16|int64(b[8])<<8|int64(b[9]))*86400, 0).UTC()
}

// ReplyToken returns the token whose bearer may follow an execution.
func (d *IDs) ReplyToken(id string) string {
	var b [64]byte
	code := d.mac("reply", append(b[:0], id...))
	return hex.EncodeToString(code[:16])
}

// CallbackToken returns the token that ends a wait of an execution. Its code
// has 128 bits.
func (d *IDs) CallbackToken(seq int64, received time.Time, wait int64) string {
	var b [tokenBytes]byte
	putPrefix(b[:], seq, received)
	binary.BigEndian.PutUint64(b[prefixBytes:tokenPlain], uint64(wait))
	code := d.mac("callback", b[:tokenPlain])
	copy(b[tokenPlain:], code[:tokenMAC])
	return idText.EncodeToString(b[:])
}

// ParseCallback returns the arguments of CallbackToken, the time truncated to
// its day. ok is false for a token that this atom did not make.
func (d *IDs) ParseCallback(token string) (seq int64, received time.Time, wait int64, ok bool) {
	if len(token) > maxText {
		return 0, time.Time{}, 0, false
	}
	b, err := idText.DecodeString(token)
	if err != nil || len(b) != tokenBytes {
		return 0, time.Time{}, 0, false
	}
	if code := d.mac("callback", b[:tokenPlain]); !hmac.Equal(b[tokenPlain:], code[:tokenMAC]) {
		return 0, time.Time{}, 0, false
	}
	seq, received = prefixOf(b)
	return seq, received, int64(binary.BigEndian.Uint64(b[prefixBytes:tokenPlain])), true
}

// mac returns a code over b that only this atom can make. The expanded key is
// reused, because expanding it is most of the cost.
func (d *IDs) mac(purpose string, b []byte) (code [sha256.Size]byte) {
	m, ok := d.macs.Get().(*macState)
	if !ok {
		m = &macState{hash: hmac.New(sha256.New, d.key)}
	}
	m.hash.Reset()
	m.buf = append(append(append(m.buf[:0], purpose...), 0), b...)
	m.hash.Write(m.buf)
	m.buf = m.hash.Sum(m.buf[:0])
	copy(code[:], m.buf)
	d.macs.Put(m)
	return code
}

// macState is a keyed hash and its buffer.
type macState struct {
	hash hash.Hash
	buf  []byte
}

// Derive returns 16 bytes that identify a list of strings.
func Derive(parts ...string) (out [16]byte) {
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

// DeriveText returns Derive as hexadecimal text.
func DeriveText(parts ...string) string {
	b := Derive(parts...)
	return hex.EncodeToString(b[:])
}

// Hash returns the identifier of some content.
func Hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

// waitID returns the id of a wait from its key in the journal.
func waitID(key string) int64 {
	b := Derive("wait", key)
	return int64(binary.BigEndian.Uint64(b[:8]))
}
