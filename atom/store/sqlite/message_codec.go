package sqlite

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"valence/atom/store"
)

// messageEncoder encodes messages. Results are overwritten by the next call.
type messageEncoder struct {
	head, messages, docs []byte
	table                []string
}

// tableIndex returns the index of s in the string table, adding it if needed.
func (w *messageEncoder) tableIndex(s string) uint64 {
	if i := slices.Index(w.table, s); i >= 0 {
		return uint64(i)
	}
	w.table = append(w.table, s)
	return uint64(len(w.table) - 1)
}

// encode encodes messages: a string table, then each message. Documents go into
// a separate buffer, so that lists need not read them.
func (w *messageEncoder) encode(as []*storedMessage) (head, docs []byte) {
	n, m := 16, 8
	for _, a := range as {
		n += 64 + len(a.Meta) + len(a.Origin)
		m += len(a.Doc) + len(a.Data)
	}
	w.table = w.table[:0]
	b, docs := slices.Grow(w.messages[:0], n), slices.Grow(w.docs[:0], m)
	for _, a := range as {
		b = binary.AppendUvarint(b, w.tableIndex(a.Plan))
		b = binary.AppendUvarint(b, w.tableIndex(a.Env))
		b = binary.AppendUvarint(b, w.tableIndex(a.DocType))
		b = appendTime(b, a.Received)
		b = appendText(b, a.Origin)
		b = appendBlob(b, a.Meta)
		b = binary.AppendUvarint(b, uint64(len(a.Track)))
		if len(a.Track) > 0 {
			for _, k := range slices.Sorted(maps.Keys(a.Track)) {
				b = binary.AppendUvarint(b, w.tableIndex(k))
				b = appendText(b, a.Track[k])
			}
		}
		b, docs = appendDoc(b, docs, a.Doc, a.docFile)
		b, docs = appendDoc(b, docs, a.Data, a.dataFile)
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
	w.head, w.messages, w.docs = reuseBuffer(head), reuseBuffer(b), reuseBuffer(docs)
	return head, docs
}

// Optional parts after the messages of a head, each with a tag and a length.
const partLanes = 1

// appendLanes appends the lanes of messages that have one.
func appendLanes(head []byte, as []*storedMessage) []byte {
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

// messageParts decodes the optional parts of a head.
func (d *decoder) messageParts(as []*storedMessage) error {
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

// decodeTable returns the string table of a head, which includes plans and
// environments.
func decodeTable(head []byte) ([]string, error) {
	d := checked(head)
	var table []string
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		table = append(table, d.text())
	}
	return table, d.err
}

// decodeMessages decodes the result of messageEncoder.encode. Without docs,
// inline documents stay nil.
func decodeMessages(head, docs []byte, first int64, process string) ([]*storedMessage, error) {
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
	as := make([]*storedMessage, 0, n)
	for i := range int64(n) {
		a := &storedMessage{Message: &store.Message{Seq: first + i, Process: process, Plan: index(), Env: index(), DocType: index()}}
		a.Received, a.Origin, a.Meta = d.time(), d.text(), d.blob()
		if k := d.uvarint(); k > 0 && k <= uint64(len(d.b)) {
			a.Track = make(map[string]string, k)
			for ; k > 0; k-- {
				name := index()
				a.Track[name] = d.text()
			}
		}
		a.Doc, a.docFile = d.doc(dd)
		a.Data, a.dataFile = d.doc(dd)
		if d.err != nil {
			return nil, d.err
		}
		as = append(as, a)
	}
	return as, d.messageParts(as)
}

// decodeLive is decodeMessages for executions that are not archived. If their
// documents are damaged, it returns the messages without them, so that they can
// still be ended.
func decodeLive(head, docs []byte, first int64, process string) ([]*storedMessage, error) {
	all, err := decodeMessages(head, docs, first, process)
	if err == nil || docs == nil {
		return all, err
	}
	bare, e := decodeMessages(head, nil, first, process)
	if e != nil {
		return nil, err
	}
	for _, m := range bare {
		m.lost = fmt.Errorf("%w: %w", store.ErrDocumentLost, err)
	}
	return bare, nil
}
