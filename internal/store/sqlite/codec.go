package sqlite

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"valence/atom"
)

// inlineBytes is the size up to which a document is kept in the database.
const inlineBytes = 64 << 10

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("what is stored is damaged")
)

// fileRef names a document that is kept as a file.
type fileRef struct {
	hash [32]byte
	size int
}

// held is an acceptance with what is kept apart. Its Doc or Data may be nil
// where there is a reference: not read yet.
type held struct {
	*atom.Acceptance
	doc, data *fileRef
}

// line is a journal entry with what is kept apart.
type line struct {
	atom.Entry
	body *fileRef
}

// ending is an outcome with what is kept apart.
type ending struct {
	atom.Outcome
	trace *fileRef
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

// appendDoc writes where a document is: none, in docs, or in a file.
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

// heads writes acceptances. What it gave is overwritten when it is used again.
type heads struct {
	head, each, docs []byte
	table            []string
}

// index gives the place of a text in the table.
func (w *heads) index(s string) uint64 {
	if i := slices.Index(w.table, s); i >= 0 {
		return uint64(i)
	}
	w.table = append(w.table, s)
	return uint64(len(w.table) - 1)
}

// encode writes what they say once, then each, and their documents apart, so
// that a list need not read them.
func (w *heads) encode(as []*held) (head, docs []byte) {
	n, m := 16, 8
	for _, a := range as {
		n += 64 + len(a.Meta) + len(a.Origin)
		m += len(a.Doc) + len(a.Data)
	}
	w.table = w.table[:0]
	b, docs := slices.Grow(w.each[:0], n), slices.Grow(w.docs[:0], m)
	for _, a := range as {
		b = binary.AppendUvarint(b, w.index(a.Plan))
		b = binary.AppendUvarint(b, w.index(a.Env))
		b = binary.AppendUvarint(b, w.index(a.DocType))
		b = appendTime(b, a.Received)
		b = appendText(b, a.Origin)
		b = appendBlob(b, a.Meta)
		b = binary.AppendUvarint(b, uint64(len(a.Track)))
		if len(a.Track) > 0 {
			for _, k := range slices.Sorted(maps.Keys(a.Track)) {
				b = binary.AppendUvarint(b, w.index(k))
				b = appendText(b, a.Track[k])
			}
		}
		b, docs = appendDoc(b, docs, a.Doc, a.doc)
		b, docs = appendDoc(b, docs, a.Data, a.data)
	}
	head = slices.Grow(w.head[:0], n+64)
	head = binary.AppendUvarint(head, uint64(len(w.table)))
	for _, s := range w.table {
		head = appendText(head, s)
	}
	head = binary.AppendUvarint(head, uint64(len(as)))
	head = append(head, b...)
	head = appendLanes(head, as)
	head, docs = appendCRC(head, 0), appendCRC(docs, 0)
	w.head, w.each, w.docs = kept(head), kept(b), kept(docs)
	return head, docs
}

// keptBytes bounds what is kept of memory that is used again.
const keptBytes = 2 << 20

// kept gives memory to use again, none where it has become large.
func kept(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b[:0]
}

// What may follow the acceptances of a head: parts that few of them have, each
// with its tag and its length.
const partLanes = 1

// appendLanes writes the lanes of those that are in one.
func appendLanes(head []byte, as []*held) []byte {
	var b []byte
	for i, a := range as {
		if a.Lane != nil {
			b = appendLane(binary.AppendUvarint(b, uint64(i)), a.Lane)
		}
	}
	if b == nil {
		return head
	}
	return appendBlob(append(head, partLanes), b)
}

// extras reads what follows the acceptances of a head.
func (d *decoder) extras(as []*held) error {
	for len(d.b) > 0 && d.err == nil {
		tag, part := d.byte(), &decoder{b: d.blob()}
		for tag == partLanes && len(part.b) > 0 {
			i, lane := part.uvarint(), part.lane()
			if part.err != nil || i >= uint64(len(as)) {
				return errDamaged
			}
			as[i].Lane = lane
		}
	}
	return d.err
}

// decoder reads what the functions above wrote. After an error it gives zeros.
type decoder struct {
	b   []byte
	err error
}

// checked starts decoding something that ends in a CRC.
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

// blob gives nil for an empty one.
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

// doc reads where a document is; docs is nil if documents are not wanted.
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

// headTable gives the texts that acceptances refer to by number: their plans
// and environments are among them.
func headTable(head []byte) ([]string, error) {
	d := checked(head)
	var table []string
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		table = append(table, d.text())
	}
	return table, d.err
}

// decodeHeads reads what encodeHeads wrote; without docs, documents stay nil.
func decodeHeads(head, docs []byte, first int64, process string) ([]*held, error) {
	d := checked(head)
	var dd *decoder
	if docs != nil {
		if dd = checked(docs); dd.err != nil {
			return nil, dd.err
		}
	}
	table := make([]string, 0, 4)
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		table = append(table, d.text())
	}
	index := func() string {
		if i := d.uvarint(); i < uint64(len(table)) {
			return table[i]
		}
		d.fail()
		return ""
	}
	n := d.uvarint()
	if d.err != nil || n > uint64(len(d.b)) {
		return nil, errDamaged
	}
	as := make([]*held, 0, n)
	for i := range int64(n) {
		a := &held{Acceptance: &atom.Acceptance{Seq: first + i, Process: process, Plan: index(), Env: index(), DocType: index()}}
		a.Received, a.Origin, a.Meta = d.time(), d.text(), d.blob()
		if k := d.uvarint(); k > 0 && k <= uint64(len(d.b)) {
			a.Track = make(map[string]string, k)
			for ; k > 0; k-- {
				name := index()
				a.Track[name] = d.text()
			}
		}
		a.Doc, a.doc = d.doc(dd)
		a.Data, a.data = d.doc(dd)
		if d.err != nil {
			return nil, d.err
		}
		as = append(as, a)
	}
	return as, d.extras(as)
}

func appendLines(b []byte, lines []line) []byte {
	b = binary.AppendUvarint(b, uint64(len(lines)))
	var docs []byte
	for i := range lines {
		l := &lines[i]
		b = appendText(b, l.Path)
		b = appendText(b, l.Kind)
		b = appendTime(b, l.At)
		b, docs = appendDoc(b, docs[:0], l.Body, l.body)
		b = append(b, docs...)
	}
	return b
}

func (d *decoder) lines() []line {
	n := d.uvarint()
	if d.err != nil || n == 0 || n > uint64(len(d.b)) {
		return nil
	}
	lines := make([]line, n)
	for i := range lines {
		l := &lines[i]
		l.Path, l.Kind, l.At = d.text(), d.text(), d.time()
		l.Body, l.body = d.doc(d)
	}
	return lines
}

// What an ending's flags say.
const (
	endingDrops    = 1 << iota // its documents are not kept
	endingResolved             // it failed, and how that was dealt with follows
	endingShort                // its documents are kept for a shorter time than its record
)

// appendEnding writes an outcome; without the trace for what is listed.
func appendEnding(b []byte, e *ending, trace bool) []byte {
	b = append(b, number(string(e.Status)))
	b = appendTime(b, e.Started)
	b = appendTime(b, e.Ended)
	b = appendText(b, e.Fingerprint)
	b = appendBlob(b, e.Error)
	flags := byte(0)
	if e.DropDocuments {
		flags |= endingDrops
	}
	if len(e.Resolved) > 0 {
		flags |= endingResolved
	}
	if e.Documents > 0 {
		flags |= endingShort
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(e.Keep))
	if e.Documents > 0 {
		b = binary.AppendUvarint(b, uint64(e.Documents))
	}
	if len(e.Resolved) > 0 {
		b = appendBlob(b, e.Resolved)
	}
	if !trace {
		return append(b, 0)
	}
	b, docs := appendDoc(b, nil, e.Trace, e.trace)
	return append(b, docs...)
}

func (d *decoder) ending() *ending {
	e := &ending{}
	e.Status = atom.Status(word(d.byte()))
	e.Started, e.Ended, e.Fingerprint, e.Error = d.time(), d.time(), d.text(), d.blob()
	flags := d.byte()
	e.DropDocuments = flags&endingDrops != 0
	e.Keep = time.Duration(d.uvarint())
	if flags&endingShort != 0 {
		e.Documents = time.Duration(d.uvarint())
	}
	if flags&endingResolved != 0 {
		e.Resolved = d.blob()
	}
	e.Trace, e.trace = d.doc(d)
	return e
}

func entriesOf(lines []line) []atom.Entry {
	if len(lines) == 0 {
		return nil
	}
	out := make([]atom.Entry, len(lines))
	for i := range lines {
		out[i] = lines[i].Entry
	}
	return out
}
