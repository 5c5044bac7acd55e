package history

import (
	"errors"
	"fmt"
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
	t, ok, err := readTrailer(f, st.Size())
	if err != nil || !ok {
		return records, false, err
	}
	if t.size != good {
		return records, true, fmt.Errorf("the block at %d of %d is damaged", good, t.size)
	}
	_, intact, err := t.readHeaders(f, st.Size())
	if err != nil {
		return records, true, err
	}
	if !intact {
		return records, true, errors.New("the directory is damaged")
	}
	return records, true, nil
}
