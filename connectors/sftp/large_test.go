package sftp

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"valence/connectors/connectortest"
	"valence/connectors/folder"
)

// TestLargeFolder checks that a folder with many files is received in bounded
// memory. VALENCE_FILES sets their number for a measurement.
func TestLargeFolder(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("VALENCE_FILES"))
	if err != nil {
		n = 1000
	}
	dir := root(t)
	if err := os.Mkdir(dir+"/in", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(fmt.Sprintf("%s/in/order-%06d.json", dir, i), fmt.Appendf(nil, `{"id":%d}`, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := &folder.Settings{Folder: "in", Pattern: "*", Every: 10 * time.Millisecond, Archive: "done"}
	took, grew := connectortest.Count(t, connect(t, at(t, sshd.Address, nil)), w, n, 30*time.Minute)
	t.Logf("%d files: %v, the heap grew by %d KiB", n, took, grew>>10)
	if most := int64(16 << 20); grew > most {
		t.Errorf("the heap grew by %d bytes, want at most %d", grew, most)
	}
}
