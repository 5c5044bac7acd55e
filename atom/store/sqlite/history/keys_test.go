package history

import (
	"fmt"
	"slices"
	"testing"
)

// keyed returns records with the keys order=FROM to order=TO-1.
func keyed(from, to int) []*Record {
	var records []*Record
	for i := from; i < to; i++ {
		records = append(records, &Record{Seq: int64(i), Process: "p", Summary: []byte{1}, Keys: []uint64{Key("order", fmt.Sprint(i))}})
	}
	return records
}

// TestFilterFindsEveryKey checks that a block may hold each of its keys, and
// few others, as written and as read.
func TestFilterFindsEveryKey(t *testing.T) {
	var e encoder
	for _, n := range []int{1, 20, blockItems} {
		encoded, b := e.encode(keyed(0, n))
		var read Block
		if err := read.parse(encoded[:b.header], 0); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(read.Processes, []string{"p"}) {
			t.Errorf("got the processes %q, want p", read.Processes)
		}
		for name, b := range map[string]*Block{"written": &b, "read": &read} {
			for i := range n {
				if !b.MayHold(Key("order", fmt.Sprint(i))) {
					t.Fatalf("%s, %d keys: key %d is missing", name, n, i)
				}
			}
			wrong := 0
			for i := range 10_000 {
				if b.MayHold(Key("order", fmt.Sprint("x", i))) {
					wrong++
				}
			}
			if wrong > 200 {
				t.Errorf("%s, %d keys: got %d of 10000 other keys, want at most 200", name, n, wrong)
			}
		}
	}
}

// TestBlockWithoutFilter checks that blocks that older programs wrote may hold
// every key, and blocks without keys none.
func TestBlockWithoutFilter(t *testing.T) {
	var e encoder
	_, none := e.encode([]*Record{{Seq: 1, Process: "p"}})
	if none.MayHold(Key("order", "1")) {
		t.Error("a block without keys: got true, want false")
	}
	_, old := e.encode(keyed(0, 3))
	old.filter = nil
	old.header = old.headerSize()
	h := make([]byte, old.header)
	old.put(h)
	var read Block
	if err := read.parse(h, 0); err != nil {
		t.Fatal(err)
	}
	if !read.MayHold(Key("order", "other")) {
		t.Error("a block without a filter: got false, want true")
	}
}
