package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"
)

// A segment is a file of blocks, one after the other, and a directory of them
// once it is sealed. A block holds some executions: a header that can be read
// by itself, the summaries, the bodies, each compressed and under a CRC.
//
//	header   magic u32, length u32, count u32, statuses u32, min and max seq i64,
//	         first and last received i64, then compressed length, raw length and
//	         CRC u32 of summaries and of bodies, then the processes and the
//	         filter of keys, then the
//	         CRC of all that u32
const (
	blockMagic  = 0x314b4256 // "VBK1"
	blockFixed  = 72
	maxHeader   = 1 << 20
	directory   = 0x31524456 // "VDR1"
	trailerSize = 40
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	order      = binary.LittleEndian
)

// bareBit in the statuses of a block means that it contains bare records.
const bareBit = 1 << 31

// errTorn is returned for bytes that are not a complete block.
var errTorn = errors.New("incomplete block")

// Block is the header of a block.
type Block struct {
	Processes   []string
	Statuses    uint32 // one bit per status, and bareBit
	First, Last int64  // received, in ns since 1970

	off           int64
	header        uint32
	count         uint32
	min, max      int64
	summary, body part
	filter        []byte // of the keys; nil: unknown
}

type part struct{ length, raw, crc uint32 }

func (b *Block) size() int64 {
	return int64(b.header) + int64(b.summary.length) + int64(b.body.length)
}

// Record is one execution. Lists need only the Summary; Body is the rest.
type Record struct {
	Seq      int64
	Received int64 // ns since 1970
	Process  string
	Status   uint8    // less than 31
	Keep     int      // retention in days; 0: the default
	Bare     bool     // without documents; a record with them is kept for fewer days
	Keys     []uint64 // a Scan can skip blocks without a key
	Summary  []byte
	Body     []byte
}

// encoder encodes blocks. Results are overwritten by the next call.
type encoder struct{ dst, summaries, bodies []byte }

// maxReuse is the largest buffer that is kept for reuse.
const maxReuse = 1 << 20

func reuseBuffer(b []byte) []byte {
	if cap(b) > maxReuse {
		return nil
	}
	return b[:0]
}

// encode encodes records, which are in order of seq, as one block.
func (e *encoder) encode(records []*Record) ([]byte, Block) {
	b := Block{count: uint32(len(records)), min: records[0].Seq, max: records[len(records)-1].Seq, First: math.MaxInt64, Last: math.MinInt64}
	n, m := 0, 0
	for _, r := range records {
		n += len(r.Summary) + 24
		m += len(r.Body)
	}
	dst, summaries, bodies := reuseBuffer(e.dst), slices.Grow(reuseBuffer(e.summaries), n), slices.Grow(reuseBuffer(e.bodies), m)
	last := int64(0)
	for _, r := range records {
		if !slices.Contains(b.Processes, r.Process) {
			b.Processes = append(b.Processes, r.Process)
		}
		b.Statuses |= 1 << r.Status
		if r.Bare {
			b.Statuses |= bareBit
		}
		b.First, b.Last = min(b.First, r.Received), max(b.Last, r.Received)
		summaries = binary.AppendUvarint(summaries, uint64(r.Seq-last))
		summaries = binary.AppendUvarint(summaries, uint64(len(r.Body)))
		summaries = binary.AppendUvarint(summaries, uint64(len(r.Summary)))
		summaries = append(summaries, r.Summary...)
		bodies = append(bodies, r.Body...)
		last = r.Seq
	}
	b.filter = newFilter(records)
	b.header = b.headerSize()
	dst = append(dst, make([]byte, b.header)...)
	dst, b.summary = compress(dst, summaries)
	dst, b.body = compress(dst, bodies)
	b.put(dst[:b.header])
	e.dst, e.summaries, e.bodies = dst, summaries, bodies
	return dst, b
}

func compress(dst, src []byte) ([]byte, part) {
	at := len(dst)
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
	out := s2.Encode(dst[at:cap(dst)], src)
	return dst[:at+len(out)], part{uint32(len(out)), uint32(len(src)), crc32.Checksum(out, castagnoli)}
}

func (b *Block) put(h []byte) {
	order.PutUint32(h, blockMagic)
	order.PutUint32(h[4:], b.header)
	order.PutUint32(h[8:], b.count)
	order.PutUint32(h[12:], b.Statuses)
	order.PutUint64(h[16:], uint64(b.min))
	order.PutUint64(h[24:], uint64(b.max))
	order.PutUint64(h[32:], uint64(b.First))
	order.PutUint64(h[40:], uint64(b.Last))
	for i, p := range []part{b.summary, b.body} {
		order.PutUint32(h[48+12*i:], p.length)
		order.PutUint32(h[52+12*i:], p.raw)
		order.PutUint32(h[56+12*i:], p.crc)
	}
	b.appendNames(h[blockFixed:blockFixed])
	order.PutUint32(h[b.header-4:], crc32.Checksum(h[:b.header-4], castagnoli))
}

// readHeader reads the header of the block at off.
func readHeader(r io.ReaderAt, off int64) (Block, error) {
	var b Block
	var fixed [blockFixed]byte
	if _, err := r.ReadAt(fixed[:], off); err != nil {
		return b, errTorn
	}
	b.header = order.Uint32(fixed[4:])
	if order.Uint32(fixed[:]) != blockMagic || b.header < blockFixed+4 || b.header > maxHeader {
		return b, errTorn
	}
	h := make([]byte, b.header)
	if _, err := r.ReadAt(h, off); err != nil {
		return b, errTorn
	}
	return b, b.parse(h, off)
}

func (b *Block) parse(h []byte, off int64) error {
	if len(h) < blockFixed+4 || order.Uint32(h[len(h)-4:]) != crc32.Checksum(h[:len(h)-4], castagnoli) {
		return errTorn
	}
	b.off, b.header = off, uint32(len(h))
	b.count, b.Statuses = order.Uint32(h[8:]), order.Uint32(h[12:])
	b.min, b.max = int64(order.Uint64(h[16:])), int64(order.Uint64(h[24:]))
	b.First, b.Last = int64(order.Uint64(h[32:])), int64(order.Uint64(h[40:]))
	for i, p := range []*part{&b.summary, &b.body} {
		*p = part{order.Uint32(h[48+12*i:]), order.Uint32(h[52+12*i:]), order.Uint32(h[56+12*i:])}
	}
	for rest := h[blockFixed : len(h)-4]; len(rest) > 0; {
		if len(rest) < 4 || int(order.Uint32(rest)) > len(rest)-4 {
			return errTorn
		}
		n := int(order.Uint32(rest))
		b.setName(rest[4 : 4+n])
		rest = rest[4+n:]
	}
	return nil
}

// read returns the summaries or the bodies of a block.
func (b *Block) read(r io.ReaderAt, bodies bool) ([]byte, error) {
	p, off := b.summary, b.off+int64(b.header)
	if bodies {
		off += int64(p.length)
		p = b.body
	}
	packed := make([]byte, p.length)
	if _, err := r.ReadAt(packed, off); err != nil {
		return nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	if crc32.Checksum(packed, castagnoli) != p.crc {
		return nil, errTorn
	}
	if n, err := s2.DecodedLen(packed); err != nil || n != int(p.raw) {
		return nil, errTorn
	}
	return s2.Decode(nil, packed)
}

// summaryEntry is an execution in the summaries of a block.
type summaryEntry struct {
	seq         int64
	summary     []byte
	off, length int64 // of its body
}

// entries decodes the summaries of a block, in order of seq.
func (b *Block) entries(summaries []byte) ([]summaryEntry, error) {
	list := make([]summaryEntry, 0, b.count)
	seq, off := int64(0), int64(0)
	for rest := summaries; len(rest) > 0; {
		var v [3]uint64
		for i := range v {
			n := 0
			if v[i], n = binary.Uvarint(rest); n <= 0 {
				return nil, errTorn
			}
			rest = rest[n:]
		}
		if v[2] > uint64(len(rest)) {
			return nil, errTorn
		}
		seq += int64(v[0])
		list = append(list, summaryEntry{seq, rest[:v[2]:v[2]], off, int64(v[1])})
		off += int64(v[1])
		rest = rest[v[2]:]
	}
	return list, nil
}
