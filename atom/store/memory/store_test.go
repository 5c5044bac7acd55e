package memory_test

import (
	"testing"

	"valence/atom/store"
	"valence/atom/store/memory"
	"valence/atom/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Conform(t, func(*testing.T) store.Store { return memory.New(nil) })
}
