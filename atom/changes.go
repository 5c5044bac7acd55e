package atom

import (
	"encoding/binary"

	"valence/atom/steps"
)

// changes is what a comparison found out, as it is journaled: one letter for
// each record, and the keys that are gone. The records are in the document.
type changes struct {
	version int64
	news    []steps.News
	gone    []string
}

func (c *changes) pack() []byte {
	b := binary.AppendUvarint(nil, uint64(c.version))
	b = binary.AppendUvarint(b, uint64(len(c.news)))
	for _, n := range c.news {
		b = append(b, byte(n))
	}
	for _, key := range c.gone {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return b
}

// unpackChanges reads what pack made, of n records.
func unpackChanges(b []byte, n int) (*changes, error) {
	number := func() uint64 {
		v, size := binary.Uvarint(b)
		b = b[max(size, 0):]
		return v
	}
	c := &changes{version: int64(number())}
	if number() != uint64(n) || len(b) < n {
		return nil, errEntry
	}
	c.news = make([]steps.News, n)
	for i := range c.news {
		c.news[i] = steps.News(b[i])
	}
	for b = b[n:]; len(b) > 0; {
		size := number()
		if size > uint64(len(b)) {
			return nil, errEntry
		}
		c.gone = append(c.gone, string(b[:size]))
		b = b[size:]
	}
	return c, nil
}
