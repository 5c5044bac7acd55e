package sqlite

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"valence/atom/store"
)

// inlineBytes is the largest document that is stored in the database.
const inlineBytes = 64 << 10

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("the stored data is damaged")
)

// fileRef refers to a document that is stored as a file.
type fileRef struct {
	hash [32]byte
	size int
}

// storedMessage is a message whose large documents may be in files. A document
// with a reference is nil until it is loaded.
type storedMessage struct {
	*store.Message
	docFile, dataFile *fileRef
	files             []mention
	lost              error // why documents outside files were not read; nil: they were
}

// storedEntry is a journal entry whose body may be in a file.
type storedEntry struct {
	store.Entry
	bodyFile *fileRef
	files    []mention
}

// storedOutcome is an outcome whose trace may be in a file.
type storedOutcome struct {
	store.Outcome
	traceFile *fileRef
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBlob(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendVarint(append(b, 1), t.UnixNano())
}

func appendCRC(b []byte, from int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// appendDoc appends the location of a document: none, in docs, or in a file.
func appendDoc(b, docs, v []byte, ref *fileRef) (_, _ []byte) {
	switch {
	case ref != nil:
		b = append(append(b, 2), ref.hash[:]...)
		return binary.AppendUvarint(b, uint64(ref.size)), docs
	case v == nil:
		return append(b, 0), docs
	}
	return binary.AppendUvarint(append(b, 1), uint64(len(v))), append(docs, v...)
}

// maxReuse is the largest buffer that is kept for reuse.
const maxReuse = 2 << 20

// reuseBuffer returns b emptied for reuse, or nil if it has become too large.
func reuseBuffer(b []byte) []byte {
	if cap(b) > maxReuse {
		return nil
	}
	return b[:0]
}

// decoder is the counterpart of the functions above. After an error it returns
// zero values.
type decoder struct {
	b   []byte
	err error
}

// checked returns a decoder for b after verifying the CRC at its end.
func checked(b []byte) *decoder {
	if len(b) < 4 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return &decoder{err: errDamaged}
	}
	return &decoder{b: b[:len(b)-4]}
}

func (d *decoder) fail() { d.b, d.err = nil, errDamaged }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) text() string { return string(d.take(d.uvarint())) }

// blob returns nil for an empty blob.
func (d *decoder) blob() []byte {
	if v := d.take(d.uvarint()); len(v) > 0 {
		return v
	}
	return nil
}

func (d *decoder) time() time.Time {
	if d.byte() == 0 {
		return time.Time{}
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return time.Time{}
	}
	d.b = d.b[n:]
	return time.Unix(0, v).UTC()
}

// doc decodes the location of a document. If docs is nil, documents are
// skipped.
func (d *decoder) doc(docs *decoder) ([]byte, *fileRef) {
	switch d.byte() {
	case 1:
		n := d.uvarint()
		if docs == nil {
			return nil, nil
		}
		v := docs.take(n)
		if v == nil && n == 0 {
			v = []byte{}
		}
		if docs.err != nil {
			d.fail()
		}
		return v, nil
	case 2:
		ref := &fileRef{}
		copy(ref.hash[:], d.take(32))
		ref.size = int(d.uvarint())
		return nil, ref
	}
	return nil, nil
}

func appendEntries(b []byte, entries []storedEntry) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	var docs []byte
	for i := range entries {
		l := &entries[i]
		b = appendText(b, l.Path)
		b = appendText(b, l.Kind)
		b = appendTime(b, l.At)
		b, docs = appendDoc(b, docs[:0], l.Body, l.bodyFile)
		b = append(b, docs...)
	}
	return b
}

func (d *decoder) entries() []storedEntry {
	n := d.uvarint()
	if d.err != nil || n == 0 || n > uint64(len(d.b)) {
		return nil
	}
	lines := make([]storedEntry, n)
	for i := range lines {
		l := &lines[i]
		l.Path, l.Kind, l.At = d.text(), d.text(), d.time()
		l.Body, l.bodyFile = d.doc(d)
	}
	return lines
}

func entriesOf(entries []storedEntry) []store.Entry {
	if len(entries) == 0 {
		return nil
	}
	out := make([]store.Entry, len(entries))
	for i := range entries {
		out[i] = entries[i].Entry
	}
	return out
}
