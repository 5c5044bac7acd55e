package history

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// Verify reads a segment without changing it, and returns its number of
// records. A segment that a crash left unsealed may have a torn end.
func Verify(path string) (records int, sealed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	blocks, good, err := walk(f, st.Size())
	if err != nil {
		return 0, false, err
	}
	for i := range blocks {
		summaries, err := blocks[i].read(f, false)
		if err != nil {
			return 0, false, err
		}
		list, err := blocks[i].entries(summaries)
		if err != nil || len(list) != int(blocks[i].count) {
			return 0, false, errors.Join(fmt.Errorf("the block at %d is damaged", blocks[i].off), err)
		}
		records += len(list)
	}
	if st.Size()-good < trailerSize {
		return records, false, nil
	}
	var t [trailerSize]byte
	if _, err := f.ReadAt(t[:], st.Size()-trailerSize); err != nil {
		return records, false, err
	}
	if order.Uint32(t[:]) != directory || order.Uint32(t[36:]) != crc32.Checksum(t[:36], castagnoli) {
		return records, false, nil
	}
	if end := int64(order.Uint64(t[8:])); end != good {
		return records, true, fmt.Errorf("the block at %d of %d is damaged", good, end)
	}
	heads := make([]byte, st.Size()-trailerSize-good)
	if _, err := f.ReadAt(heads, good); err != nil {
		return records, true, err
	}
	if order.Uint32(t[4:]) != crc32.Checksum(heads, castagnoli) {
		return records, true, errors.New("the directory is damaged")
	}
	return records, true, nil
}
