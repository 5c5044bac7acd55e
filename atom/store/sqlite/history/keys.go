package history

import (
	"hash/fnv"
	"math/bits"
	"strings"
)

// A block has a Bloom filter of the keys of its records, so that a search for a
// key reads only blocks that may hold it. The filter is stored in the header
// as the name of a process that cannot exist, which programs that do not know
// filters skip. Blocks that such programs wrote have none and may hold any key.
const (
	filterName  = "\x00keys"
	bitsPerKey  = 10 // one block in a hundred is read in vain
	probes      = 7
	maxFilter   = 64 << 10 // bytes
	filterWords = 8        // a filter is a multiple of this many bytes
)

// Key returns the key of a named value.
func Key(name, value string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write([]byte(value))
	return h.Sum64()
}

// newFilter returns the filter of the keys of records. It is empty, not nil, if
// there are none.
func newFilter(records []*Record) []byte {
	n := 0
	for _, r := range records {
		n += len(r.Keys)
	}
	if n == 0 {
		return []byte{}
	}
	size := (n*bitsPerKey/8/filterWords + 1) * filterWords
	f := make([]byte, min(size, maxFilter))
	for _, r := range records {
		for _, key := range r.Keys {
			eachBit(f, key, func(at uint64, bit byte) bool {
				f[at] |= bit
				return true
			})
		}
	}
	return f
}

// eachBit calls do with the bits of a key until it returns false.
func eachBit(f []byte, key uint64, do func(at uint64, bit byte) bool) {
	n := uint64(len(f)) * 8
	step := bits.RotateLeft64(key, 32)*0x9e3779b97f4a7c15 | 1
	for range probes {
		key += step
		hi, _ := bits.Mul64(key*0x9e3779b97f4a7c15, n)
		if !do(hi>>3, 1<<(hi&7)) {
			return
		}
	}
}

// MayHold reports whether a record of the block may have the key.
func (b *Block) MayHold(key uint64) bool {
	switch {
	case b.filter == nil:
		return true
	case len(b.filter) == 0:
		return false
	}
	all := true
	eachBit(b.filter, key, func(at uint64, bit byte) bool {
		all = b.filter[at]&bit != 0
		return all
	})
	return all
}

// setName stores a name of the header: that of a process, or the filter.
func (b *Block) setName(name []byte) {
	if filter, ok := strings.CutPrefix(string(name), filterName); ok {
		b.filter = []byte(filter)
		return
	}
	b.Processes = append(b.Processes, string(name))
}

// headerSize returns the size of the header.
func (b *Block) headerSize() uint32 {
	n := uint32(blockFixed + 4)
	for _, p := range b.Processes {
		n += uint32(4 + len(p))
	}
	if b.filter != nil {
		n += uint32(4 + len(filterName) + len(b.filter))
	}
	return n
}

// appendNames appends the names of the header.
func (b *Block) appendNames(h []byte) []byte {
	for _, p := range b.Processes {
		h = order.AppendUint32(h, uint32(len(p)))
		h = append(h, p...)
	}
	if b.filter != nil {
		h = order.AppendUint32(h, uint32(len(filterName)+len(b.filter)))
		h = append(h, filterName...)
		h = append(h, b.filter...)
	}
	return h
}
