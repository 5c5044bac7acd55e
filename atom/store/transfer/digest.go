package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
)

// Digest is the number of rows of a kind, and a digest of them that does not
// depend on their order.
type Digest struct {
	Count int64
	sum   [4]uint64
}

// Hex returns the digest as text.
func (d *Digest) Hex() string {
	var b []byte
	for _, n := range d.sum {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return hex.EncodeToString(b)
}

// add adds the encoding of a row: the sum of hashes, so that the order does not
// count and no two rows cancel each other out.
func (d *Digest) add(b []byte) {
	h := sha256.Sum256(b)
	for i := range d.sum {
		d.sum[i] += binary.BigEndian.Uint64(h[8*i:])
	}
	d.Count++
}

// Sanitize replaces bytes that not every store can hold in text: zeros and
// invalid UTF-8.
func Sanitize(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\ufffd")
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// row adds a row of a kind.
func (d *Digest) row(b []byte, values []any) []byte {
	b = b[:0]
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 0)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 1), uint64(v))
		case string:
			b = appendBytes(append(b, 2), []byte(Sanitize(v)))
		case []byte:
			if len(v) == 0 {
				b = append(b, 0)
			} else {
				b = appendBytes(append(b, 2), v)
			}
		default:
			panic("a row has a value of another type")
		}
	}
	d.add(b)
	return b
}

// execution adds an execution.
func (d *Digest) execution(b []byte, x *Execution) []byte {
	b = b[:0]
	text := func(all ...string) {
		for _, s := range all {
			b = appendBytes(b, []byte(Sanitize(s)))
		}
	}
	bytes := func(all ...[]byte) {
		for _, v := range all {
			b = appendBytes(b, v)
		}
	}
	number := func(all ...int64) {
		for _, n := range all {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
	}
	moment := func(all ...time.Time) {
		for _, t := range all {
			number(t.UnixNano())
		}
	}
	document := func(v []byte) {
		b = append(b, 0)
		if v != nil {
			b[len(b)-1] = 1
		}
		bytes(v)
	}
	text(x.Process, x.Plan, x.Env, string(x.State), x.Reason, x.DocType)
	bytes([]byte(x.Origin), x.Meta)
	number(x.Seq, x.Kept)
	if x.Outcome == nil {
		number(int64(x.Attempt), int64(x.Crashes))
	} else { // a history counts to 255
		number(int64(min(x.Attempt, 255)), int64(min(x.Crashes, 255)))
	}
	moment(x.Received, x.Due, x.Expires)
	for _, k := range slices.Sorted(maps.Keys(x.Track)) {
		bytes([]byte(k), []byte(x.Track[k]))
	}
	if l := x.Lane; l != nil {
		bytes([]byte(l.Scope), []byte(l.Key))
		number(l.Pos)
		if l.Block {
			b = append(b, 1)
		}
	}
	document(x.Doc)
	document(x.Data)
	for i := range x.Journal {
		e := &x.Journal[i]
		text(e.Path, e.Kind)
		moment(e.At)
		bytes(e.Body)
	}
	if o := x.Outcome; o != nil {
		text(string(o.Status), o.Fingerprint)
		moment(o.Started, o.Ended)
		bytes(o.Error, o.Trace, o.Resolved)
		number(int64(o.Keep), int64(o.Documents))
		if o.DropDocuments {
			b = append(b, 1)
		}
	}
	d.add(b)
	return b
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }
