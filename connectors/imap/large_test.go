package imap

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"valence/connectors/connectortest"
)

// TestLargeMailbox checks that a mailbox is read in bounded memory.
// VALENCE_MAILBOX sets the number of messages for a measurement.
func TestLargeMailbox(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("VALENCE_MAILBOX"))
	if err != nil {
		n = 1000
	}
	settings := to(t, server.Port)
	body := strings.Repeat("An order of ten chairs and a table.\n", 100)
	if err := server.Fill(settings["user"].(string), n, func(i int) string { return plain(fmt.Sprint(i, " ", body)) }); err != nil {
		t.Fatal(err)
	}
	w := &subscribe{}
	bind(t, subscription().With, w, connectortest.Settings{"folder": "INBOX"})
	took, grew := connectortest.Count(t, connect(t, settings), w, n, 10*time.Minute)
	t.Logf("%d messages of %d bytes: %v, the heap grew by %d KiB", n, len(body), took, grew>>10)
	if most := int64(batchBytes); grew > most {
		t.Errorf("the heap grew by %d bytes, want at most %d", grew, most)
	}
}
