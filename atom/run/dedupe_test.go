package run

import (
	"testing"

	"valence/internal/blob"
	"valence/internal/document"
)

// TestRepeatsOfStoredFiles compares messages with a large file, which is stored
// under another name for each attempt.
func TestRepeatsOfStoredFiles(t *testing.T) {
	message := func(id, sum byte) *Message {
		c := &blob.Content{Name: blob.NewName([16]byte{id}, [32]byte{sum}), Size: 2 << 20}
		return &Message{Doc: document.FromValue(c.Reference("a.pdf", "application/pdf"))}
	}
	first := contentHash(message(1, 1))
	if again := contentHash(message(2, 1)); again != first {
		t.Errorf("got %s for the same file, want %s", again, first)
	}
	if other := contentHash(message(1, 2)); other == first {
		t.Error("got the same hash for another file")
	}
	received := message(1, 1)
	received.SHA256, received.ContentHash = "of the body with its boundary", "of the fields"
	if got := contentHash(received); got != "of the fields" {
		t.Errorf("got %s, want the hash that is the same for each attempt", got)
	}
}
